"""Integrations changed in their files: what goes wrong between reading and writing."""

import errno
from pathlib import Path
from typing import Any

import pytest

from forwarder.commands.integrations import files
from forwarder.commands.integrations.files import IntegrationFiles
from forwarder.commands.integrations.model import Edit
from forwarder.errors import ConfigurationError, ForwarderError
from forwarder.integrations import env_file
from forwarder.rules.validation import Rules
from forwarder.settings import Settings

TEXT = """\
NAME=CRM
AWS_ACCOUNT_ID=123456789012
AWS_ACCOUNT_REGION=us-east-1
EVENT_SOURCE_SUFFIX=crm
INTENDED_STATE=ENABLED
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    path = tmp_path / "crm.env"
    path.write_text(TEXT)
    return path


@pytest.fixture
def integrations(tmp_path: Path, path: Path) -> IntegrationFiles:
    settings = Settings(organization_id="acme", integrations_dir=tmp_path, state_dir=tmp_path / "var")
    return IntegrationFiles(settings, Rules(frozenset({"us-east-1"}), settings.event_source_prefix, "acme"))


def test_an_edit_that_comes_in_between_is_kept_and_told(
    integrations: IntegrationFiles, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    update = env_file.update

    def slowly(*given: Any) -> str:
        path.write_text(TEXT + "# theirs\n")
        return update(*given)

    monkeypatch.setattr(env_file, "update", slowly)
    with pytest.raises(ForwarderError, match="was changed meanwhile by somebody else; nothing was written"):
        integrations.change("crm", Edit(name="Mine"))
    assert path.read_text() == TEXT + "# theirs\n"


def test_what_cannot_be_written_is_said_in_a_sentence(
    integrations: IntegrationFiles, path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise OSError(errno.EROFS, "Read-only file system")

    monkeypatch.setattr(files, "write_atomically", refuse)
    with pytest.raises(ForwarderError, match=r"crm\.env cannot be written: Read-only file system"):
        integrations.change("crm", Edit(name="Mine"))
    assert path.read_text() == TEXT


def test_byte_order_mark_and_windows_lines_stay(integrations: IntegrationFiles, path: Path) -> None:
    text = "EVENT_FILTER=v2.a\n" + TEXT
    path.write_bytes(b"\xef\xbb\xbf" + text.replace("\n", "\r\n").encode())
    integrations.change("crm", Edit(name="Mine", notes="x", add_filters=("v2.b",)))
    content = path.read_bytes()
    assert content.startswith(b'\xef\xbb\xbfEVENT_FILTER="v2.a, v2.b"\r\nNAME=Mine\r\n')
    assert content.endswith(b"INTENDED_STATE=ENABLED\r\nNOTES=x\r\n")


@pytest.mark.parametrize("content", [b"NAME=\xff\n", b"", b"NAME=" + b"x" * 300_000])
def test_a_file_that_is_none_is_left_alone(integrations: IntegrationFiles, path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(ConfigurationError):
        integrations.change("crm", Edit(name="Mine"))
    assert path.read_bytes() == content


def test_a_directory_that_is_not_there_is_named(integrations: IntegrationFiles, path: Path) -> None:
    path.unlink()
    path.parent.rename(path.parent.with_name(f"{path.parent.name}-elsewhere"))
    with pytest.raises(ForwarderError, match="the integrations directory cannot be read"):
        integrations.listing()
