"""AWS Signature Version 4 for one kind of request: a POST with a body and no query. Pure.

Follows "Create a signed AWS API request" in the AWS IAM user guide (the steps are named below) and is byte-equal to
botocore's `SigV4Auth`, at a tenth of its cost.
"""

import hmac
import re
from functools import lru_cache
from hashlib import sha256
from time import gmtime, strftime
from urllib.parse import quote, urlsplit

import msgspec

from forwarder.sinks.base import Credentials

ALGORITHM = "AWS4-HMAC-SHA256"
_DEFAULT_PORTS = {"http": 80, "https": 443}
_PRINTABLE = re.compile(r"[!-~]+")


class Endpoint(msgspec.Struct, frozen=True):
    """Where a request goes. `host` is the Host header, `path` as sent, `canonical_path` as signed."""

    url: str
    host: str
    path: str
    canonical_path: str


def parse_endpoint(url: str) -> Endpoint:
    """Take a base URL apart. A query or fragment in it is dropped: no AWS endpoint has one.

    Raises:
        ValueError: it is not an http(s) URL with a host.
    """
    parts = urlsplit(url)
    if not _PRINTABLE.fullmatch(url) or parts.scheme not in _DEFAULT_PORTS or not parts.hostname:
        raise ValueError(f"{url!r} is not a URL such as https://events.us-east-1.amazonaws.com")
    host = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    if parts.port is not None and parts.port != _DEFAULT_PORTS[parts.scheme]:
        host = f"{host}:{parts.port}"
    path = parts.path or "/"
    return Endpoint(f"{parts.scheme}://{host}{path}", host, path, _canonical_path(path))


def _canonical_path(path: str) -> str:
    """Step 1, canonical URI: dot segments and repeated slashes removed, then percent-encoded (again)."""
    kept: list[str] = []
    for segment in path.split("/"):
        if segment == "..":
            del kept[-1:]
        elif segment not in {"", "."}:
            kept.append(segment)
    normal = "/" + "/".join(kept) + ("/" if kept and path.endswith("/") else "")
    return quote(normal, safe="/~")


def sign(
    endpoint: Endpoint,
    headers: dict[str, str],
    body: bytes,
    *,
    region: str,
    service: str,
    credentials: Credentials,
    now: float,
) -> dict[str, str]:
    """The headers to send: `headers` with Host, X-Amz-Date, X-Amz-Security-Token and Authorization added.

    All of `headers` is signed. `now` is in epoch seconds; AWS refuses what is more than five minutes off its clock.
    """
    timestamp = strftime("%Y%m%dT%H%M%SZ", gmtime(now))
    date = timestamp[:8]
    signed = {**headers, "Host": endpoint.host, "X-Amz-Date": timestamp}
    if credentials.token:
        signed["X-Amz-Security-Token"] = credentials.token
    names, request = _canonical_request(endpoint.canonical_path, signed, body)
    scope = f"{date}/{region}/{service}/aws4_request"
    # Step 2 and 3: hash of the canonical request, string to sign.
    to_sign = f"{ALGORITHM}\n{timestamp}\n{scope}\n{sha256(request.encode()).hexdigest()}"
    signature = _hmac(_signing_key(credentials.secret_key, date, region, service), to_sign).hex()
    # Step 5: the signature goes into the Authorization header.
    signed["Authorization"] = (
        f"{ALGORITHM} Credential={credentials.access_key}/{scope}, SignedHeaders={names}, Signature={signature}"
    )
    return signed


def _canonical_request(path: str, headers: dict[str, str], body: bytes) -> tuple[str, str]:
    """Step 1: the names of the signed headers, and the canonical request itself (its query line is empty)."""
    lowered = sorted((name.lower(), " ".join(value.split())) for name, value in headers.items())
    lines = "".join(f"{name}:{value}\n" for name, value in lowered)
    names = ";".join(name for name, _ in lowered)
    return names, f"POST\n{path}\n\n{lines}\n{names}\n{sha256(body).hexdigest()}"


@lru_cache(maxsize=64)  # a day's key per region and set of credentials
def _signing_key(secret: str, date: str, region: str, service: str) -> bytes:
    """Step 4: derive the signing key. Four HMACs that change once a day."""
    key = ("AWS4" + secret).encode()
    for part in (date, region, service, "aws4_request"):
        key = _hmac(key, part)
    return key


def _hmac(key: bytes, message: str) -> bytes:
    return hmac.digest(key, message.encode(), "sha256")
