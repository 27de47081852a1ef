"""What a sink is. A new one is one file beside this one and one line in `plugins.py` (or an entry point)."""

from collections.abc import Callable, Sequence
from typing import ClassVar, Protocol

import msgspec

from forwarder.model import Delivery, Destination, EntryResult, Reason
from forwarder.settings import EnvSettings


class Sink(Protocol):
    """Somewhere entries go, one call at a time. The lanes own batching, retries and concurrency; a sink makes one call
    and says what came of it."""

    name: ClassVar[str]

    def entry_size(self, destination: Destination, delivery: Delivery) -> int:
        """The entry's size in bytes by the formula that the sink's limit is counted in."""
        ...

    def entry_fault(self, destination: Destination, delivery: Delivery) -> tuple[Reason, str] | None:
        """Why this entry can never be accepted, as (reason, sentence), or None. Asked before sending, so that one bad
        entry does not fail its whole call."""
        ...

    async def put(self, destination: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        """Make one call, once. Returns one result per delivery, in order.

        Raises:
            PutError: the call as a whole failed, or its answer never came.
        """
        ...

    async def close(self) -> None:
        """Close connections. Safe to call twice."""
        ...


class Credentials(Protocol):
    """One consistent set of AWS keys. `token` is None for long-lived keys."""

    @property
    def access_key(self) -> str:
        """The public half."""
        ...

    @property
    def secret_key(self) -> str:
        """The secret half."""
        ...

    @property
    def token(self) -> str | None:
        """The session token of temporary keys."""
        ...


class AwsAccess(Protocol):
    """What a sink needs of AWS: where to call, and what to sign with. `forwarder.aws.AwsSession` is one."""

    async def endpoint(self, region: str) -> str:
        """The URL of the region's EventBridge API. Raises PutError."""
        ...

    async def credentials(self) -> Credentials:
        """The keys to sign with now; cheap enough to ask every call. Raises PutError."""
        ...

    def ca_bundle(self) -> str | bool | None:
        """A CA bundle's file, False to verify nothing, None for the default."""
        ...


class SinkContext(msgspec.Struct, frozen=True):
    """What a sink may need of the program around it."""

    aws: AwsAccess
    max_concurrency: int  # calls that may be in flight at once in one region
    max_bytes: int  # of one call, and so of one entry, by the sink's own formula


class SinkPlugin(msgspec.Struct, frozen=True):
    """What a sink's file ends with, as `PLUGIN`. `create` is given an instance of `settings`, opens no connection and
    raises ConfigurationError where the settings cannot work."""

    name: str
    settings: type[EnvSettings]
    create: Callable[[EnvSettings, SinkContext], Sink]
