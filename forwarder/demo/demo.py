"""`forwarder demo`: the whole path on one machine, with a broker, made-up notifications and the emulator."""

import asyncio
import contextlib
import os
import secrets
import shutil
import signal
import tempfile
import time
from collections.abc import Callable
from contextlib import AsyncExitStack
from itertools import islice
from pathlib import Path

import aiomqtt
from pydantic import SecretStr

from forwarder.app import Daemon
from forwarder.demo.broker import broker, free_port
from forwarder.demo.ledger import Ledger
from forwarder.demo.screen import Screen
from forwarder.demo.traffic import notifications
from forwarder.emulator.http import Emulator
from forwarder.intake.mqtt_settings import MqttSettings
from forwarder.model import State
from forwarder.ops import logs
from forwarder.ops.masking import Masker
from forwarder.settings import Settings
from forwarder.sinks.eventbridge import EventBridgeSettings
from forwarder.surroundings import Configured

EVENTS_PER_SECOND = 60
TICK_SECONDS = 0.1
SETTLE_SECONDS = 15.0

INTEGRATIONS = {
    "crm-prod": """\
NAME="CRM"
NOTES="Presence and routing for the CRM's wallboard. Edit me while it runs."
AWS_ACCOUNT_ID=111122223333
AWS_ACCOUNT_REGION=us-east-1
EVENT_SOURCE_SUFFIX=crm-prod
EVENT_FILTER=v2.users.{id}.presence, v2.users.{id}.routingStatus
INTENDED_STATE=ENABLED
""",
    "analytics": """\
NAME="Analytics"
NOTES=""
AWS_ACCOUNT_ID=444455556666
AWS_ACCOUNT_REGION=eu-west-1
EVENT_SOURCE_SUFFIX=analytics
EVENT_FILTER="v2.detail.events.conversation.{id}.acd.start
v2.analytics.queues.{id}.observations
v2.users.{id}.presence"
INTENDED_STATE=ENABLED
""",
}


def run_demo(seconds: float | None) -> int:
    """Run until Ctrl-C, or for so many seconds. Returns the exit code: 0 if events were delivered, none is missing and
    the books balance, else 1."""
    directory = Path(tempfile.mkdtemp(prefix="forwarder-demo-"))
    try:
        return asyncio.run(_Demo(directory, seconds).run())
    finally:
        shutil.rmtree(directory, ignore_errors=True)


class _Demo:
    def __init__(self, directory: Path, seconds: float | None) -> None:
        self._directory = directory
        self._seconds = seconds
        self._published = 0
        self._token = secrets.token_urlsafe(9)
        self._ledger = Ledger()
        self._seen = 0  # the emulator's sequence number up to which the ledger has been told
        self._stop = asyncio.Event()

    async def run(self) -> int:
        """Start the parts, let them run, stop them, and judge."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, self._stop.set)
        async with AsyncExitStack() as parts:
            broker_name, mqtt_port = await parts.enter_async_context(broker(self._directory))
            emulator = await parts.enter_async_context(Emulator(auto_associate=True))
            daemon = Daemon(self._configure(mqtt_port, emulator))
            screen = Screen(
                daemon, emulator, self._directory, f"mqtt://127.0.0.1:{mqtt_port} ({broker_name})", self._token
            )
            async with asyncio.TaskGroup() as tasks:
                tasks.create_task(daemon.run(), name="daemon")
                await _until(lambda: _flowing(daemon))
                screen.introduce()
                showing = tasks.create_task(screen.run(), name="screen")
                await self._publish(mqtt_port, daemon, emulator)
                await _until(lambda: self._all_arrived(daemon, emulator))
                showing.cancel()
                daemon.stop()
            return screen.conclude(self._published, self._ledger.missing())

    def _all_arrived(self, daemon: Daemon, emulator: Emulator) -> bool:
        self._tell_ledger(emulator)
        return not self._ledger.missing() and not any(lane.pending for lane in daemon.books.lanes.values())

    def _tell_ledger(self, emulator: Emulator) -> None:
        events = emulator.state.events(since=self._seen)
        self._ledger.deliver((event.source, event.detail) for event in events)
        self._seen = events[-1].sequence if events else self._seen

    def _configure(self, mqtt_port: int, emulator: Emulator) -> Configured:
        for integration_id, text in INTEGRATIONS.items():
            file = self._directory / "integrations" / f"{integration_id}.env"
            file.parent.mkdir(exist_ok=True)
            file.write_text(text)
        os.environ.update(
            AWS_ENDPOINT_URL_EVENTBRIDGE=emulator.url,
            AWS_ACCESS_KEY_ID="test",
            AWS_SECRET_ACCESS_KEY="test",  # noqa: S106  (the emulator's)
        )
        own = Settings(
            organization_id="demo-organization",
            integrations_dir=self._directory / "integrations",
            state_dir=self._directory / "state",
            http_port=free_port(8080),
            admin_token=SecretStr(self._token),
        )
        log_file = (self._directory / "forwarder.log").open("w")
        logs.configure("info", "json", Masker(own.secrets()), stream=log_file)
        mqtt = MqttSettings(url=SecretStr(f"mqtt://127.0.0.1:{mqtt_port}"), state_dir=own.state_dir)
        return Configured(own, mqtt, EventBridgeSettings())

    async def _publish(self, mqtt_port: int, daemon: Daemon, emulator: Emulator) -> None:
        """Be the organization: publish at a steady rate until it is time to stop."""
        stream = enumerate(notifications(seed=int(time.time())))
        loop = asyncio.get_running_loop()
        end = loop.time() + self._seconds if self._seconds else float("inf")
        due = loop.time()
        async with aiomqtt.Client("127.0.0.1", mqtt_port) as client:
            while not self._stop.is_set() and loop.time() < end:
                self._tell_ledger(emulator)
                if daemon.books.intakes:  # what is published before the broker has subscribed us goes to nobody
                    self._ledger.follow(daemon.statuses, loop.time())
                for number, (topic, payload) in islice(stream, int(EVENTS_PER_SECOND * TICK_SECONDS)):
                    self._ledger.publish(number, topic, loop.time())
                    await client.publish(topic.replace(".", "/"), payload, qos=1)
                    self._published += 1
                due += TICK_SECONDS
                await asyncio.sleep(max(0.0, due - loop.time()))


def _flowing(daemon: Daemon) -> bool:
    """Whether what is published now will arrive."""
    states = [status.state for status in daemon.statuses]
    return len(states) == len(INTEGRATIONS) and all(state is State.ACTIVE for state in states) and daemon.connected


async def _until(condition: Callable[[], bool]) -> None:
    """Wait for it, or long enough: what did not happen shows in the judgement."""
    with contextlib.suppress(TimeoutError):
        async with asyncio.timeout(SETTLE_SECONDS):
            while not condition():  # noqa: ASYNC110  (read off the daemon from outside; nothing tells of it)
                await asyncio.sleep(TICK_SECONDS)
