"""EventBridge as the emulator knows it, without its HTTP: a sink and a control plane with weather in between."""

import asyncio
from collections.abc import Callable, Sequence
from enum import StrEnum
from functools import partial
from types import SimpleNamespace
from typing import Any, ClassVar

import msgspec
from botocore.exceptions import ClientError, ReadTimeoutError

from forwarder.emulator import wire
from forwarder.emulator.sources import SourceState
from forwarder.emulator.state import State
from forwarder.errors import PutError
from forwarder.model import Delivery, Destination, EntryResult, Reason
from forwarder.sinks.eventbridge_answer import read_answer
from forwarder.sinks.eventbridge_entry import encode_body, entry_fault, entry_size, make_entry
from tests.simulation.loop import Universe

TIMEOUT_SECONDS = 15.0
POISON = b"poison"


class Weather(StrEnum):
    """What may come over a region or a source."""

    CLEAR = "clear"
    THROTTLED = "throttled"
    UNAVAILABLE = "unavailable"
    PARTIAL = "partial"
    LOST_ANSWERS = "lost_answers"
    HANGING = "hanging"
    SLOW = "slow"
    UNREACHABLE = "unreachable"
    DENIED = "denied"


class Aws:
    """Outlives the daemon. `weather` is by region and by source name."""

    def __init__(self, universe: Universe) -> None:
        self.state = State(auto_associate=True, max_sources=100, max_events=1, max_bytes=1)
        self.weather: dict[str, Weather] = {}
        self.control_fails = False
        self._universe = universe

    def sky(self, destination: Destination) -> Weather:
        """The weather of a call."""
        return self.weather.get(destination.event_source_name) or self.weather.get(destination.region) or Weather.CLEAR

    def answer_put(self, destination: Destination, body: bytes) -> bytes:
        """The body of the answer to a PutPartnerEvents call. Raises wire.ApiError."""
        if POISON in body:
            raise wire.ApiError("ValidationException", "an entry is poisoned")
        request = msgspec.json.decode(body, type=wire.PutRequest)
        if violations := list(request.violations()):
            raise wire.ApiError("ValidationException", "; ".join(violations))
        injected = self._injected if self.sky(destination) is Weather.PARTIAL else None
        answer = self.state.put_events(destination.region, request, self._universe.wall(), injected)
        return msgspec.json.encode(answer)

    def _injected(self, _region: str, _source: str) -> tuple[str, str] | None:
        chance = self._universe.chance.random()
        if chance < 0.15:
            return "InternalFailure", "injected"
        if chance < 0.3:
            return "ThrottlingException", "injected"
        return ("AccessDeniedException", "injected") if chance < 0.35 else None


Told = Callable[[Destination, Sequence[Delivery]], None]
Accepted = Callable[[Destination, Sequence[Delivery], bool], None]


class SimulatedSink:
    """`forwarder.sinks.base.Sink` that calls that service. `calling` is told before a call, `accepted` what the service
    has taken and whether the caller will learn of it, `ended` when the call is over."""

    name: ClassVar[str] = "simulated"

    def __init__(
        self, aws: Aws, universe: Universe, max_bytes: int, *, calling: Told, accepted: Accepted, ended: Told
    ) -> None:
        self._aws = aws
        self._universe = universe
        self._max_bytes = max_bytes
        self._calling = calling
        self._accepted = accepted
        self._ended = ended

    def entry_size(self, destination: Destination, delivery: Delivery) -> int:
        """See Sink."""
        return entry_size(destination, delivery)

    def entry_fault(self, destination: Destination, delivery: Delivery) -> tuple[Reason, str] | None:
        """See Sink."""
        return entry_fault(destination, delivery, self._max_bytes)

    async def put(self, destination: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        """See Sink. The request is under way in the world: it arrives even if the caller is dead by then."""
        self._calling(destination, deliveries)
        try:
            return await self._put(destination, deliveries)
        finally:
            self._ended(destination, deliveries)

    async def _put(self, destination: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        chance, sky = self._universe.chance, self._aws.sky(destination)
        there, back = chance.uniform(0.001, 0.05), chance.uniform(0.001, 0.05)
        trouble = chance.random() < 0.7 if sky is not Weather.CLEAR else False
        if trouble and sky is Weather.UNREACHABLE:
            await asyncio.sleep(there)
            raise PutError(Reason.CONNECTION, "ECONNREFUSED", "refused")
        if trouble and sky is Weather.SLOW:
            there = chance.uniform(0.5, 5)
        told = asyncio.get_running_loop().create_future()
        lost = trouble and (sky is Weather.LOST_ANSWERS or (sky is Weather.HANGING and chance.random() < 0.5))
        swallowed = trouble and sky is Weather.HANGING and not lost
        if not swallowed:
            arrive = partial(self._arrive, trouble=sky if trouble else None, lost=lost, back=back)
            self._universe.later(there, partial(arrive, destination, deliveries, told))
        if trouble and sky is Weather.HANGING:
            await asyncio.sleep(TIMEOUT_SECONDS)
            raise PutError(Reason.TIMEOUT, "Timeout", "no answer")
        status, answer = await told
        if lost:
            raise PutError(Reason.CONNECTION, "ECONNRESET", "reset")
        return read_answer(status, {}, answer, asked=len(deliveries), now=self._universe.wall())

    def _arrive(
        self,
        destination: Destination,
        deliveries: Sequence[Delivery],
        told: "asyncio.Future[tuple[int, bytes]]",
        *,
        trouble: Weather | None,
        lost: bool,
        back: float,
    ) -> None:
        status, answer = 200, b""
        try:
            if trouble is Weather.THROTTLED:
                raise wire.ApiError("ThrottlingException", "Rate exceeded")
            if trouble is Weather.UNAVAILABLE:
                raise wire.ApiError("ServiceUnavailable", "injected", 503)
            if trouble is Weather.DENIED:
                raise wire.ApiError("AccessDeniedException", "injected")
            answer = self._aws.answer_put(destination, encode_body(make_entry(destination, d) for d in deliveries))
        except wire.ApiError as error:
            status, answer = error.status, error.body()
        else:
            results = read_answer(200, {}, answer, asked=len(deliveries), now=0)
            taken = [d for d, result in zip(deliveries, results, strict=True) if not result.error_code]
            self._accepted(destination, taken, lost or told.get_loop().is_closed())

        def deliver() -> None:
            if not told.done() and not told.get_loop().is_closed():
                told.set_result((status, answer))

        self._universe.later(back, deliver)

    async def close(self) -> None:
        """No connections."""


class SimulatedSession:
    """What `PartnerSources` needs of an AwsSession: a client whose calls may fail before or after they are done."""

    def __init__(
        self,
        aws: Aws,
        universe: Universe,
        *,
        creating: Callable[[str, str], None],
        deleting: Callable[[str, str], None],
    ) -> None:
        self._aws = aws
        self._universe = universe
        self._creating = creating
        self._deleting = deleting

    async def client(self, region: str) -> Any:
        """The region's client."""
        state = self._aws.state

        async def create(**given: str) -> Any:
            self._creating(region, given["Name"])
            return await self._call(region, lambda now: state.create_source(region, _source(given), now))

        async def delete(**given: str) -> Any:
            self._deleting(region, given["Name"])
            return await self._call(region, lambda now: state.delete_source(region, _source(given), now))

        async def accounts(**given: str) -> Any:
            request = wire.ListAccountsRequest(event_source_name=given["EventSourceName"])
            answer = await self._call(region, lambda now: state.list_accounts(region, request, now))
            return {
                "PartnerEventSourceAccounts": [
                    {"Account": each.account, "State": str(each.state)} for each in answer.partner_event_source_accounts
                ]
            }

        return SimpleNamespace(
            create_partner_event_source=create,
            delete_partner_event_source=delete,
            list_partner_event_source_accounts=accounts,
        )

    async def _call(self, region: str, act: Callable[[float], Any]) -> Any:
        chance = self._universe.chance
        failing = self._aws.control_fails and chance.random() < 0.6
        before = failing and chance.random() < 0.5
        told = asyncio.get_running_loop().create_future()

        def arrive() -> None:
            outcome: Any
            try:
                if before:
                    raise wire.ApiError("ThrottlingException", "Rate exceeded")
                outcome = act(self._universe.wall())
            except wire.ApiError as error:
                outcome = _client_error(error)
            else:
                if failing:
                    outcome = ReadTimeoutError(endpoint_url=region)
            self._universe.later(chance.uniform(0.001, 0.1), lambda: deliver(outcome))

        def deliver(outcome: Any) -> None:
            if not told.done() and not told.get_loop().is_closed():
                told.set_result(outcome)

        self._universe.later(chance.uniform(0.001, 0.1), arrive)
        outcome = await told
        if isinstance(outcome, Exception):
            raise outcome
        return outcome


def _source(given: dict[str, str]) -> wire.SourceAccountRequest:
    return wire.SourceAccountRequest(name=given["Name"], account=given["Account"])


def _client_error(error: wire.ApiError) -> ClientError:
    response: Any = {
        "Error": {"Code": error.code, "Message": error.message},
        "ResponseMetadata": {"HTTPStatusCode": error.status},
    }
    return ClientError(response, "operation")


def delete_as_customer(aws: Aws, region: str, name: str, now: float) -> None:
    """The customer (or time) has done away with the source."""
    aws.state.set_source_state(region, name, SourceState.DELETED, now)
