"""One aiobotocore session for the whole daemon: credentials, endpoints and one client a region.

A session costs 59 ms and 8 MB, a client 3 ms and 0.3 MB: hence one of the first and a cached one of the second.
aiobotocore finds and refreshes the credentials by AWS's standard chain and resolves the endpoints,
`AWS_ENDPOINT_URL_EVENTBRIDGE` and `AWS_ENDPOINT_URL` included; nobody else in the daemon reads AWS settings.
"""

import asyncio
from contextlib import AsyncExitStack
from typing import Any, NamedTuple

from aiobotocore.config import AioConfig
from aiobotocore.session import AioSession
from botocore.exceptions import BotoCoreError, ClientError

from forwarder.errors import PutError
from forwarder.model import Reason
from forwarder.urls import parse_url

CONNECT_SECONDS = 5
READ_SECONDS = 20
POOL_SIZE = 10  # connections a region for the control plane; the sink that sends events keeps its own pool


class ReadOnlyCredentials(NamedTuple):
    """One consistent set of keys. `token` is None for long-lived keys."""

    access_key: str
    secret_key: str
    token: str | None


class AwsSession:
    """The daemon's one way to AWS. Must be made inside a running event loop, or before it; closed in it."""

    def __init__(self) -> None:
        self._session = AioSession()
        self._clients: dict[str, Any] = {}
        self._open = AsyncExitStack()
        self._creating = asyncio.Lock()
        # The daemon owns all retries: botocore's own would wait up to 11 s inside one call, out of anyone's control.
        self._config = AioConfig(
            connect_timeout=CONNECT_SECONDS,
            read_timeout=READ_SECONDS,
            max_pool_connections=POOL_SIZE,
            retries={"total_max_attempts": 1},
            warm_up_loader_caches=True,
        )

    async def client(self, region: str) -> Any:
        """The region's EventBridge client, made at the first call.

        Raises:
            PutError: there are no usable credentials (Reason.CREDENTIALS), or the endpoint or another of the AWS
                settings cannot be used (Reason.CONNECTION).
        """
        async with self._creating:
            if region not in self._clients:
                # A client made while there are no credentials would stay without them for ever.
                await self.credentials()
                try:
                    created = self._session.create_client("events", region_name=region, config=self._config)
                    self._clients[region] = await self._open.enter_async_context(created)
                except (BotoCoreError, OSError, ValueError) as error:
                    raise _unusable(str(error)) from error
            client = self._clients[region]
        try:
            parse_url(client.meta.endpoint_url, ("http", "https"))
        except ValueError as error:  # botocore looks at its form alone, and stumbles when it calls
            raise _unusable(f"{client.meta.endpoint_url} {error}") from error
        return client

    async def endpoint(self, region: str) -> str:
        """The URL that the region's EventBridge calls go to, without a slash at its end.

        Raises:
            PutError: as `client`.
        """
        client = await self.client(region)
        return str(client.meta.endpoint_url).rstrip("/")

    async def credentials(self) -> ReadOnlyCredentials:
        """The credentials to sign with now, refreshed by aiobotocore when they are about to expire. Cheap enough to ask
        for every call.

        Raises:
            PutError: none were found or they could not be refreshed (Reason.CREDENTIALS). Asking again may help.
        """
        try:
            found = await self._session.get_credentials()
            frozen = await found.get_frozen_credentials() if found else None
        except (BotoCoreError, ClientError, OSError, ValueError) as error:
            raise PutError(Reason.CREDENTIALS, type(error).__name__, _what_to_do(error)) from error
        if frozen is None or not frozen.access_key:
            raise PutError(Reason.CREDENTIALS, "NoCredentials", _what_to_do("no AWS credentials were found"))
        return ReadOnlyCredentials(frozen.access_key, frozen.secret_key, frozen.token)

    def ca_bundle(self) -> str | bool | None:
        """The CA bundle's file where `AWS_CA_BUNDLE` or the profile names one, None for the default."""
        bundle: str | bool | None = self._session.get_config_variable("ca_bundle")
        return bundle

    async def close(self) -> None:
        """Close all clients. Safe to call twice."""
        self._clients.clear()
        await self._open.aclose()


def _unusable(trouble: str) -> PutError:
    advice = "see AWS_ENDPOINT_URL_EVENTBRIDGE and AWS_ENDPOINT_URL, or the profile's endpoint_url"
    return PutError(Reason.CONNECTION, "Endpoint", f"EventBridge cannot be called: {trouble}; {advice}")


def _what_to_do(trouble: object) -> str:
    return f"{trouble}; set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, or AWS_PROFILE, or give the machine a role"
