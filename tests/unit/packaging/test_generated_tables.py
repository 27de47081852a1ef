"""The generated tables of README.md: what is put between the markers, and that it names every setting and metric."""

import importlib.util
from pathlib import Path
from types import ModuleType

import pytest

ROOT = Path(__file__).parents[3]
TEXT = "before\n<!-- generated: a -->\nold\n<!-- end: a -->\nafter\n"


@pytest.fixture(scope="module")
def generate() -> ModuleType:
    spec = importlib.util.spec_from_file_location("generate", ROOT / "docs/generate.py")
    assert spec
    assert spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def test_a_table_replaces_what_is_between_its_markers_and_nothing_else(generate: ModuleType) -> None:
    assert generate.with_tables(TEXT, {"a": "new\n"}) == TEXT.replace("old", "new")


def test_what_a_table_says_is_taken_literally(generate: ModuleType) -> None:
    assert r"\1 \g<0>" in generate.with_tables(TEXT, {"a": "\\1 \\g<0>\n"})


def test_doing_it_twice_changes_nothing(generate: ModuleType) -> None:
    once = generate.with_tables(TEXT, {"a": "new\n"})
    assert generate.with_tables(once, {"a": "new\n"}) == once


@pytest.mark.parametrize("text", ["no markers", TEXT + TEXT, TEXT.replace("end: a", "end: b")])
def test_missing_or_doubled_markers_are_an_error_that_names_the_table(generate: ModuleType, text: str) -> None:
    with pytest.raises(ValueError, match="a: its markers"):
        generate.with_tables(text, {"a": "new\n"})


@pytest.mark.parametrize(
    "name",
    [
        "FORWARDER_ORGANIZATION_ID",
        "FORWARDER_MQTT_URL",
        "FORWARDER_WEBSOCKET_URL",
        "FORWARDER_SPOOL_MAX_BYTES",
        "FORWARDER_ADMIN_TOKEN",
    ],
)
def test_settings_of_daemon_and_plugins_are_in_the_table(generate: ModuleType, name: str) -> None:
    assert f"\n| `{name}` |" in generate.tables()["settings"]


def test_no_setting_is_there_twice(generate: ModuleType) -> None:
    names = [line.split("|")[1] for line in generate.tables()["settings"].splitlines()]
    assert len(names) == len(set(names))


def test_the_readme_is_current(generate: ModuleType) -> None:
    text = (ROOT / "README.md").read_text(encoding="utf-8")
    assert generate.with_tables(text, generate.tables()) == text, "run `make docs`"
