"""The command line as a user runs it: another process, an empty directory, an environment without our variables."""

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]

Result = subprocess.CompletedProcess[str]
Forwarder = Callable[..., Result]


@pytest.fixture
def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FORWARDER_", "AWS_"))}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "COLUMNS": "80"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "config/integrations").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def forwarder(environment: dict[str, str], directory: Path) -> Forwarder:
    def run(*arguments: str, **variables: str) -> Result:
        return subprocess.run(
            [sys.executable, "-m", "forwarder", *arguments],
            cwd=directory,
            env=environment | variables,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


@pytest.fixture
def integration(directory: Path) -> Callable[..., Path]:
    def write(id_: str, **changes: str) -> Path:
        values = {
            "NAME": '"CRM"',
            "AWS_ACCOUNT_ID": "123456789012",
            "AWS_ACCOUNT_REGION": "us-east-1",
            "EVENT_SOURCE_SUFFIX": id_,
            "EVENT_FILTER": "v2.users.{id}.presence",
            "INTENDED_STATE": "ENABLED",
        } | changes
        path = directory / f"config/integrations/{id_}.env"
        path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        return path

    return write
