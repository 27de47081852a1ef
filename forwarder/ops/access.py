"""Who may ask what of the HTTP server. Pure: it sees facts of a request and says why not, or nothing."""

import hmac
from ipaddress import IPv6Address, ip_address

import msgspec

OPEN_PATHS = frozenset({"/livez", "/readyz", "/metrics"})
_READING = frozenset({"GET", "HEAD"})


class Request(msgspec.Struct, frozen=True):
    """What matters of a request. `peer` is the address at the other end of the connection, `host` and `authorization`
    are the headers as sent."""

    method: str
    path: str
    peer: str | None
    host: str
    authorization: str


class Denial(msgspec.Struct, frozen=True):
    """Why not, with the HTTP status that says so (RFC 9110, 15.5)."""

    status: int
    message: str


class Access:
    """The rules. Probes and metrics are open to all. With tokens, the viewer's may read and the admin's may do all.
    With none, nobody may write and only this machine may read; the Host header must then name this machine too, or a
    web page elsewhere could read by DNS rebinding."""

    def __init__(self, admin_token: str | None, viewer_token: str | None) -> None:
        self._admin_token = admin_token
        self._viewer_token = viewer_token

    def denial(self, request: Request) -> Denial | None:
        """None if the request may be served."""
        reading = request.method in _READING
        if request.path in OPEN_PATHS and reading:
            return None
        if self._admin_token is None and self._viewer_token is None:
            return self._without_tokens(request, reading=reading)
        scheme, _, token = request.authorization.partition(" ")
        presented = token.strip() if scheme.lower() == "bearer" else ""
        # Both are always compared, so that the time taken tells nothing.
        admin, viewer = _same(presented, self._admin_token), _same(presented, self._viewer_token)
        if not admin and not viewer:
            return Denial(401, "A valid bearer token is needed.")
        if not reading and not admin:
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


def _same(presented: str, token: str | None) -> bool:
    # A header's bytes that are not UTF-8 come as surrogates.
    return hmac.compare_digest(presented.encode(errors="surrogateescape"), (token or "").encode()) and bool(token)


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
