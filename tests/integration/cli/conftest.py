"""The command line as a user runs it: another process, an empty directory, an environment without our variables; and a
daemon that it can ask, with the emulator for AWS."""

import asyncio
import json
import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from forwarder.emulator.http import Emulator

ROOT = Path(__file__).parents[3]
TOKEN = "the-admin-token-of-these-tests"
NOTIFICATION = '{"topicName":"v2.users.7.presence","version":"2","eventBody":{"n":1.0}}\n'

Result = subprocess.CompletedProcess[str]
Forwarder = Callable[..., Result]


@pytest.fixture
def environment() -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("FORWARDER_", "AWS_"))}
    return kept | {"PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "error", "COLUMNS": "80"}


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "config/integrations").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def forwarder(environment: dict[str, str], directory: Path) -> Forwarder:
    def run(*arguments: str, **variables: str) -> Result:
        return subprocess.run(
            [sys.executable, "-m", "forwarder", *arguments],
            cwd=directory,
            env=environment | variables,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=30,
            check=False,
        )

    return run


@pytest.fixture
def integration(directory: Path) -> Callable[..., Path]:
    def write(id_: str, **changes: str) -> Path:
        values = {
            "NAME": '"CRM"',
            "AWS_ACCOUNT_ID": "123456789012",
            "AWS_ACCOUNT_REGION": "us-east-1",
            "EVENT_SOURCE_SUFFIX": id_,
            "EVENT_FILTER": "v2.users.{id}.presence",
            "INTENDED_STATE": "ENABLED",
        } | changes
        path = directory / f"config/integrations/{id_}.env"
        path.write_text("".join(f"{key}={value}\n" for key, value in values.items()))
        return path

    return write


@pytest.fixture
def emulator() -> Iterator[Emulator]:
    """The emulator on a loop of its own."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever)
    thread.start()
    running = Emulator(auto_associate=True)

    def do(work: Any) -> None:
        asyncio.run_coroutine_threadsafe(work, loop).result(20)

    do(running.start())
    yield running
    do(running.stop())
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()


class Live:
    """A running daemon. `settings` are what a command needs to find and ask it; notifications go to its input."""

    def __init__(self, process: "subprocess.Popen[str]", settings: dict[str, str], run: Forwarder) -> None:
        self.process = process
        self.settings = settings
        self._run = run

    def ask(self, *arguments: str, **variables: str) -> Result:
        """Run a command that finds this daemon."""
        return self._run(*arguments, **(self.settings | variables))

    def asked(self, *arguments: str) -> Any:
        """What a command prints as JSON, which must go well."""
        shown = self.ask(*arguments, "--json")
        assert (shown.returncode, shown.stderr) == (0, "")
        return json.loads(shown.stdout)

    def notify(self, count: int = 1) -> None:
        """Hand in notifications."""
        assert self.process.stdin
        self.process.stdin.write(NOTIFICATION * count)
        self.process.stdin.flush()

    def until(self, *arguments: str, holds: Callable[[Any], bool]) -> Any:
        """Ask until the answer is as wanted."""
        deadline = time.monotonic() + 20
        while not holds(answer := self.asked(*arguments)):
            assert time.monotonic() < deadline, answer
        return answer

    def stop(self) -> None:
        """End it as an operator does."""
        self.process.terminate()
        assert self.process.wait(20) == 0


@pytest.fixture
def start(environment: dict[str, str], directory: Path, emulator: Emulator, forwarder: Forwarder) -> Any:
    @contextmanager
    def running(**variables: str) -> Iterator[Live]:
        settings = {
            "FORWARDER_ORGANIZATION_ID": "acme",
            "FORWARDER_INTAKE": "file",
            "FORWARDER_HTTP_PORT": "0",
            "FORWARDER_ADMIN_TOKEN": TOKEN,
            "AWS_ENDPOINT_URL_EVENTBRIDGE": emulator.url,
            "AWS_ACCESS_KEY_ID": "test",
            "AWS_SECRET_ACCESS_KEY": "test",
        } | variables
        with (
            (directory / "log").open("w") as log,
            subprocess.Popen(
                [sys.executable, "-m", "forwarder", "run"],
                cwd=directory,
                env=environment | {name: value for name, value in settings.items() if value},
                stdin=subprocess.PIPE,
                stderr=log,
                text=True,
            ) as process,
        ):
            try:
                settings["FORWARDER_HTTP_PORT"] = str(_port(directory / "log", process))
                yield Live(process, settings, forwarder)
            finally:
                process.kill()

    return running


@pytest.fixture
def live(start: Any) -> Iterator[Live]:
    with start() as running:
        yield running


def _port(log: Path, process: "subprocess.Popen[str]") -> int:
    """Where it listens, once it has started."""
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline and process.poll() is None:
        entries = [json.loads(line) for line in log.read_text().splitlines() if line.endswith("}")]
        if any(entry["event"] == "started" for entry in entries):
            return next(int(entry["port"]) for entry in entries if entry["event"] == "http_listening")
        time.sleep(0.02)
    pytest.fail(f"the daemon did not start: {log.read_text()}")
