"""`forwarder match` and `forwarder topics`."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Forwarder = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[..., Path]


def test_explains_each_filter(forwarder: Forwarder, integration: Write) -> None:
    integration("crm", EVENT_FILTER="v2.users.{id}?presence&routingStatus")
    integration("off", INTENDED_STATE="DISABLED")
    integration("idle", EVENT_FILTER="")
    shown = forwarder("match", "v2.users.1234.presence")
    assert (shown.returncode, shown.stderr) == (0, "")
    lines = shown.stdout.splitlines()
    assert lines[:3] == [
        "topic     v2.users.1234.presence",
        "template  v2.users.{id}.presence",
        "goes to   crm as v2.users.{id}.presence",
    ]
    assert "  v2.users.{id}.presence: matches" in lines
    assert any(line.startswith("  v2.users.{id}.routingStatus: ") and "matches" not in line for line in lines)
    assert "off (not enabled: gets nothing)" in lines
    assert lines[lines.index("idle") + 1] == "  no filter: gets nothing"


def test_explains_for_scripts(forwarder: Forwarder, integration: Write) -> None:
    integration("crm", EVENT_FILTER="acme.things.#")
    integration("off", INTENDED_STATE="DISABLED", EVENT_FILTER="acme.#")
    shown = json.loads(forwarder("match", "acme.things.0123456789abcdef0123456789abcdef", "--json").stdout)
    assert shown["template"] is None
    assert shown["routes"] == [{"detail_type": "acme.things.{id}", "integration_ids": ["crm"]}]
    assert {each["integration_id"]: (each["matches"], each["enabled"]) for each in shown["verdicts"]} == {
        "crm": (True, True),
        "off": (True, False),
    }


def test_one_bad_file_hides_no_other(forwarder: Forwarder, integration: Write) -> None:
    integration("bad", EVENT_FILTER="v2..x")
    integration("crm")
    shown = forwarder("match", "v2.users.1.presence")
    assert shown.returncode == 0
    assert "config/integrations/bad.env: EVENT_FILTER: " in shown.stderr
    assert "goes to   crm as" in shown.stdout


def test_needs_a_directory(forwarder: Forwarder) -> None:
    shown = forwarder("match", "x", FORWARDER_INTEGRATIONS_DIR="nowhere")
    assert (shown.returncode, shown.stdout) == (2, "")
    assert shown.stderr.startswith("forwarder: nowhere: the integrations directory cannot be read")


def test_topics(forwarder: Forwarder) -> None:
    assert len(forwarder("topics").stdout.splitlines()) == 237
    assert "v2.users.{id}.routingStatus" in forwarder("topics", "routingstatus").stdout.splitlines()
    assert json.loads(forwarder("topics", "v2.users.1.presence", "--json").stdout) == ["v2.users.{id}.presence"]
    nothing = forwarder("topics", "no.such.topic")
    assert (nothing.returncode, nothing.stdout) == (0, "")
    assert "no.such.topic" in nothing.stderr
