"""`forwarder spool` and `forwarder status --verify`: beside a spool that is in use, after it, and on damaged files."""

import asyncio
import json
import sqlite3
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forwarder.clock import SystemClock
from forwarder.model import Notification, Reason, Route
from forwarder.spool.base import Parked, Record, Settlement, Tally
from forwarder.spool.sqlite import SqliteSpool

SETTINGS = {"FORWARDER_ORGANIZATION_ID": "acme"}
PAGE = 8192

Run = Callable[..., Any]


def open_spool(directory: Path) -> SqliteSpool:
    return SqliteSpool(
        directory, max_bytes=1 << 30, max_dead_letters=100, dead_letter_retention=1e9, clock=SystemClock()
    )


async def append(spool: SqliteSpool, names: list[str], *lanes: str, filling: int = 0) -> None:
    records = [
        Record(Notification(name, f"v2.{name}", b'{"n":\n"%s"}' % (b"x" * filling), 1, 2.0), Route("v2.{id}", lanes))
        for name in names
    ]
    await spool.append(records, Tally("test", 0, 0, len(records)))


@pytest.fixture
async def spool(directory: Path) -> AsyncIterator[SqliteSpool]:
    """In use, as by a daemon: crm has two pending and one parked, wfm one pending."""
    spool = open_spool(directory / "var")
    await append(spool, ["one"], "crm", "wfm")
    await append(spool, ["two", "three"], "crm")
    (delivery,) = (await spool.read("crm", (1, 1), 1)).deliveries
    parked = Parked(msgspec.structs.replace(delivery, attempts=1), 2e9, Reason.ENTRY_INTERNAL, "InternalFailure")
    await spool.settle(Settlement("crm", (1, 1), parked=[parked]))
    yield spool
    await spool.close()


@pytest.fixture
def run(forwarder: Run) -> Run:
    return lambda *arguments: forwarder(*arguments, **SETTINGS)


def tamper(directory: Path, sql: str) -> None:
    connection = sqlite3.connect(directory / "var/spool.db")
    connection.execute(sql)
    connection.commit()
    connection.close()


def damage(path: Path, marker: bytes) -> None:
    """Overwrite the page on which the marker is."""
    content = bytearray(path.read_bytes())
    place = content.index(marker) // PAGE * PAGE
    content[place : place + PAGE] = b"\xfe" * PAGE
    path.write_bytes(content)


async def test_inspect_beside_a_spool_in_use(spool: SqliteSpool, run: Run) -> None:
    facts = json.loads(run("spool", "inspect", "--json").stdout)
    rows = {"log": 3, "lanes": 2, "balances": 0, "parked": 1, "dead_letters": 0}
    assert facts["rows"] | rows == facts["rows"]
    assert [(lane["integration_id"], lane["pending"], lane["parked"]) for lane in facts["lanes"]] == [
        ("crm", 2, 1),
        ("wfm", 1, 0),
    ]
    shown = run("spool", "inspect")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert [line.split()[:6] for line in shown.stdout.splitlines()][-2] == ["crm", "1", "0", "2", "1", "0"]
    await append(spool, ["four"], "crm")  # nobody was disturbed


async def test_export_beside_a_spool_in_use(spool: SqliteSpool, run: Run) -> None:
    shown = run("spool", "export", "--integration", "crm")
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [(line["state"], line["number"]) for line in lines] == [("pending", 2), ("pending", 3), ("parked", 1)]
    assert all(line["integration"] == "crm" and isinstance(line["detail"], dict) for line in lines)
    assert (shown.returncode, shown.stderr) == (0, "3 events exported.\n")
    assert len(run("spool", "export", "--state", "parked").stdout.splitlines()) == 1
    assert len(run("spool", "export").stdout.splitlines()) == 4


async def test_verify_proves_the_books_and_tells_every_difference(
    spool: SqliteSpool, run: Run, directory: Path
) -> None:
    shown = run("status", "--verify")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout.startswith("The books equal what is in var/spool.db")
    tamper(directory, "UPDATE counters SET value = value + 2 WHERE name = 'matched' AND subject = 'wfm'")
    shown = run("status", "--verify")
    assert (shown.returncode, shown.stdout) == (1, "wfm: the books say 3 pending, the spool holds 1\n")
    assert "the books of var/spool.db differ" in shown.stderr
    found = json.loads(run("status", "--verify", "--json").stdout)
    assert found == {"ok": False, "discrepancies": [{"integration_id": "wfm", "pending": 3, "found": 1}]}


async def test_verify_is_right_while_events_keep_coming(spool: SqliteSpool, run: Run) -> None:
    verifying = asyncio.create_task(asyncio.to_thread(run, "status", "--verify"))
    appended = 0
    while not verifying.done():
        await append(spool, ["more"] * 50, "crm", "wfm")
        appended += 1
    shown = await verifying
    assert (shown.returncode, shown.stderr) == (0, "")
    assert appended > 5


async def test_repair_is_for_a_spool_that_nobody_uses(spool: SqliteSpool, run: Run, directory: Path) -> None:
    refused = run("spool", "repair")
    assert (refused.returncode, refused.stdout) == (1, "")
    assert "Another forwarder is running on the state directory var" in refused.stderr
    await spool.close()
    assert run("spool", "repair").stdout == "var/spool.db is in order; nothing was changed.\n"
    tamper(directory, "UPDATE counters SET value = value + 2 WHERE name = 'matched' AND subject = 'wfm'")
    tamper(directory, "UPDATE counters SET value = value - 1 WHERE name = 'matched' AND subject = 'crm'")
    repaired = run("spool", "repair")
    assert (repaired.returncode, repaired.stderr) == (0, "")
    assert "wfm: the books say 3 pending, the spool holds 1; 2 are now booked as unreadable" in repaired.stdout
    assert "crm: the books say 2 pending, the spool holds 3; 1 are now booked as matched" in repaired.stdout
    assert run("status", "--verify").returncode == 0


async def test_a_damaged_file_is_exported_and_repaired(directory: Path, run: Run) -> None:
    spool = open_spool(directory / "var")
    await append(spool, [f"event-{each}" for each in range(300)], "crm", filling=200)
    await spool.close()
    damage(directory / "var/spool.db", b"event-150")
    exported = run("spool", "export", "--file", "var/spool.db")
    left = len(exported.stdout.splitlines())
    assert (exported.returncode, 240 < left < 300) == (1, True)
    assert "var/spool.db is damaged" in exported.stderr
    assert run("status", "--verify").returncode == 1

    repaired = run("spool", "repair")
    assert (repaired.returncode, repaired.stdout.startswith("var/spool.db was damaged (")) == (0, True)
    assert f"{300 - left} are now booked as unreadable" in repaired.stdout
    assert run("status", "--verify").returncode == 0
    (aside,) = (directory / "var").glob("spool.db.unreadable-*")
    assert len(run("spool", "export", "--file", str(aside)).stdout.splitlines()) == left
    spool = open_spool(directory / "var")
    assert spool.books.lanes["crm"].pending == left
    await spool.close()


@pytest.mark.parametrize(
    ("arguments", "content", "said"),
    [
        (["spool", "inspect"], None, "There is no spool at var/spool.db."),
        (["spool", "repair"], None, "There is no spool at var/spool.db."),
        (["status", "--verify"], None, "There is no spool at var/spool.db."),
        (["spool", "export"], b"nothing of the kind" * 1000, "var/spool.db cannot be read: file is not a database."),
        (["spool", "inspect"], b"", "var/spool.db has schema 0"),
    ],
)
def test_what_is_no_spool(run: Run, directory: Path, arguments: list[str], content: bytes | None, said: str) -> None:
    (directory / "var").mkdir()
    if content is not None:
        (directory / "var/spool.db").write_bytes(content)
    shown = run(*arguments)
    assert (shown.returncode, shown.stdout) == (1, "")
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr
