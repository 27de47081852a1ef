"""`forwarder run` from a file to standard output: what it exits with, and what `status` says meanwhile."""

import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

import pytest

Forwarder = Callable[..., subprocess.CompletedProcess[str]]
Write = Callable[..., Path]
Daemon = subprocess.Popen[str]

SETTINGS = {
    "FORWARDER_ORGANIZATION_ID": "acme",
    "FORWARDER_INTAKE": "file",
    "FORWARDER_SINK": "stdout",
    "FORWARDER_HTTP_PORT": "0",
}
NOTIFICATION = '{"topicName":"v2.users.7.presence","version":"2","eventBody":{"n":1.0}}\n'


@pytest.fixture
def start(environment: dict[str, str], directory: Path) -> Callable[..., object]:
    @contextmanager
    def running(**variables: str) -> Iterator[Daemon]:
        with subprocess.Popen(
            [sys.executable, "-m", "forwarder", "run"],
            cwd=directory,
            env=environment | SETTINGS | variables,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            bufsize=1,
        ) as process:
            try:
                yield process
            finally:
                process.kill()

    return running


def logged(stream: IO[str] | None, event: str) -> dict[str, object]:
    """The log's next line with that event."""
    assert stream
    for line in stream:
        entry: dict[str, object] = json.loads(line)
        if entry["event"] == event:
            return entry
    pytest.fail(f"the log ended without {event}")


def test_a_file_to_its_end_is_0(forwarder: Forwarder, integration: Write, directory: Path) -> None:
    integration("crm")
    (directory / "events").write_text(NOTIFICATION * 3)
    shown = forwarder("run", **SETTINGS, FORWARDER_FILE_PATH="events")
    assert shown.returncode == 0
    lines = [json.loads(line) for line in shown.stdout.splitlines()]
    assert [line["DetailType"] for line in lines] == ["v2.users.{id}.presence"] * 3
    assert all(json.loads(line)["level"] == "info" for line in shown.stderr.splitlines())


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_ends_it_with_0_and_status_works_until_then(
    forwarder: Forwarder, integration: Write, start: Callable[..., Any], number: signal.Signals
) -> None:
    integration("crm")
    with start(FORWARDER_VIEWER_TOKEN="the-viewer") as process:
        url = f"http://127.0.0.1:{logged(process.stderr, 'http_listening')['port']}"
        process.stdin.write(NOTIFICATION)
        assert json.loads(process.stdout.readline())["Source"].endswith("/acme/crm")
        refused = forwarder("status", "--url", url)
        assert (refused.returncode, "bearer token" in refused.stderr) == (1, True)
        deadline = time.monotonic() + 20
        delivered = 0
        while not delivered and time.monotonic() < deadline:  # settled after the line was written
            found = json.loads(forwarder("status", "--json", "--url", url, FORWARDER_VIEWER_TOKEN="the-viewer").stdout)
            delivered = found["books"]["integrations"]["crm"]["delivered"]
        assert (found["ready"], delivered) == (True, 1)
        process.send_signal(number)
        logged(process.stderr, "stopped")
        assert process.wait(20) == 0


def test_a_port_in_use_is_2_in_one_sentence(forwarder: Forwarder, start: Callable[..., Any]) -> None:
    with start() as process:
        port = str(logged(process.stderr, "http_listening")["port"])
        shown = forwarder("run", **(SETTINGS | {"FORWARDER_HTTP_PORT": port, "FORWARDER_STATE_DIR": "other"}))
    assert shown.returncode == 2
    last = shown.stderr.splitlines()[-1]
    assert last.startswith(f"forwarder: FORWARDER_HTTP_PORT: cannot listen on 127.0.0.1:{port}: ")
    assert "Traceback" not in shown.stderr


def test_a_second_daemon_on_one_state_directory_is_refused(forwarder: Forwarder, start: Callable[..., Any]) -> None:
    with start() as process:
        logged(process.stderr, "started")
        shown = forwarder("run", **SETTINGS)
    assert shown.returncode == 1
    assert shown.stderr.splitlines()[-1].startswith("forwarder: ")
    assert "Traceback" not in shown.stderr
