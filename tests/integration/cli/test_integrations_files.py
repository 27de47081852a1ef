"""`forwarder integrations` where no daemon runs: the files, and what its next start has to know."""

import contextlib
import json
import os
import pty
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]
Change = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def change(forwarder: Change) -> Change:
    def run(*arguments: str, **variables: str) -> subprocess.CompletedProcess[str]:
        settings = {"FORWARDER_ORGANIZATION_ID": "acme", "FORWARDER_HTTP_PORT": "1"} | variables
        return forwarder("integrations", *arguments, **settings)

    return run


def test_add_set_activate_deactivate_show_delete(change: Change, directory: Path) -> None:
    path = directory / "config/integrations/crm.env"
    identity = ("--account", "123456789012", "--region", "us-east-1", "--suffix", "crm")
    added = change("add", "crm", *identity, "--filter", "v2.a.b", "--filter", "v2.c.d")
    assert (added.returncode, added.stderr) == (0, "")
    assert 'EVENT_FILTER="v2.a.b, v2.c.d"\nINTENDED_STATE=DISABLED\n' in path.read_text()
    path.write_text("# first\n" + path.read_text().replace("REGION=us-east-1", "REGION=us-east-1 # why"))
    changed = change("set", "crm", "--remove-filter", "v2.a.b", "--region", "eu-west-1", "--name", "A #1")
    assert (changed.returncode, changed.stderr) == (0, "")
    text = path.read_text()
    assert text.startswith('# first\nNAME="A #1"\n')
    assert "AWS_ACCOUNT_REGION=eu-west-1 # why\n" in text
    assert "EVENT_FILTER=v2.c.d\n" in text
    assert change("activate", "crm").returncode == 0
    shown = json.loads(change("show", "crm", "--json").stdout)
    assert (shown["intended_state"], shown["state"]) == ("ENABLED", None)
    assert shown["event_source_name"] == "aws.partner/genesys.com/cloud/acme/crm"
    assert change("deactivate", "crm").returncode == 0
    assert "INTENDED_STATE=DISABLED\n" in path.read_text()
    deleted = change("delete", "crm")
    assert (deleted.returncode, path.exists()) == (0, False)
    assert "there is nothing in AWS to delete" in deleted.stdout


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["set", "crm"], 2, "nothing to change (give one of --name, "),
        (["set", "crm", "--filter", "v2.a", "--add-filter", "v2.b"], 2, "--filter replaces all filters"),
        (["set", "crm", "--remove-filter", "v2.x"], 2, "--remove-filter: there is no filter v2.x"),
        (["set", "crm", "--account", "1", "--region", "x"], 2, "--region: Invalid AWS Region"),
        (["set", "two", "--suffix", "crm"], 2, "--suffix: Event source suffix must be unique: crm has it"),
        (["set", "nobody", "--name", "x"], 1, "there is no integration nobody; there are: crm, two"),
        (["add", "crm", "--name", "x"], 1, "there is an integration crm already"),
        (["add", "../crm", "--name", "x"], 2, "'../crm' cannot be an integration's id"),
        (["delete", "../crm"], 2, "'../crm' cannot be an integration's id"),
        (["activate", "nobody"], 1, "there is no integration nobody"),
        (["delete", "nobody"], 1, "there is no integration nobody"),
        (["show"], 2, "Usage:"),
    ],
)
def test_what_is_refused_changes_nothing(
    change: Change, integration: Write, arguments: list[str], code: int, said: str
) -> None:
    before = [(path, path.read_bytes()) for path in (integration("crm"), integration("two"))]
    shown = change(*arguments)
    assert (shown.returncode, shown.stdout) == (code, "")
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr
    assert all(path.read_bytes() == content for path, content in before)


def test_set_mends_a_file_that_is_wrong(change: Change, integration: Write) -> None:
    integration("crm", AWS_ACCOUNT_REGION="nowhere")
    listed = change("list")
    assert (listed.returncode, "Invalid AWS Region" in listed.stderr) == (0, True)
    assert change("show", "crm").returncode == 2
    assert change("set", "crm", "--region", "us-east-1").returncode == 0
    assert json.loads(change("list", "--json").stdout)["problems"] == []


def test_a_deletion_without_a_daemon_is_carried_out_by_its_next_start(
    start: Any, change: Change, integration: Write, directory: Path
) -> None:
    path = integration("crm")
    with start() as live:
        live.until("integrations", "list", holds=_all_active)
        live.stop()
    record = directory / "var/lifecycle.json"
    deleted = change("delete", "crm")
    assert (deleted.returncode, deleted.stderr, path.exists()) == (0, "", False)
    assert "the daemon's next start deletes aws.partner/genesys.com/cloud/acme/crm in account 123456789012" in (
        deleted.stdout
    )
    assert json.loads(record.read_text())["integrations"]["crm"]["standing"] == "DELETING"
    with start() as live:
        # The list is empty a moment before the record is.
        live.until("integrations", "list", holds=lambda _: not json.loads(record.read_text())["integrations"])
        assert live.asked("integrations", "list")["integrations"] == []


def test_an_activation_without_a_daemon_is_carried_out_by_its_next_start(
    start: Any, change: Change, integration: Write
) -> None:
    integration("crm")
    with start() as live:
        live.until("integrations", "list", holds=_all_active)
        live.stop()
    assert change("set", "crm", "--suffix", "crm-2").returncode == 0
    assert "deactivated because" in change("list").stdout
    shown = change("activate", "crm")
    assert "the request is recorded: the daemon's next start activates it" in shown.stdout
    with start() as live:
        found = live.until("integrations", "list", holds=_all_active)
    assert found["integrations"][0]["event_source_name"].endswith("/crm-2")


def _all_active(found: Any) -> bool:
    return [each["state"] for each in found["integrations"]] == ["ACTIVE"]


@pytest.mark.parametrize(("answer", "code"), [("y\n", 0), ("n\n", 1), ("\n", 1), ("\x04", 1), (signal.SIGINT, 1)])
def test_a_person_is_asked(
    environment: dict[str, str], directory: Path, integration: Write, answer: str | signal.Signals, code: int
) -> None:
    path = integration("crm")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "forwarder", "integrations", "delete", "crm"],
        cwd=directory,
        env=environment | {"FORWARDER_ORGANIZATION_ID": "acme", "FORWARDER_HTTP_PORT": "1"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = _read_until(ours, "[y/N]: ")
        try:
            if isinstance(answer, str):
                os.write(ours, answer.encode())
            else:
                _interrupt(process)
            assert process.wait(20) == code
        finally:
            process.kill()
    os.close(ours)
    assert "Delete crm with its event source in AWS" in seen
    assert path.exists() == (code != 0)


def _interrupt(process: "subprocess.Popen[bytes]") -> None:
    """Press Ctrl-C, again if need be: one between the prompt and the reading of the answer is noticed only after it."""
    for _ in range(5):
        process.send_signal(signal.SIGINT)
        with contextlib.suppress(subprocess.TimeoutExpired):
            process.wait(4)
            return


def _read_until(descriptor: int, text: str) -> str:
    seen = ""
    while text not in seen:
        seen += os.read(descriptor, 1024).decode()
    return seen


def test_yes_asks_nobody(environment: dict[str, str], directory: Path, integration: Write) -> None:
    path = integration("crm")
    ours, theirs = pty.openpty()
    subprocess.run(
        [sys.executable, "-m", "forwarder", "integrations", "delete", "crm", "--yes"],
        cwd=directory,
        env=environment | {"FORWARDER_ORGANIZATION_ID": "acme", "FORWARDER_HTTP_PORT": "1"},
        stdin=theirs,
        capture_output=True,
        timeout=30,
        check=True,
    )
    os.close(ours)
    os.close(theirs)
    assert not path.exists()
