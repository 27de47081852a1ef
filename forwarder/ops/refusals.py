"""Errors over HTTP, all in one shape: that of Genesys Cloud's own API (`ErrorBody` of its public SDKs)."""

from collections.abc import Mapping, Sequence
from uuid import uuid4

import msgspec
from aiohttp import web

_CODES = {
    400: "bad.request",
    401: "authentication.required",
    403: "missing.permissions",
    404: "not.found",
    405: "method.not.allowed",
    409: "general.conflict",
    413: "request.entity.too.large",
    415: "unsupported.media.type",
    429: "too.many.requests",
    500: "internal.server.error",
    503: "service.unavailable",
}


class Fault(msgspec.Struct, frozen=True):
    """One thing wrong with a request. `field` is the path of the field in the body, or the name of a query parameter;
    `hint` says what would be right."""

    message: str
    field: str | None = None
    code: str = "invalid.value"
    hint: str | None = None


class ErrorDetail(msgspec.Struct, frozen=True, rename="camel"):
    """A field that is wrong. `message` is for people and has the hint in it."""

    error_code: str
    field_name: str | None
    message: str


class ErrorBody(msgspec.Struct, frozen=True, rename="camel"):
    """An error. `details` has every field that is wrong, `errors` everything that is wrong, each an error by itself;
    `context_id` is in the daemon's log too, where there is more to say."""

    message: str
    code: str
    status: int
    message_params: dict[str, str]
    context_id: str
    details: list[ErrorDetail]
    errors: list["ErrorBody"]


class Refused(Exception):  # noqa: N818  (it is an answer, as HTTPException is)
    """Raised by a handler to refuse its request. With several faults, the message sums them up."""

    def __init__(
        self,
        status: int,
        message: str = "",
        *,
        code: str | None = None,
        faults: Sequence[Fault] = (),
        headers: Mapping[str, str] | None = None,
    ) -> None:
        super().__init__(message or _summary(faults))
        self.status = status
        self.code = code or (faults[0].code if len(faults) == 1 else _CODES.get(status, "error"))
        self.faults = tuple(faults)
        self.headers = headers or {}
        self.context_id = str(uuid4())

    def body(self) -> ErrorBody:
        """The answer's body."""
        errors = [self._error(fault.message, fault.code, [_detail(fault)]) for fault in self.faults]
        return self._error(str(self), self.code, [_detail(fault) for fault in self.faults], errors)

    def _error(
        self, message: str, code: str, details: list[ErrorDetail], errors: Sequence[ErrorBody] = ()
    ) -> ErrorBody:
        return ErrorBody(message, code, self.status, {}, self.context_id, details, list(errors))

    def response(self) -> web.Response:
        """The whole answer."""
        return web.Response(
            body=msgspec.json.encode(self.body()),
            status=self.status,
            headers=self.headers,
            content_type="application/json",
        )


def _summary(faults: Sequence[Fault]) -> str:
    return "; ".join(fault.message for fault in faults)


def _detail(fault: Fault) -> ErrorDetail:
    return ErrorDetail(fault.code, fault.field, f"{fault.message} ({fault.hint})" if fault.hint else fault.message)
