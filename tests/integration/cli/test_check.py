"""`forwarder check` finds everything in one go."""

import json
import subprocess
from collections.abc import Callable
from pathlib import Path

Forwarder = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[..., Path]

GOOD = {"FORWARDER_ORGANIZATION_ID": "acme", "FORWARDER_INTAKE": "file", "FORWARDER_SINK": "stdout"}


def test_all_in_order(forwarder: Forwarder, integration: Write) -> None:
    integration("crm")
    shown = forwarder("check", **GOOD)
    assert (shown.returncode, shown.stderr) == (0, "")
    assert shown.stdout == "Settings and integrations are in order.\n"
    assert json.loads(forwarder("check", "--json", **GOOD).stdout) == {"ok": True, "problems": []}


def test_lists_the_problems_of_settings_plugins_and_files_together(
    forwarder: Forwarder, integration: Write, directory: Path
) -> None:
    integration("crm", AWS_ACCOUNT_ID="1", AWS_ACCOUNT_REGION="us-east-9")
    integration("one", EVENT_SOURCE_SUFFIX="same")
    integration("two", EVENT_SOURCE_SUFFIX="same")
    (directory / "config/forwarder.env").write_text(
        "FORWARDER_INTAKE=file\nFORWARDER_FILE_RATE=fast\nFORWARDER_SINK=stdot\nFORWARDER_MQTT_URL=mqtt://other\n"
    )
    shown = forwarder("check")
    assert (shown.returncode, shown.stdout) == (2, "")
    for part in (
        "FORWARDER_ORGANIZATION_ID: is required",
        "config/forwarder.env:2: FORWARDER_FILE_RATE: is not a number",
        "FORWARDER_SINK: there is no plug-in 'stdot'",
        "config/integrations/crm.env:2: AWS_ACCOUNT_ID: Invalid AWS account ID",
        "config/integrations/crm.env:3: AWS_ACCOUNT_REGION: Invalid AWS Region",
        "config/integrations/two.env:4: EVENT_SOURCE_SUFFIX: Event source suffix must be unique",
        "6 problems found.",
    ):
        assert part in shown.stderr


def test_problems_as_json(forwarder: Forwarder) -> None:
    shown = forwarder("check", "--json", FORWARDER_INTAKE="file", FORWARDER_SINK="stdout")
    assert (shown.returncode, shown.stderr) == (2, "")
    found = json.loads(shown.stdout)
    assert found["ok"] is False
    assert [problem["key"] for problem in found["problems"]] == ["FORWARDER_ORGANIZATION_ID"]


def test_the_env_file_can_be_named_and_must_then_exist(forwarder: Forwarder, directory: Path) -> None:
    path = directory / "mine.env"
    shown = forwarder("check", "--env-file", str(path), **GOOD)
    assert shown.returncode == 2
    assert f"{path}: the env file cannot be read" in shown.stderr
    path.write_text("".join(f"{key}={value}\n" for key, value in GOOD.items()))
    assert forwarder("check", "--env-file", str(path)).returncode == 0


def test_a_directory_that_is_not_there_is_a_problem(forwarder: Forwarder) -> None:
    shown = forwarder("check", FORWARDER_INTEGRATIONS_DIR="nowhere", **GOOD)
    assert shown.returncode == 2
    assert "nowhere: the integrations directory cannot be read" in shown.stderr
