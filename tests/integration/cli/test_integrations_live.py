"""`forwarder integrations` on a running daemon, from an empty directory to deletion."""

from pathlib import Path
from typing import Any

import msgspec

from forwarder.emulator.faults import FaultRule
from forwarder.emulator.http import Emulator

ADD = ("integrations", "add", "crm", "--account", "123456789012", "--region", "us-east-1", "--suffix", "crm")


def fault(emulator: Emulator, **rule: Any) -> None:
    emulator.faults.set(msgspec.convert(rule, FaultRule))


def test_the_life_of_an_integration(live: Any, directory: Path) -> None:
    file = directory / "config/integrations/crm.env"
    added = live.asked(*ADD, "--filter", "v2.users.{id}.presence", "--name", "CRM")["integration"]
    assert (added["state"], added["intended_state"]) == ("INACTIVE", "DISABLED")
    assert live.asked("integrations", "activate", "crm")["integration"]["state"] == "ACTIVE"
    live.notify(3)
    live.until("status", holds=lambda status: status["books"]["integrations"]["crm"]["delivered"] == 3)

    file.write_text("# mine\n" + file.read_text())
    changed = live.asked("integrations", "set", "crm", "--add-filter", "v2.a.{id}", "--notes", "Two\nlines")
    assert changed["integration"]["topic_filters"] == ["v2.users.{id}.presence", "v2.a.{id}"]
    assert changed["integration"]["state"] == "ACTIVE"
    assert file.read_text().startswith("# mine\n")

    moved = live.asked("integrations", "set", "crm", "--suffix", "crm-2")["integration"]
    assert moved["state"] == "INACTIVE"
    assert "deactivated because the event source changed" in moved["reason"]
    again = live.asked("integrations", "activate", "crm")["integration"]
    assert (again["state"], again["event_source_name"].rpartition("/")[2]) == ("ACTIVE", "crm-2")
    assert live.asked("integrations", "deactivate", "crm")["integration"]["state"] == "INACTIVE"

    assert live.asked("integrations", "delete", "crm")["integration"] is None
    assert not file.exists()
    assert live.asked("integrations", "list")["integrations"] == []
    gone = live.ask("integrations", "show", "crm")
    assert (gone.returncode, gone.stderr) == (1, "forwarder: there is no integration crm; there are: none\n")


def test_all_mistakes_at_once_each_at_its_option_and_nothing_is_left_behind(live: Any, directory: Path) -> None:
    wrong = ("--account", "12", "--region", "us-east-9", "--suffix", "a b", "--filter", "v2..x")
    shown = live.ask("integrations", "add", "crm", *wrong)
    assert (shown.returncode, shown.stdout) == (2, "")
    lines = shown.stderr.splitlines()
    assert [line.split(": ")[1] for line in lines] == ["--account", "--region", "--suffix", "--filter"]
    assert "Invalid AWS account ID" in lines[0]
    assert "Invalid AWS Region" in lines[1]
    assert list((directory / "config/integrations").iterdir()) == []


def test_a_suffix_that_another_has_is_refused_on_activation(live: Any) -> None:
    live.asked(*ADD, "--activate")
    live.asked(*("crm-2" if each == "crm" and index == 2 else each for index, each in enumerate(ADD)))
    shown = live.ask("integrations", "activate", "crm-2", "--yes")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "--suffix: Event source suffix must be unique" in shown.stderr


def test_trouble_in_aws_is_1_with_the_reason(live: Any, emulator: Emulator) -> None:
    fault(
        emulator,
        operation="CreatePartnerEventSource",
        errors=[{"code": "OperationDisabledException", "rate": 1, "message": "Not here."}],
    )
    shown = live.ask(*ADD, "--activate")
    assert shown.returncode == 1
    assert "crm is ERROR: creating the event source" in shown.stdout
    assert "forwarder: crm is in ERROR: " in shown.stderr
    emulator.faults.clear()
    assert live.asked("integrations", "activate", "crm")["integration"]["state"] == "ACTIVE"


def test_list_and_show_for_people(live: Any, integration: Any) -> None:
    live.asked(*ADD, "--notes", "One\nTwo", "--filter", "v2.a.b v2.c.d")
    listed = [" ".join(line.split()) for line in live.ask("integrations", "list").stdout.splitlines()]
    assert listed[0] == "INTEGRATION WANTED STATE ACCOUNT REGION SUFFIX FILTERS REASON"
    assert listed[1].startswith("crm DISABLED INACTIVE 123456789012 us-east-1 crm 2 ")
    shown = live.ask("integrations", "show", "crm").stdout.splitlines()
    assert "event source aws.partner/genesys.com/cloud/acme/crm" in shown
    assert shown[-2:] == ["filters      v2.a.b", "             v2.c.d"]


def test_without_a_token_the_files_are_changed_and_the_daemon_follows(start: Any, directory: Path) -> None:
    with start(FORWARDER_ADMIN_TOKEN="") as live:
        added = live.ask(*ADD, "--activate")
        assert (added.returncode, added.stderr) == (0, "")
        assert "crm.env says ENABLED; the running daemon follows" in added.stdout
        live.until(
            "integrations", "list", holds=lambda found: [each["state"] for each in found["integrations"]] == ["ACTIVE"]
        )
        again = live.ask("integrations", "activate", "crm")
        assert (again.returncode, again.stdout) == (1, "")
        assert "set FORWARDER_ADMIN_TOKEN" in again.stderr
        refused = live.ask("integrations", "delete", "crm")
        assert (refused.returncode, refused.stdout) == (1, "")
        assert "only it can delete an event source" in refused.stderr
        assert (directory / "config/integrations/crm.env").exists()


def test_a_wrong_token_is_1(live: Any) -> None:
    shown = live.ask("integrations", "deactivate", "crm", FORWARDER_ADMIN_TOKEN="wrong")
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "refuses: A valid bearer token is needed." in shown.stderr


def test_a_url_where_nothing_answers_is_1_and_touches_no_file(live: Any, directory: Path) -> None:
    shown = live.ask(*ADD, "--url", "http://127.0.0.1:1")
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "no daemon answers at http://127.0.0.1:1" in shown.stderr
    assert list((directory / "config/integrations").iterdir()) == []
