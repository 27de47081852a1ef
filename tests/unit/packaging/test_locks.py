"""The locks name everything the project needs, by hash, and no place to fetch it from."""

import re
import tomllib
from pathlib import Path

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

ROOT = Path(__file__).parents[3]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text())
GROUPS = PROJECT["dependency-groups"]
RUNTIME = PROJECT["project"]["dependencies"]
DEV = [item for item in GROUPS["dev"] if isinstance(item, str)]
LOCKS = {
    "requirements.lock": RUNTIME,
    "requirements-build.lock": [*GROUPS["build"], *PROJECT["build-system"]["requires"]],
    "requirements-dev.lock": [*RUNTIME, *GROUPS["build"], *DEV, *PROJECT["project"]["optional-dependencies"]["demo"]],
}
PIN = re.compile(r"^(?P<name>[A-Za-z0-9._-]+)(\[[^\]]*\])?==(?P<version>[^ ;\\]+)", re.MULTILINE)


def pins(lock: str) -> dict[str, Version]:
    return {canonicalize_name(m["name"]): Version(m["version"]) for m in PIN.finditer((ROOT / lock).read_text())}


@pytest.mark.parametrize("lock", LOCKS)
def test_lock_names_no_index_and_no_address(lock: str) -> None:
    text = (ROOT / lock).read_text()
    assert "://" not in text
    assert not re.search(r"^\s*-(?!-hash)", text, re.MULTILINE), "an option such as --index-url"
    assert " @ " not in text


@pytest.mark.parametrize("lock", LOCKS)
def test_every_pin_has_hashes(lock: str) -> None:
    blocks = re.split(r"\n(?=\S)", (ROOT / lock).read_text().strip())
    assert [block.splitlines()[0] for block in blocks if "--hash=sha256:" not in block] == []


@pytest.mark.parametrize(("lock", "wanted"), [(lock, text) for lock, texts in LOCKS.items() for text in texts])
def test_lock_satisfies_what_the_project_asks_for(lock: str, wanted: str) -> None:
    requirement = Requirement(wanted)
    assert pins(lock)[canonicalize_name(requirement.name)] in requirement.specifier


def test_what_is_tested_is_what_is_shipped() -> None:
    tested, shipped = pins("requirements-dev.lock"), pins("requirements.lock")
    assert shipped.items() <= tested.items()
