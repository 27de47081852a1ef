"""Verifies AWS Signature Version 4 in the Authorization header, as the service does ("Create a signed AWS API request"
in the IAM User Guide), with the errors and words that AWS's JSON services answer."""

import hashlib
import hmac
from collections.abc import Mapping
from datetime import UTC, datetime
from functools import cache, lru_cache
from urllib.parse import parse_qsl, quote

import botocore.session
import msgspec

from forwarder.emulator.wire import ApiError

SERVICE = "events"
MAX_SKEW_SECONDS = 300
_ALGORITHM = "AWS4-HMAC-SHA256"
_TERMINATOR = "aws4_request"
_DATE_FORMAT = "%Y%m%dT%H%M%SZ"


class HttpRequest(msgspec.Struct, frozen=True):
    """What a signature covers. `target` is path and query as they came; `headers` finds names in any case."""

    method: str
    target: str
    headers: Mapping[str, str]
    body: bytes


class _Authorization(msgspec.Struct, frozen=True):
    signed_headers: str
    signature: str
    access_key: str
    date: str
    region: str
    service: str
    terminator: str

    @property
    def scope(self) -> str:
        return f"{self.date}/{self.region}/{self.service}/{self.terminator}"


class Verifier:
    """Knows the secrets by access key. Session tokens are accepted as they are."""

    def __init__(self, credentials: Mapping[str, str], regions: frozenset[str]) -> None:
        self._credentials = credentials
        self._regions = regions

    def verify(self, request: HttpRequest, now: float) -> str:
        """Check the signature at epoch time `now` and return the region that the request was signed for.

        Raises:
            ApiError: MissingAuthenticationTokenException, IncompleteSignatureException, UnrecognizedClientException or
                InvalidSignatureException.
        """
        authorization, stamp = _parse(request.headers)
        self._check_scope(authorization)
        _check_time(authorization, stamp, now)
        secret = self._credentials.get(authorization.access_key)
        if secret is None:
            raise ApiError("UnrecognizedClientException", "The security token included in the request is invalid.")
        expected = _signature(request, authorization, stamp, secret)
        if not hmac.compare_digest(expected.encode(), _as_received(authorization.signature)):
            raise _invalid(
                "The request signature we calculated does not match the signature you provided. Check your AWS Secret "
                "Access Key and signing method. Consult the service documentation for details."
            )
        return authorization.region

    def _check_scope(self, authorization: _Authorization) -> None:
        if authorization.region not in self._regions:
            raise _invalid(f"Credential should be scoped to a valid region, not '{authorization.region}'. ")
        if authorization.service != SERVICE:
            raise _invalid(f"Credential should be scoped to correct service: '{SERVICE}'. ")
        if authorization.terminator != _TERMINATOR:
            wrong = authorization.terminator
            raise _invalid(f"Credential should be scoped with a valid terminator: '{_TERMINATOR}', not '{wrong}'. ")


@cache
def event_bridge_regions() -> frozenset[str]:
    """Every region of every partition in which botocore's own data has EventBridge. Needs no network."""
    session = botocore.session.Session()
    partitions = session.get_available_partitions()
    return frozenset(region for name in partitions for region in session.get_available_regions(SERVICE, name))


def default_credentials(environ: Mapping[str, str]) -> dict[str, str]:
    """`test`/`test`, and the static keys of the environment where there are any."""
    credentials = {"test": "test"}
    key, secret = environ.get("AWS_ACCESS_KEY_ID"), environ.get("AWS_SECRET_ACCESS_KEY")
    if key and secret:
        credentials[key] = secret
    return credentials


def _parse(headers: Mapping[str, str]) -> tuple[_Authorization, str]:
    header = headers.get("Authorization")
    if not header:
        raise ApiError("MissingAuthenticationTokenException", "Missing Authentication Token")
    algorithm, _, rest = header.partition(" ")
    parameters = dict(part.strip().partition("=")[::2] for part in rest.split(","))
    stamp = headers.get("X-Amz-Date") or headers.get("Date")
    names = ("Credential", "Signature", "SignedHeaders")
    lacking = [f"Authorization header requires '{name}' parameter." for name in names if not parameters.get(name)]
    if not stamp:
        lacking.append("Authorization header requires existence of either a 'X-Amz-Date' or a 'Date' header.")
    if algorithm != _ALGORITHM or lacking or not stamp:
        reason = " ".join(lacking) or f"Authorization header requires the algorithm '{_ALGORITHM}'."
        raise _incomplete(f"{reason} Authorization={algorithm}")
    scope = parameters["Credential"].split("/")
    if len(scope) != 5:
        form = "keyid/date/region/service/term"
        raise _incomplete(f"Credential must have exactly 5 slash-delimited elements, e.g. {form}, got {len(scope)}.")
    return _Authorization(parameters["SignedHeaders"], parameters["Signature"], *scope), stamp


def _check_time(authorization: _Authorization, stamp: str, now: float) -> None:
    try:
        signed_at = datetime.strptime(stamp, _DATE_FORMAT).replace(tzinfo=UTC).timestamp()
    except ValueError:
        raise _incomplete(f"Date must be in ISO-8601 'basic format'. Got '{stamp}'.") from None
    if not stamp.startswith(authorization.date):
        raise _invalid(
            "Date in Credential scope does not match YYYYMMDD from ISO-8601 version of date from HTTP: "
            f"'{authorization.date}' != '{stamp[:8]}', from '{stamp}'."
        )
    if signed_at < now - MAX_SKEW_SECONDS:
        limit = f"{_stamp(now - MAX_SKEW_SECONDS)} ({_stamp(now)} - 5 min.)"
        raise _invalid(f"Signature expired: {stamp} is now earlier than {limit}")
    if signed_at > now + MAX_SKEW_SECONDS:
        limit = f"{_stamp(now + MAX_SKEW_SECONDS)} ({_stamp(now)} + 5 min.)"
        raise _invalid(f"Signature not yet current: {stamp} is still later than {limit}")


def _signature(request: HttpRequest, authorization: _Authorization, stamp: str, secret: str) -> str:
    key = _signing_key(secret, authorization.date, authorization.region)
    canonical_request = _as_received(_canonical_request(request, authorization.signed_headers))
    canonical = hashlib.sha256(canonical_request).hexdigest()
    to_sign = f"{_ALGORITHM}\n{stamp}\n{authorization.scope}\n{canonical}"
    return hmac.digest(key, to_sign.encode(), "sha256").hex()


def _canonical_request(request: HttpRequest, signed_headers: str) -> str:
    names = signed_headers.split(";")
    if "host" not in names:
        raise _invalid("'Host' or ':authority' must be a 'SignedHeader' in the AWS Authorization.")
    headers = "".join(f"{name}:{' '.join(request.headers.get(name, '').split())}\n" for name in names)
    path, _, query = request.target.partition("?")
    body_hash = hashlib.sha256(request.body).hexdigest()
    return f"{request.method}\n{path}\n{_canonical_query(query)}\n{headers}\n{signed_headers}\n{body_hash}"


def _canonical_query(query: str) -> str:
    pairs = (tuple(map(_quote, pair)) for pair in parse_qsl(query, True, errors="surrogateescape"))
    return "&".join(f"{name}={value}" for name, value in sorted(pairs)) if query else ""


def _quote(text: str) -> str:
    return quote(text, safe="-_.~", errors="surrogateescape")


def _as_received(text: str) -> bytes:
    """The bytes of headers and target, in which aiohttp escapes what is not UTF-8."""
    return text.encode(errors="surrogateescape")


@lru_cache(maxsize=256)
def _signing_key(secret: str, date: str, region: str) -> bytes:
    key = f"AWS4{secret}".encode()
    for part in (date, region, SERVICE, _TERMINATOR):
        key = hmac.digest(key, part.encode(), "sha256")
    return key


def _stamp(epoch_seconds: float) -> str:
    return datetime.fromtimestamp(epoch_seconds, UTC).strftime(_DATE_FORMAT)


def _incomplete(message: str) -> ApiError:
    return ApiError("IncompleteSignatureException", message)


def _invalid(message: str) -> ApiError:
    return ApiError("InvalidSignatureException", message)
