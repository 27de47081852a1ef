"""`forwarder dead-letters`, through the daemon and on the file."""

import json
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forwarder.emulator.faults import FaultRule
from forwarder.emulator.http import Emulator

Write = Callable[..., Path]

OFFLINE = {"FORWARDER_ORGANIZATION_ID": "acme", "FORWARDER_HTTP_PORT": "1"}


@pytest.fixture
def refused(start: Any, integration: Write, emulator: Emulator) -> Iterator[Any]:
    """A daemon with three dead letters of crm and one of wfm; what is sent now is accepted."""
    integration("crm")
    integration("wfm", EVENT_FILTER="v2.users.{id}.routingStatus")
    rule = {"operation": "PutPartnerEvents", "entry_errors": [{"code": "AccessDeniedException", "rate": 1}]}
    emulator.faults.set(msgspec.convert(rule, FaultRule))
    with start() as live:
        live.notify(3)
        live.process.stdin.write('{"topicName":"v2.users.8.routingStatus","version":"2","eventBody":{}}\n')
        live.process.stdin.flush()
        live.until("dead-letters", "list", holds=lambda letters: len(letters) == 4)
        emulator.faults.clear()
        yield live


def test_list_show_redrive_and_purge_through_the_daemon(refused: Any) -> None:
    letters = refused.asked("dead-letters", "list", "--integration", "crm", "--reason", "refused")
    assert [each["event"]["topic"] for each in letters] == ["v2.users.7.presence"] * 3
    number = letters[0]["id"]
    shown = refused.ask("dead-letters", "show", str(number))
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "code          AccessDeniedException" in shown.stdout
    assert '"topicName": "v2.users.7.presence"' in shown.stdout

    dry = refused.asked("dead-letters", "redrive", str(number), "--dry-run")
    assert dry == {"dry_run": True, "matched": 1, "redriven": 0}
    assert refused.asked("dead-letters", "redrive", str(number)) == {"dry_run": False, "matched": 1, "redriven": 1}
    refused.until("status", holds=lambda status: status["books"]["integrations"]["crm"]["delivered"] == 1)
    purged = refused.ask("dead-letters", "purge", "--integration", "crm")
    assert (purged.returncode, purged.stdout) == (0, "2 dead letters purged.\n")
    assert [each["integration"] for each in refused.asked("dead-letters", "list")] == ["wfm"]
    assert refused.ask("dead-letters", "purge", "--older-than", "1d").stdout == "0 dead letters purged.\n"
    assert refused.ask("dead-letters", "redrive", "--all").stdout == "1 dead letter redriven.\n"
    assert refused.ask("dead-letters", "list").stderr == "There is no such dead letter.\n"


def test_the_same_on_the_file_and_the_daemon_delivers_at_its_next_start(
    refused: Any, forwarder: Any, start: Any, emulator: Emulator
) -> None:
    online = refused.asked("dead-letters", "list")
    held = forwarder("dead-letters", "redrive", "--all", **OFFLINE)
    assert (held.returncode, held.stdout) == (1, "")
    assert "Another forwarder is running" in held.stderr
    assert json.loads(forwarder("dead-letters", "list", "--json", **OFFLINE).stdout) == online
    refused.stop()

    shown = json.loads(forwarder("dead-letters", "show", str(online[0]["id"]), "--json", **OFFLINE).stdout)
    assert shown == online[0]
    dry = forwarder("dead-letters", "purge", "--integration", "wfm", "--dry-run", **OFFLINE)
    assert (dry.returncode, dry.stdout) == (0, "1 dead letter would be purged.\n")
    assert forwarder("dead-letters", "purge", "--integration", "wfm", **OFFLINE).stdout == "1 dead letter purged.\n"
    redriven = forwarder("dead-letters", "redrive", "--integration", "crm", **OFFLINE)
    assert (redriven.stdout, redriven.stderr) == ("3 dead letters redriven.\n", "")
    assert json.loads(forwarder("dead-letters", "list", "--json", **OFFLINE).stdout) == []
    with start() as live:
        live.until("status", holds=lambda status: status["books"]["integrations"]["crm"]["delivered"] == 3)
    assert len(emulator.state.events(since=0)) == 3


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["redrive"], 2, "which ones? (give numbers, --integration, --reason or --older-than; or --all)"),
        (["list"], 1, "There is no spool at var/spool.db."),
        (["purge", "--all"], 1, "There is no spool at var/spool.db."),
    ],
)
def test_what_cannot_be_done(forwarder: Any, arguments: list[str], code: int, said: str) -> None:
    shown = forwarder("dead-letters", *arguments, **OFFLINE)
    assert (shown.returncode, shown.stdout) == (code, "")
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr


def test_a_number_that_is_not_there(refused: Any) -> None:
    shown = refused.ask("dead-letters", "show", "4711")
    assert (shown.returncode, shown.stderr) == (1, "forwarder: there is no dead letter 4711\n")
