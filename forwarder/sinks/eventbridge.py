"""Amazon EventBridge by PutPartnerEvents: one signed HTTP request a call, nothing else on the way.

aiobotocore takes 0.9 ms of CPU for this call and this file 0.15 ms. Everything that is not the call itself stays with
aiobotocore: credentials, endpoints, the CA bundle; and proxies are found as botocore finds them.
"""

import asyncio
import errno
import ssl
import time
from collections.abc import Mapping, Sequence
from typing import ClassVar

import aiohttp
import msgspec
from botocore.httpsession import ProxyConfiguration, get_cert_path
from botocore.utils import get_environ_proxies
from pydantic import Field
from pydantic_settings import SettingsConfigDict
from yarl import URL

from forwarder.errors import ConfigurationError, Problem, PutError
from forwarder.model import Delivery, Destination, EntryResult, Reason
from forwarder.settings import EnvSettings
from forwarder.sinks.base import AwsAccess, SinkContext, SinkPlugin
from forwarder.sinks.eventbridge_answer import read_answer
from forwarder.sinks.eventbridge_entry import encode_body, entry_fault, entry_size, make_entry
from forwarder.sinks.sigv4 import Endpoint, parse_endpoint, sign

SERVICE = "events"
_HEADERS = {"Content-Type": "application/x-amz-json-1.1", "X-Amz-Target": "AWSEvents.PutPartnerEvents"}
_USER_AGENT = f"forwarder aiohttp/{aiohttp.__version__}"

_CODES: tuple[tuple[type[Exception], str], ...] = (
    (aiohttp.ClientConnectorDNSError, "DNS"),
    (aiohttp.ClientSSLError, "TLS"),
    (ssl.SSLError, "TLS"),
    (aiohttp.ClientProxyConnectionError, "Proxy"),
    (aiohttp.ClientHttpProxyError, "Proxy"),
    (aiohttp.ServerDisconnectedError, "Disconnected"),
    (aiohttp.ClientPayloadError, "Truncated"),
)


class EventBridgeSettings(EnvSettings):
    """How long a call may take. Where and as whom it is made is AWS's own configuration (`AWS_*`)."""

    model_config = SettingsConfigDict(env_prefix="FORWARDER_EVENTBRIDGE_")

    connect_seconds: float = Field(5, gt=0, le=300, description="The most seconds to open a connection to AWS.")
    timeout_seconds: float = Field(15, gt=0, le=300, description="The most seconds for a whole call to AWS.")


class _Region(msgspec.Struct, frozen=True):
    """One region's endpoint and its pool of connections."""

    name: str
    endpoint: Endpoint
    url: URL
    proxy: str | None
    session: aiohttp.ClientSession


class EventBridgeSink:
    """PutPartnerEvents for all regions. Makes no retries of its own, not even of a request on a connection that the
    server had closed: it may have been carried out."""

    name: ClassVar[str] = "eventbridge"

    def __init__(self, settings: EventBridgeSettings, context: SinkContext, tls: ssl.SSLContext | bool) -> None:
        self._settings = settings
        self._aws: AwsAccess = context.aws
        self._max_concurrency = context.max_concurrency
        self._max_bytes = context.max_bytes
        self._tls = tls
        self._regions: dict[str, _Region] = {}
        self._opening = asyncio.Lock()

    def entry_size(self, destination: Destination, delivery: Delivery) -> int:
        """Bytes by AWS's formula."""
        return entry_size(destination, delivery)

    def entry_fault(self, destination: Destination, delivery: Delivery) -> tuple[Reason, str] | None:
        """What the service model's limits say against the entry, or None."""
        return entry_fault(destination, delivery, self._max_bytes)

    async def put(self, destination: Destination, deliveries: Sequence[Delivery]) -> Sequence[EntryResult]:
        """Make one PutPartnerEvents call in the destination's region.

        Raises:
            PutError: see docs/sinks.md for every code. After TIMEOUT and CONNECTION the call may have been carried out.
        """
        region = self._regions.get(destination.region) or await self._open(destination.region)
        credentials = await self._aws.credentials()
        body = encode_body(make_entry(destination, delivery) for delivery in deliveries)
        headers = sign(
            region.endpoint,
            _HEADERS,
            body,
            region=region.name,
            service=SERVICE,
            credentials=credentials,
            now=time.time(),
        )
        status, answer_headers, answer = await self._post(region, headers, body)
        return read_answer(status, answer_headers, answer, asked=len(deliveries), now=time.time())

    async def close(self) -> None:
        """Close all connections. Safe to call twice."""
        while self._regions:
            _, region = self._regions.popitem()
            await region.session.close()

    async def _open(self, name: str) -> _Region:
        async with self._opening:
            if name not in self._regions:
                endpoint = _parse(await self._aws.endpoint(name))
                proxies = ProxyConfiguration(get_environ_proxies(endpoint.url))
                self._regions[name] = _Region(
                    name,
                    endpoint,
                    URL(endpoint.url, encoded=True),
                    proxies.proxy_url_for(endpoint.url),
                    self._session(),
                )
            return self._regions[name]

    def _session(self) -> aiohttp.ClientSession:
        """A pool as large as the calls that may be in flight, so that no call ever waits for a connection: fair shares
        may take a region over its limit, though never to twice of it."""
        return aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=2 * self._max_concurrency, ssl=self._tls),
            timeout=aiohttp.ClientTimeout(
                total=self._settings.timeout_seconds, sock_connect=self._settings.connect_seconds
            ),
            headers={"User-Agent": _USER_AGENT},
            skip_auto_headers=("Accept", "Accept-Encoding"),
            cookie_jar=aiohttp.DummyCookieJar(),
        )

    async def _post(
        self, region: _Region, headers: dict[str, str], body: bytes
    ) -> tuple[int, Mapping[str, str], bytes]:
        """Send and read all of the answer, so that the connection can serve the next call."""
        post = region.session.post(region.url, data=body, headers=headers, proxy=region.proxy, allow_redirects=False)
        try:
            async with post as response:
                return response.status, response.headers, await response.read()
        except TimeoutError as error:
            raise self._timed_out(region, error) from error
        except (aiohttp.ClientError, OSError) as error:
            raise _disconnected(region, error) from error

    def _timed_out(self, region: _Region, error: TimeoutError) -> PutError:
        host = region.endpoint.host
        if isinstance(error, aiohttp.ConnectionTimeoutError):
            message = f"no connection to {host} within {self._settings.connect_seconds:g} s"
            return PutError(Reason.TIMEOUT, "ConnectTimeout", message)
        message = f"no answer from {host} within {self._settings.timeout_seconds:g} s; it may have taken the events"
        return PutError(Reason.TIMEOUT, "Timeout", message)


def _disconnected(region: _Region, error: Exception) -> PutError:
    """Everything that goes wrong below or before a whole HTTP answer."""
    if type(error) is aiohttp.ClientResponseError:
        return PutError(
            Reason.BAD_ANSWER, "BadAnswer", f"{region.endpoint.host} does not answer in HTTP: {error.message}"
        )
    number = getattr(error, "errno", None) or 0
    code = next((code for kind, code in _CODES if isinstance(error, kind)), None) or errno.errorcode.get(number)
    text = str(error) or type(error).__name__
    return PutError(Reason.CONNECTION, code or type(error).__name__, f"call to {region.endpoint.host} failed: {text}")


def _parse(url: str) -> Endpoint:
    try:
        return parse_endpoint(url)
    except ValueError as error:
        message = f"the EventBridge endpoint cannot be used: {error}; see AWS_ENDPOINT_URL_EVENTBRIDGE"
        raise PutError(Reason.CONNECTION, "Endpoint", message) from error


def _tls(ca_bundle: str | bool | None) -> ssl.SSLContext | bool:
    """What botocore would trust: the bundle named, else the one it ships; False verifies nothing."""
    if ca_bundle is False:
        return False
    path = get_cert_path(ca_bundle or True)
    try:
        return ssl.create_default_context(cafile=path)
    except OSError as error:
        problem = Problem(f"{path} is not a readable CA bundle: {error}", "environment", key="AWS_CA_BUNDLE")
        raise ConfigurationError([problem]) from error


def create(settings: EnvSettings, context: SinkContext) -> EventBridgeSink:
    """The sink. Opens no connection.

    Raises:
        ConfigurationError: the CA bundle cannot be read.
    """
    if not isinstance(settings, EventBridgeSettings):
        raise TypeError(f"settings are {type(settings).__name__}, not EventBridgeSettings")
    return EventBridgeSink(settings, context, _tls(context.aws.ca_bundle()))


PLUGIN = SinkPlugin(name=EventBridgeSink.name, settings=EventBridgeSettings, create=create)
