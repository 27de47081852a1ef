"""Programs that the tests start, stop and kill: a real mosquitto, and the daemon as its user runs it."""

import asyncio
import json
import os
import re
import shutil
import socket
import sys
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path
from signal import SIGKILL, SIGTERM, Signals
from typing import Any, Self

import aiohttp
from prometheus_client.parser import text_string_to_metric_families

ROOT = Path(__file__).parents[2]
ACCESS_KEY, SECRET = "AKIDSYSTEM", "known-to-the-emulator-alone"
PATIENCE = 30.0  # seconds that anything may take which is sure to happen
_PLACES = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/local/sbin", "/opt/homebrew/sbin"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def program(name: str) -> str:
    """Where a program is that `scripts/require` installs."""
    found = shutil.which(name, path=_PLACES)
    assert found, f"{name} is not installed"
    return found


async def until(condition: Callable[[], Awaitable[Any] | Any], what: str, seconds: float = PATIENCE) -> Any:
    """Wait until the condition, which another process brings about, holds; returns what it gave."""
    try:
        async with asyncio.timeout(seconds):
            while True:
                met = condition()
                if isinstance(met, Awaitable):
                    met = await met
                if met:
                    return met
                await asyncio.sleep(0.02)
    except TimeoutError:
        raise AssertionError(f"{what}: not within {seconds:g} s") from None


class Program:
    """One process at a time of one program; its output goes to a file."""

    def __init__(self, name: str, directory: Path) -> None:
        self.name = name
        self.output = directory / f"{name}.out"
        self.process: asyncio.subprocess.Process | None = None

    async def spawn(
        self, *command: str, environment: Mapping[str, str] | None = None, stdin: Any = asyncio.subprocess.DEVNULL
    ) -> asyncio.subprocess.Process:
        with self.output.open("ab") as output:
            # In a session of its own: Ctrl-C on a test run is for the test, which then ends its programs.
            self.process = await asyncio.create_subprocess_exec(
                *command, stdin=stdin, stdout=output, stderr=output, env=environment, start_new_session=True
            )
        return self.process

    @property
    def running(self) -> bool:
        return self.process is not None and self.process.returncode is None

    def send(self, number: Signals) -> None:
        assert self.process
        self.process.send_signal(number)

    async def ended(self, seconds: float = PATIENCE) -> int:
        """Wait for its end; the exit code."""
        assert self.process
        async with asyncio.timeout(seconds):
            return await self.process.wait()

    async def stop(self, number: Signals = SIGTERM) -> int:
        if self.running:
            self.send(number)
        return await self.ended()

    async def kill(self) -> None:
        if self.running:
            await self.stop(SIGKILL)

    async def listening(self, port: int) -> None:
        async def answers() -> bool:
            assert self.running, f"{self.name} did not start: {self.output.read_text()[-1000:]}"
            return await accepts(port)

        await until(answers, f"{self.name} listens on {port}")


async def accepts(port: int) -> bool:
    try:
        _, writer = await asyncio.open_connection("127.0.0.1", port)
    except OSError:
        return False
    writer.close()
    return True


class Mosquitto(Program):
    """A broker with the settings that the project ships: it keeps what it has acknowledged, over a restart too."""

    def __init__(self, directory: Path) -> None:
        directory.mkdir(exist_ok=True)
        super().__init__("mosquitto", directory)
        self.port = free_port()
        self._config = directory / "mosquitto.conf"
        text = (ROOT / "config/mosquitto/mosquitto.conf").read_text()
        text = text.replace("listener 1883", f"listener {self.port} 127.0.0.1")
        text = text.replace("/mosquitto/data/", f"{directory}/")
        # Started by root it would become a user that may not write here.
        self._config.write_text(text + ("user root\n" if os.getuid() == 0 else ""))

    async def start(self) -> None:
        await self.spawn(program("mosquitto"), "-c", str(self._config))
        await self.listening(self.port)


class Daemon(Program):
    """`forwarder run` with an env file, integration files and a state directory below `directory`."""

    def __init__(self, directory: Path, settings: Mapping[str, str]) -> None:
        directory.mkdir(exist_ok=True)
        super().__init__("daemon", directory)
        self.integrations = directory / "integrations"
        self.integrations.mkdir()
        self.state = directory / "state"
        self.settings = {
            "FORWARDER_ORGANIZATION_ID": "acme",
            "FORWARDER_INTEGRATIONS_DIR": str(self.integrations),
            "FORWARDER_STATE_DIR": str(self.state),
            "FORWARDER_HTTP_PORT": "0",
            "AWS_ACCESS_KEY_ID": ACCESS_KEY,
            "AWS_SECRET_ACCESS_KEY": SECRET,
            **settings,
        }
        self._env_file = directory / "forwarder.env"
        self._log_starts = 0
        self.port = 0

    def integration(self, id_: str, **changes: str) -> Path:
        """Write an integration's file, in one step as an editor does."""
        values = {
            "NAME": id_,
            "AWS_ACCOUNT_ID": "111122223333",
            "AWS_ACCOUNT_REGION": "us-east-1",
            "EVENT_SOURCE_SUFFIX": id_,
            "EVENT_FILTER": "v2.users.{id}.presence",
            "INTENDED_STATE": "ENABLED",
            **changes,
        }
        path = self.integrations / f"{id_}.env"
        draft = path.with_suffix(".draft")
        draft.write_text("".join(f'{key}="{value}"\n' for key, value in values.items()))
        return draft.replace(path)

    async def launch(self, *prefix: str, stdin: Any = asyncio.subprocess.DEVNULL) -> None:
        """Start it, with another program before it where one is given, and do not wait."""
        self._env_file.write_text("".join(f"{key}='{value}'\n" for key, value in self.settings.items()))
        kept = {key: value for key, value in os.environ.items() if not key.startswith(("FORWARDER_", "AWS_"))}
        # No bytecode: another user may run it.
        environment = kept | {"PYTHONWARNINGS": "error", "PYTHONDONTWRITEBYTECODE": "1"}
        self._log_starts = self.output.stat().st_size if self.output.exists() else 0
        command = (*prefix, sys.executable, "-m", "forwarder", "run", "--env-file", str(self._env_file))
        await self.spawn(*command, environment=environment, stdin=stdin)

    async def start(self, *, integrations: int = 1, stdin: Any = asyncio.subprocess.DEVNULL) -> Self:
        """Start it and wait until so many integrations take events and what is published now will arrive."""
        await self.launch(stdin=stdin)
        await self.answering()
        await until(lambda: self.flowing(integrations), f"{integrations} integrations are active")
        return self

    async def answering(self) -> None:
        """Wait until it serves HTTP, and learn the port."""

        def port() -> Any:
            assert self.running, f"the daemon ended: {self.output.read_text()[-2000:]}"
            return next((line["port"] for line in self.log("http_listening")), None)

        self.port = int(await until(port, "the daemon listens"))

    async def flowing(self, integrations: int) -> bool:
        assert self.running, f"the daemon ended: {self.output.read_text()[-2000:]}"
        status = await self.status()
        active = [each for each in status["integrations"] if each["state"] == "ACTIVE"]
        return len(active) >= integrations and bool(status["ready"]) and _subscribed(status["intake"])

    def log(self, event: str | None = None) -> list[dict[str, Any]]:
        """What this run has logged, of one kind or all."""
        with self.output.open("rb") as output:
            output.seek(self._log_starts)
            lines = [line for line in output.read().splitlines() if line.startswith(b"{") and line.endswith(b"}")]
        entries = [json.loads(line) for line in lines]
        return [entry for entry in entries if event in (None, entry.get("event"))]

    def said(self) -> str:
        """All that this run has written."""
        with self.output.open("rb") as output:
            output.seek(self._log_starts)
            return output.read().decode()

    async def get(self, path: str) -> tuple[int, str]:
        timeout = aiohttp.ClientTimeout(total=PATIENCE)
        url = f"http://127.0.0.1:{self.port}{path}"
        async with aiohttp.ClientSession(timeout=timeout) as session, session.get(url) as answer:
            return answer.status, await answer.text()

    async def status(self) -> dict[str, Any]:
        code, body = await self.get("/api/status")
        assert code == 200, body
        status: dict[str, Any] = json.loads(body)
        return status

    async def books(self, integration_id: str) -> dict[str, Any]:
        status = await self.status()
        books: dict[str, Any] = status["books"]["integrations"][integration_id]
        return books

    async def scrape(self) -> "Scrape":
        code, body = await self.get("/metrics")
        assert code == 200, body
        return Scrape(body)

    def memory_peak(self) -> int:
        """The most memory it has had so far, in bytes; 0 once it has ended, and where there is no /proc."""
        try:
            status = Path(f"/proc/{self.process.pid if self.process else 0}/status").read_text()
        except OSError:
            return 0
        found = re.search(r"^VmHWM:\s+(\d+) kB", status, re.MULTILINE)
        return int(found[1]) * 1024 if found else 0


def _subscribed(intake: Mapping[str, Any]) -> bool:
    return intake["name"] != "mqtt" or not intake["detail"].endswith(" 0 subscriptions")


class Scrape:
    """One answer of /metrics."""

    def __init__(self, text: str) -> None:
        self.text = text
        families = list(text_string_to_metric_families(text))
        self.samples = [sample for family in families for sample in family.samples]

    def total(self, name: str, **labels: str) -> float:
        """The sum over all series of the name that have these labels."""
        wanted = labels.items()
        return sum(s.value for s in self.samples if s.name == name and wanted <= s.labels.items())

    def values(self, label: str) -> set[str]:
        return {sample.labels[label] for sample in self.samples if label in sample.labels}

    def imbalances(self) -> list[str]:
        """Where the books do not balance: nowhere, at any scrape."""
        found = []
        for intake in self.values("intake"):
            counts = [
                self.total(f"forwarder_notifications_{name}_total", intake=intake)
                for name in ("received", "malformed", "unmatched", "matched")
            ]
            if counts[0] != sum(counts[1:]):
                found.append(f"{intake}: received, malformed, unmatched, matched = {counts}")
        for integration in self.values("integration"):
            counts = [
                self.total(name, integration=integration)
                for name in ("forwarder_deliveries_matched_total", *_ENDINGS, "forwarder_deliveries_pending")
            ]
            if counts[0] != sum(counts[1:]):
                found.append(f"{integration}: matched, delivered, dead_lettered, expired, pending = {counts}")
        return found


_ENDINGS: Sequence[str] = [
    f"forwarder_deliveries_{ending}_total" for ending in ("delivered", "dead_lettered", "expired")
]
