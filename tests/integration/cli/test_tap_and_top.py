"""`forwarder tap` and `forwarder top` follow a daemon, and leave cleanly."""

import json
import os
import pty
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

Write = Callable[..., Path]

NOTIFICATION = '{"topicName":"v2.users.7.presence","version":"2","eventBody":{"n":1.0}}\n'


@pytest.fixture
def follow(environment: dict[str, str], directory: Path) -> Any:
    @contextmanager
    def running(live: Any, *arguments: str) -> Iterator["subprocess.Popen[str]"]:
        with subprocess.Popen(
            [sys.executable, "-m", "forwarder", *arguments],
            cwd=directory,
            env=environment | live.settings,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    return running


def first_line(live: Any, process: "subprocess.Popen[str]", notification: str = NOTIFICATION, skip: str = "\0") -> str:
    """The next line with no `skip` in it. Notifications are handed in until then, for nobody says when it listens."""
    found: list[str] = []

    def read() -> None:
        assert process.stdout
        while skip in (line := process.stdout.readline()):
            pass
        found.append(line)

    reading = threading.Thread(target=read)
    reading.start()
    for _ in range(200):
        live.process.stdin.write(notification)
        live.process.stdin.flush()
        reading.join(0.1)
        if not reading.is_alive():
            return found[0]
    pytest.fail("nothing was shown")


def test_tap_shows_events_until_ctrl_c(live: Any, integration: Write, follow: Any) -> None:
    integration("crm")
    live.until("integrations", "list", holds=lambda found: [e["state"] for e in found["integrations"]] == ["ACTIVE"])
    with follow(live, "tap", "crm", "--topic", "v2.users.{id}.presence", "--json") as process:
        event = json.loads(first_line(live, process))
        assert (event["integration"], event["topic"]) == ("crm", "v2.users.7.presence")
        assert json.loads(event["detail"])["eventBody"] == {"n": 1.0}
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


def test_tap_finds_the_daemon_again(live: Any, start: Any, integration: Write, follow: Any) -> None:
    integration("crm")
    live.until("integrations", "list", holds=lambda found: [e["state"] for e in found["integrations"]] == ["ACTIVE"])
    with follow(live, "tap") as process:
        assert first_line(live, process).split()[1:] == ["crm", "v2.users.7.presence"]
        assert json.loads(process.stdout.readline())["topicName"] == "v2.users.7.presence"
        live.stop()
        assert process.stderr.readline().endswith("Waiting for it.\n")
        with start(FORWARDER_HTTP_PORT=live.settings["FORWARDER_HTTP_PORT"]) as again:
            event = '{"topicName":"v2.users.again.presence","version":"2","eventBody":{}}\n'
            assert "v2.users.again.presence" in first_line(again, process, event, skip="v2.users.7.presence")
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


def test_tap_ends_well_when_nobody_reads_on(live: Any, integration: Write, follow: Any) -> None:
    integration("crm")
    live.until("integrations", "list", holds=lambda found: [e["state"] for e in found["integrations"]] == ["ACTIVE"])
    with follow(live, "tap", "--json") as process:
        first_line(live, process)
        process.stdout.close()
        live.notify(3)
        assert process.wait(20) == 0
        assert process.stderr.read() == ""


@pytest.mark.parametrize(
    ("arguments", "code", "said"),
    [
        (["--topic", "v2..x"], 2, "--topic: "),
        (["--url", "http://127.0.0.1:1"], 1, "no daemon answers"),
        (["--url", "x"], 2, "is no URL"),
    ],
)
def test_what_cannot_be_tapped(live: Any, arguments: list[str], code: int, said: str) -> None:
    shown = live.ask("tap", *arguments)
    assert (shown.returncode, shown.stdout) == (code, "")
    assert said in shown.stderr


def test_top_once_for_scripts(live: Any, integration: Write) -> None:
    integration("crm")
    live.until("integrations", "list", holds=lambda found: [e["state"] for e in found["integrations"]] == ["ACTIVE"])
    live.notify(100)
    live.until("status", holds=lambda status: status["books"]["integrations"]["crm"]["delivered"] == 100)
    found = live.asked("top", "--once", "--interval", "0.1")
    assert (found["ready"], [each["id"] for each in found["integrations"]]) == (True, ["crm"])
    assert found["integrations"][0]["pending"] == 0
    assert [each["name"] for each in found["regions"]] == ["us-east-1"]
    assert found["spool_bytes"] < found["spool_limit"]


def test_top_is_plain_when_piped(live: Any, integration: Write, follow: Any) -> None:
    integration("crm")
    live.until("integrations", "list", holds=lambda found: [e["state"] for e in found["integrations"]] == ["ACTIVE"])
    shown = live.ask("top", "--once", "--interval", "0.1")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert "\x1b" not in shown.stdout
    assert any(line.split()[:2] == ["crm", "ACTIVE"] for line in shown.stdout.splitlines())
    with follow(live, "top", "--interval", "0.1") as process:
        assert process.stdout.readline() == "ready\n"
        process.send_signal(signal.SIGINT)
        assert process.wait(20) == 0


@pytest.mark.parametrize("leave", ["q", None])
def test_top_on_a_terminal(
    live: Any, environment: dict[str, str], directory: Path, integration: Write, leave: str | None
) -> None:
    integration("crm")
    ours, theirs = pty.openpty()
    with subprocess.Popen(
        [sys.executable, "-m", "forwarder", "top", "--interval", "0.1"],
        cwd=directory,
        env=environment | live.settings | {"TERM": "xterm", "LINES": "30", "COLUMNS": "120"},
        stdin=theirs,
        stdout=theirs,
        stderr=theirs,
    ) as process:
        os.close(theirs)
        seen = ""
        while "BACKLOG" not in seen:
            seen += os.read(ours, 4096).decode(errors="replace")
        if leave:
            os.write(ours, leave.encode())
        else:
            process.send_signal(signal.SIGINT)
        while "\x1b[?1049l" not in seen:  # back from the alternate screen
            seen += os.read(ours, 4096).decode(errors="replace")
        try:
            assert process.wait(20) == 0
        finally:
            process.kill()
    os.close(ours)
    assert "Traceback" not in seen
