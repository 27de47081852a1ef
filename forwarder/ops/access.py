"""Who may ask what of the HTTP server. Pure: it sees facts of a request and says why not, or nothing."""

import hmac
from collections.abc import Collection
from ipaddress import IPv6Address, ip_address, ip_network
from typing import Literal
from urllib.parse import urlsplit

import msgspec
from aiohttp import web

PROBES = frozenset({"/livez", "/readyz", "/metrics"})
FAILURES_AT_ONCE = 10
FAILURES_PER_SECOND = 0.2
MAX_PEERS = 1_000
_READING = frozenset({"GET", "HEAD"})


class Request(msgspec.Struct, frozen=True):
    """What matters of a request. `peer` is the address at the other end of the connection; `host`, `authorization` and
    `origin` are the headers as sent."""

    method: str
    path: str
    peer: str | None
    host: str
    authorization: str
    origin: str = ""


class Denial(msgspec.Struct, frozen=True):
    """Why not, with the HTTP status that says so (RFC 9110, 15.5)."""

    status: int
    message: str


Kind = Literal["admin", "viewer", "nobody"]
"""By whose token a request came; `nobody` is one without a valid token."""


def described(request: web.Request, *, method: str | None = None) -> Request:
    """The facts of a request; with `method`, of the same one by that method."""
    peer = request.transport.get_extra_info("peername") if request.transport else None
    return Request(
        method=method or request.method,
        path=request.path,
        peer=peer[0] if peer else None,
        host=request.headers.get("Host", ""),
        authorization=request.headers.get("Authorization", ""),
        origin=request.headers.get("Origin", ""),
    )


class Access:
    """The rules. Open paths, which tell no more than that a daemon is here and how it fares, are for all. With tokens,
    the viewer's may read and the admin's may do all. With none, nobody may write and only this machine may read; the
    Host header must then name this machine too, or a web page elsewhere could read by DNS rebinding. A browser that
    says from which page a request comes must name a page of this server."""

    def __init__(
        self, admin_token: str | None, viewer_token: str | None, *, open_paths: Collection[str] = frozenset()
    ) -> None:
        self._admin_token = admin_token
        self._viewer_token = viewer_token
        self._open_paths = PROBES.union(open_paths)

    def is_open(self, request: Request) -> bool:
        """Whether anybody may ask this."""
        return request.path in self._open_paths and request.method in _READING

    def kind(self, request: Request) -> Kind:
        """By whose token the request comes."""
        scheme, _, token = request.authorization.partition(" ")
        presented = token.strip() if scheme.lower() == "bearer" else ""
        # Both are always compared, so that the time taken tells nothing.
        admin, viewer = _same(presented, self._admin_token), _same(presented, self._viewer_token)
        return "admin" if admin else "viewer" if viewer else "nobody"

    def denial(self, request: Request) -> Denial | None:
        """None if the request may be served."""
        reading = request.method in _READING
        if self.is_open(request):
            return None
        if request.origin and not _same_origin(request):
            return Denial(403, "The request comes from a page of another origin.")
        if self._admin_token is None and self._viewer_token is None:
            return self._without_tokens(request, reading=reading)
        kind = self.kind(request)
        if kind == "nobody":
            return Denial(401, "A valid bearer token is needed.")
        if not reading and kind != "admin":
            return Denial(403, "This needs the admin token.")
        return None

    def _without_tokens(self, request: Request, *, reading: bool) -> Denial | None:
        if not reading:
            return Denial(403, "Nothing can be changed until FORWARDER_ADMIN_TOKEN is set.")
        if not _is_loopback(request.peer or ""):
            return Denial(
                403, "Only this machine may read until FORWARDER_VIEWER_TOKEN or FORWARDER_ADMIN_TOKEN is set."
            )
        if not _names_this_machine(request.host):
            return Denial(403, "The Host header must be localhost or a loopback address.")
        return None


class FailureLimit:
    """How many wrong tokens one peer may present: some at once, then one every few seconds. While it has none left, its
    tokens are not even looked at. Times are monotonic seconds; what is remembered is bounded."""

    def __init__(self) -> None:
        self._spent: dict[str, tuple[float, float]] = {}  # peer -> failures that count, as of when

    def wait(self, peer: str | None, now: float) -> float:
        """Seconds until the peer may try again; 0 when it may now."""
        return max(0.0, (self._count(_network(peer), now) - FAILURES_AT_ONCE + 1) / FAILURES_PER_SECOND)

    def note(self, peer: str | None, now: float) -> None:
        """The peer has presented a wrong token."""
        network = _network(peer)
        count = self._count(network, now) + 1
        self._spent.pop(network, None)  # the one heard of last goes to the end
        self._spent[network] = (count, now)
        if len(self._spent) > MAX_PEERS:
            del self._spent[next(iter(self._spent))]

    def _count(self, network: str, now: float) -> float:
        count, then = self._spent.get(network, (0.0, now))
        return max(0.0, count - (now - then) * FAILURES_PER_SECOND)


def _network(peer: str | None) -> str:
    """The peer, or for IPv6 its /64: one machine has all of it."""
    try:
        address = ip_address(peer or "")
    except ValueError:
        return peer or ""
    if isinstance(address, IPv6Address) and address.ipv4_mapped is None:
        return str(ip_network((int(address), 64), strict=False))
    return str(address)


def _same(presented: str, token: str | None) -> bool:
    # A header's bytes that are not UTF-8 come as surrogates.
    return hmac.compare_digest(presented.encode(errors="surrogateescape"), (token or "").encode()) and bool(token)


def _same_origin(request: Request) -> bool:
    """Whether the Origin (RFC 6454, 7) names this server by the same name and port as the Host header does."""
    try:
        return urlsplit(request.origin).netloc.lower() == request.host.lower()
    except ValueError:
        return False


def _is_loopback(address: str) -> bool:
    try:
        ip = ip_address(address)
    except ValueError:
        return False
    mapped = ip.ipv4_mapped if isinstance(ip, IPv6Address) else None
    return (mapped or ip).is_loopback


def _names_this_machine(host: str) -> bool:
    """The host part of `host[:port]`, with brackets around IPv6 (RFC 3986, 3.2.2)."""
    name = host[1:].partition("]")[0] if host.startswith("[") else host.partition(":")[0]
    return name.lower() == "localhost" or _is_loopback(name)
