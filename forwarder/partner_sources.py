"""Partner event sources in AWS: create, delete, look. Every call may be repeated; each says its trouble in our terms.

Amazon EventBridge API reference: CreatePartnerEventSource, DeletePartnerEventSource, ListPartnerEventSourceAccounts.
"""

from collections.abc import Callable
from typing import Any, Protocol

import msgspec
from aiohttp import ClientConnectorError
from botocore.exceptions import (
    BotoCoreError,
    ClientError,
    ConnectTimeoutError,
    EndpointConnectionError,
    HTTPClientError,
    SSLError,
)
from botocore.parsers import ResponseParserError

from forwarder.aws import AwsSession
from forwarder.errors import ForwarderError, PutError
from forwarder.model import Destination, Reason
from forwarder.ops.snapshot import SourceView
from forwarder.rules.retry import call_reason

_GONE = SourceView(state="DELETED", expires_at=None)


class SourceError(ForwarderError):
    """A call did not do what was asked; asking again is always right.

    `waiting_helps`: it may pass by itself, else somebody has to do what the text says. `nothing_happened`: it is
    certain that the call had no effect.
    """

    def __init__(self, message: str, *, waiting_helps: bool = False, nothing_happened: bool = True) -> None:
        super().__init__(message)
        self.message = message
        self.waiting_helps = waiting_helps
        self.nothing_happened = nothing_happened


class Sources(Protocol):
    """Where the event sources live. All methods raise SourceError."""

    async def create(self, destination: Destination) -> None:
        """Make sure that the source exists for the destination's account."""
        ...

    async def delete(self, destination: Destination) -> None:
        """Make sure that the source does not exist for the destination's account."""
        ...

    async def look(self, destination: Destination) -> SourceView:
        """The source's state; DELETED where there is none."""
        ...


class NoSources:
    """For sinks that are not AWS: every source is there."""

    async def create(self, destination: Destination) -> None:
        """Nothing to do."""

    async def delete(self, destination: Destination) -> None:
        """Nothing to do."""

    async def look(self, destination: Destination) -> SourceView:
        """Always there."""
        return SourceView(state="ACTIVE", expires_at=None)


class PartnerSources:
    """The event sources of the partner account that the session's credentials belong to."""

    def __init__(self, session: AwsSession) -> None:
        self._session = session

    async def create(self, destination: Destination) -> None:
        """Create the source; one that exists for the same account is as good as created.

        Raises:
            SourceError: also where the name is taken for another account, which only deleting that one can mend.
        """
        try:
            await self._call(
                destination,
                "create_partner_event_source",
                Name=destination.event_source_name,
                Account=destination.account_id,
            )
        except _AlreadyExistsError:
            await self._check_that_it_is_ours(destination)

    async def _check_that_it_is_ours(self, destination: Destination) -> None:
        living = {found["Account"] for found in await self._accounts(destination) if found.get("State") != "DELETED"}
        if destination.account_id in living:
            return
        others = ", ".join(sorted(living))
        if not others:
            message = f"{destination.event_source_name} is just being created or deleted in {destination.region}"
            raise SourceError(message, waiting_helps=True)
        raise SourceError(
            f"{destination.event_source_name} already exists in {destination.region} for AWS account {others}, "
            f"not for {destination.account_id}; choose another event source suffix, or delete that one first"
        )

    async def delete(self, destination: Destination) -> None:
        """Delete the source; one that is not there is as good as deleted."""
        try:
            await self._call(
                destination,
                "delete_partner_event_source",
                Name=destination.event_source_name,
                Account=destination.account_id,
            )
        except _NotFoundError:
            return

    async def look(self, destination: Destination) -> SourceView:
        """The source's state as ListPartnerEventSourceAccounts has it, the partner's only view of it."""
        for account in await self._accounts(destination):
            if account["Account"] == destination.account_id:
                expires = account.get("ExpirationTime")
                return SourceView(state=account.get("State"), expires_at=expires.timestamp() if expires else None)
        return _GONE

    async def _accounts(self, destination: Destination) -> list[dict[str, Any]]:
        accounts: list[dict[str, Any]] = []
        page: dict[str, str] = {}
        while True:
            try:
                answer = await self._call(
                    destination,
                    "list_partner_event_source_accounts",
                    EventSourceName=destination.event_source_name,
                    **page,
                )
            except _NotFoundError:
                return accounts
            accounts += answer.get("PartnerEventSourceAccounts", [])
            if not answer.get("NextToken"):
                return accounts
            page = {"NextToken": answer["NextToken"]}

    async def _call(self, destination: Destination, operation: str, **parameters: str) -> dict[str, Any]:
        try:
            client = await self._session.client(destination.region)
            call: Callable[..., Any] = getattr(client, operation)
            answer: dict[str, Any] = await call(**parameters)
        except PutError as error:
            about = "AWS credentials: " if error.reason is Reason.CREDENTIALS else ""
            raise SourceError(f"{about}{error.message}") from error
        except ClientError as error:
            raise _refusal(error, destination) from error
        except (BotoCoreError, ResponseParserError, OSError) as error:
            raise _failure(error, destination) from error
        return answer


class _AlreadyExistsError(SourceError):
    """ResourceAlreadyExistsException."""


class _NotFoundError(SourceError):
    """ResourceNotFoundException."""


class _Meaning(msgspec.Struct, frozen=True):
    """What a refusal means to us; `advice` follows AWS's own words."""

    advice: str
    waiting_helps: bool = False
    nothing_happened: bool = True


_BY_CODE = {
    "ConcurrentModificationException": _Meaning("trying again", waiting_helps=True, nothing_happened=False),
    "LimitExceededException": _Meaning("delete event sources that are not needed, or have AWS raise the quota"),
    "OperationDisabledException": _Meaning("AWS has no partner events in this region; choose another"),
}
_BY_REASON = {
    Reason.CREDENTIALS: _Meaning("use credentials of the AWS partner account that may manage its event sources"),
    Reason.CLOCK_SKEW: _Meaning("set this machine's clock"),
    Reason.THROTTLED: _Meaning("trying again", waiting_helps=True),
    Reason.SERVER_ERROR: _Meaning("trying again", waiting_helps=True, nothing_happened=False),
}
_UNKNOWN = _Meaning("see what AWS says of this error", nothing_happened=False)


def _refusal(error: ClientError, destination: Destination) -> SourceError:
    """What an answer of AWS that is not a success means."""
    code = str(error.response.get("Error", {}).get("Code", "unknown"))
    status = int(error.response.get("ResponseMetadata", {}).get("HTTPStatusCode", 0))
    if code == "ResourceAlreadyExistsException":
        return _AlreadyExistsError(str(error))
    if code == "ResourceNotFoundException":
        return _NotFoundError(str(error))
    meaning = _BY_CODE.get(code) or _BY_REASON.get(call_reason(code, status), _UNKNOWN)
    return SourceError(
        f"EventBridge in {destination.region}: {error}; {meaning.advice}",
        waiting_helps=meaning.waiting_helps,
        nothing_happened=meaning.nothing_happened,
    )


def _failure(error: Exception, destination: Destination) -> SourceError:
    """What it means that there was no answer, or none that could be read."""
    message = f"EventBridge in {destination.region}: {error}"
    match error:
        case SSLError():
            return SourceError(f"{message}; check AWS_CA_BUNDLE and the endpoint's certificate")
        case ConnectTimeoutError():
            return SourceError(f"{message}; trying again", waiting_helps=True)
        case EndpointConnectionError() if isinstance(error.kwargs.get("error"), ClientConnectorError):
            return SourceError(f"{message}; trying again", waiting_helps=True)
        case EndpointConnectionError() | HTTPClientError() | ResponseParserError() | OSError():
            # aiobotocore has an EndpointConnectionError also for a connection that broke when the call was made.
            return SourceError(f"{message}; trying again", waiting_helps=True, nothing_happened=False)
        case _:
            return SourceError(message)
