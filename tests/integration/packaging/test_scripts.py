"""The scripts behind the Makefile, on a machine that lacks things."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
BASICS = ("awk", "cat", "dirname", "echo", "sh", "sort", "test", "xargs")


@pytest.fixture
def bare(tmp_path: Path) -> Path:
    """A PATH with the shell's own tools and nothing that installs anything."""
    for name in BASICS:
        found = next((place for place in ("/usr/bin", "/bin") if Path(place, name).exists()), None)
        if found:
            (tmp_path / name).symlink_to(Path(found, name))
    return tmp_path


def run(path: Path, *command: str) -> subprocess.CompletedProcess[str]:
    environment = os.environ | {"PATH": str(path)}
    program = ["/bin/sh", str(ROOT / command[0]), *command[1:]]
    return subprocess.run(program, env=environment, capture_output=True, text=True, check=False)


def add_python(folder: Path, name: str, version: tuple[int, int]) -> None:
    """A Python that says it is of that version."""
    script = folder / name
    script.write_text(
        f"#!/bin/sh\nexec {sys.executable} -c \"import sys; sys.version_info = {version}; exec('''$2''')\"\n"
    )
    script.chmod(0o755)


def test_what_cannot_be_had_is_named_with_the_package_it_is_in(bare: Path) -> None:
    done = run(bare, "scripts/require", "mosquitto", "prometheus", "promtool", "sh")
    assert done.returncode == 1
    assert "not to be had here: mosquitto prometheus promtool\n" in done.stderr
    assert "apt-get install mosquitto prometheus\n" in done.stderr


def test_what_is_there_is_left_alone(bare: Path) -> None:
    done = run(bare, "scripts/require", "sh", "cat")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_a_missing_python_is_named_as_a_package(bare: Path) -> None:
    done = run(bare, "scripts/require", "python")
    assert done.returncode == 1
    assert "apt-get install python3 python3-venv\n" in done.stderr


def test_the_first_python_that_is_new_enough_is_found(bare: Path) -> None:
    add_python(bare, "python3", (3, 9))
    assert run(bare, "scripts/find-python").stdout == ""
    add_python(bare, "python3.12", (3, 12))
    assert run(bare, "scripts/find-python").stdout.strip() == str(bare / "python3.12")


def test_ci_says_how_each_step_ended_and_stops_at_the_first_failure(bare: Path) -> None:
    (bare / "make").write_text('#!/bin/sh\ntest "$1" != lint\n')
    (bare / "make").chmod(0o755)
    environment = os.environ | {"PATH": f"{bare}:{os.environ['PATH']}"}
    done = subprocess.run([ROOT / ".ci/run"], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    steps = [line.partition(" after ")[0] for line in done.stdout.splitlines() if " after " in line]
    assert steps == ["== make setup: exit 0", "== make lint: exit 1"]
