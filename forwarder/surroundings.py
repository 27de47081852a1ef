"""What a daemon is given: its settings, and all that it depends on and does not own."""

import random
from collections.abc import Awaitable, Callable
from concurrent.futures import Executor

import msgspec

from forwarder.aws import AwsSession
from forwarder.clock import Clock, SystemClock
from forwarder.intake.base import Intake
from forwarder.partner_sources import NoSources, PartnerSources, Sources
from forwarder.plugins import load_intake, load_sink
from forwarder.settings import EnvSettings, Settings
from forwarder.sinks.base import Sink, SinkContext


class Configured(msgspec.Struct, frozen=True):
    """All settings of one daemon: its own, and those of the plug-ins it was told to use."""

    own: Settings
    intake: EnvSettings
    sink: EnvSettings

    def secrets(self) -> frozenset[str]:
        """Every secret value, for masking."""
        return self.own.secrets() | self.intake.secrets() | self.sink.secrets()


class Surroundings(msgspec.Struct, frozen=True):
    """All that a daemon depends on and does not own: what it talks to, time and chance. A simulation brings its own.

    `executor` does the spool's work (None: a thread), `file_events` says whether the files are watched besides being
    looked at, `close` gives back what the parts share.
    """

    intake: Intake
    sink: Sink
    sources: Sources
    close: Callable[[], Awaitable[None]]
    clock: Clock = SystemClock()
    random: Callable[[], float] = random.random
    executor: Executor | None = None
    file_events: bool = True


def surroundings(configured: Configured) -> Surroundings:
    """The real ones: the plug-ins that the settings name, and AWS.

    Raises:
        ConfigurationError: a plug-in cannot use its settings.
    """
    settings = configured.own
    aws = AwsSession()
    sink, intake = load_sink(settings.sink), load_intake(settings.intake)
    context = SinkContext(aws, settings.max_concurrency, settings.batch_max_bytes)
    return Surroundings(
        intake=intake.create(configured.intake),
        sink=sink.create(configured.sink, context),
        sources=PartnerSources(aws) if settings.sink == "eventbridge" else NoSources(),
        close=aws.close,
    )
