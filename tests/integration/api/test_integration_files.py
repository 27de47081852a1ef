"""The files under the API's hands: written only as they were read."""

from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from forwarder.api.integration_files import Files
from forwarder.integrations.regions import eventbridge_regions
from forwarder.ops.refusals import Refused
from forwarder.rules.validation import Rules
from tests.integration.api.conftest import CRM, Rig


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path, Rules(eventbridge_regions(), "aws.partner/example.com", "acme"))


async def refusal(request: Awaitable[None]) -> tuple[int, str]:
    with pytest.raises(Refused) as caught:
        await request
    return caught.value.status, caught.value.code


async def test_a_file_that_is_not_as_it_was_read_is_left_alone(files: Files) -> None:
    path = files.path("crm")
    path.write_text(CRM)
    assert await refusal(files.replace(path, b"what was there before", "new")) == (409, "version.conflict")
    assert await refusal(files.replace(path, None, "new")) == (409, "version.conflict")
    assert path.read_text() == CRM
    await files.replace(path, CRM.encode(), "new")
    assert path.read_text() == "new"


async def test_a_file_that_vanished_is_not_brought_back(files: Files) -> None:
    path = files.path("crm")
    assert await refusal(files.replace(path, CRM.encode(), "new")) == (409, "version.conflict")
    assert not path.exists()


async def test_a_change_is_seen_however_short_the_time(files: Files) -> None:
    path = files.path("crm")
    path.write_text(CRM)
    before = (await files.read()).files["crm"]
    path.write_text(CRM.replace("Sales", "Seals"))  # of the same length, in the same instant
    after = (await files.read()).files["crm"]
    assert after.version != before.version
    assert after.file.values["NAME"] == "Seals"


async def test_what_cannot_be_read(files: Files) -> None:
    files.path("loop").symlink_to("loop.env")
    files.path("binary").write_bytes(b"\xff")
    found = (await files.read()).files
    assert {id_: each.content for id_, each in found.items()} == {"loop": None, "binary": b"\xff"}
    files.directory.rename(files.directory.with_name("elsewhere"))
    reading = await files.read()
    assert (reading.files, "cannot be read" in str(reading.problem)) == ({}, True)
    assert (await refusal(files.replace(files.path("crm"), None, CRM)))[0] == 503


async def test_an_edit_that_comes_right_before_the_write_wins(rig: Rig, monkeypatch: pytest.MonkeyPatch) -> None:
    path = await rig.put_file("crm", CRM)
    body = await rig.get("/api/v2/integrations/crm/config/current")
    edited = CRM + "# by hand\n"
    replace: Callable[..., Awaitable[None]] = Files.replace

    async def late(*arguments: object) -> None:
        path.write_text(edited)
        await replace(*arguments)

    monkeypatch.setattr(Files, "replace", late)
    body["properties"]["eventFilter"] = ["v2.#"]
    status, error = await rig.ask("PUT", "/api/v2/integrations/crm/config/current", body)
    assert (status, error["code"]) == (409, "version.conflict")
    assert path.read_text() == edited


async def test_a_directory_that_vanished_is_said(rig: Rig) -> None:
    await rig.put_file("crm", CRM)
    await rig.state("crm", "ACTIVE")
    rig.files.rename(rig.files.with_name("elsewhere"))
    status, error = await rig.ask("PATCH", "/api/v2/integrations/crm", {"intendedState": "DISABLED"})
    assert (status, error["code"]) == (409, "integrations.unreadable")
    assert (await rig.get("/api/v2/integrations/crm"))["reportedState"]["code"] == "ACTIVE"
