"""The running daemon, asked over HTTP: where it is, with which token, and what its refusals mean."""

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

import msgspec
from pydantic import SecretStr

from forwarder.commands.configuration import env_file_to_use
from forwarder.errors import ConfigurationError, ForwarderError, Problem
from forwarder.settings import HttpSettings

TIMEOUT_SECONDS = 10.0
_EVERY_ADDRESS = {"0.0.0.0": "127.0.0.1", "::": "::1"}  # noqa: S104  (what is listened on there is asked here)


class NoDaemonError(ForwarderError):
    """Nothing answers there, or what answers is no forwarder."""


class RefusedError(ForwarderError):
    """The daemon has answered with an error. `body` is its JSON, in the API's own shape."""

    def __init__(self, base: str, status: int, body: dict[str, Any]) -> None:
        super().__init__(f"the daemon at {base} refuses: {body.get('message') or status}")
        self.status = status
        self.body = body


class Daemon:
    """The daemon at `base`. Reading uses the viewer's token where there is one, changing the admin's."""

    def __init__(self, base: str, *, viewer_token: str | None, admin_token: str | None) -> None:
        self.base = base
        self._viewer_token = viewer_token
        self._admin_token = admin_token

    @classmethod
    def configured(cls, env_file: Path | None, url: str | None) -> "Daemon":
        """The one at the URL, or where the settings put it; nothing is asked yet.

        Raises:
            ConfigurationError: the settings cannot be read, or the URL is none.
        """
        settings = HttpSettings.load(env_file_to_use(env_file))
        base = (url or _url(settings)).rstrip("/")
        _connection(base, TIMEOUT_SECONDS)
        return cls(base, viewer_token=_secret(settings.viewer_token), admin_token=_secret(settings.admin_token))

    @property
    def may_change(self) -> bool:
        """Whether there is a token to change anything with."""
        return self._admin_token is not None

    def answers(self) -> bool:
        """Whether a daemon is there; no token is needed for that."""
        try:
            return bool(self.get("/livez").get("alive"))
        except (NoDaemonError, RefusedError):
            return False

    def get(self, path: str, **query: Any) -> dict[str, Any]:
        """What the daemon says. Parameters that are None are left out.

        Raises:
            NoDaemonError: no daemon answers.
            RefusedError: it answers with an error.
        """
        return self._ask("GET", path, query=query)

    def text(self, path: str) -> str:
        """The same for what is no JSON."""
        with self._response("GET", path, query={}, timeout=TIMEOUT_SECONDS) as response:
            body = response.read()
            if response.status != 200:
                self._decoded(response.status, body)
            return body.decode()

    def change(self, method: str, path: str, body: Any = None) -> dict[str, Any]:
        """Have the daemon change something; raises as `get`."""
        return self._ask(method, path, body=body)

    def _ask(self, method: str, path: str, *, body: Any = None, query: Mapping[str, Any] = {}) -> dict[str, Any]:
        with self._response(method, path, body=body, query=query, timeout=TIMEOUT_SECONDS) as response:
            return self._decoded(response.status, response.read())

    def follow(self, path: str, *, silence: float, **query: Any) -> Iterator[tuple[str, Any]]:
        """The server-sent events at `path`, each as its type and decoded data, until the daemon ends the stream. The
        first, `open`, says that it listens.

        Ends with NoDaemonError where the connection breaks or nothing, not even a comment, comes for `silence` seconds.
        """
        with self._response("GET", path, query=query, timeout=silence) as response:
            if response.status != 200:
                self._decoded(response.status, response.read())
            yield "open", None
            yield from _events(response)

    @contextmanager
    def _response(
        self, method: str, path: str, *, body: Any = None, query: Mapping[str, Any], timeout: float
    ) -> Iterator[HTTPResponse]:
        """One request without proxies or redirects: the daemon is asked, and nobody else gets the token."""
        connection, prefix = _connection(self.base, timeout)
        given = urlencode({key: value for key, value in query.items() if value is not None}, doseq=True)
        content = None if body is None else json.dumps(body).encode()
        try:
            connection.request(
                method,
                f"{prefix}{path}{'?' if given else ''}{given}",
                body=content,
                headers=self._headers(method, body),
            )
            yield connection.getresponse()
        except (OSError, HTTPException) as error:
            reason = getattr(error, "strerror", None) or str(error) or type(error).__name__
            raise NoDaemonError(
                f"no daemon answers at {self.base}: {reason}; is `forwarder run` running there?"
            ) from None
        finally:
            connection.close()

    def _headers(self, method: str, body: Any) -> dict[str, str]:
        reading = (self._viewer_token or self._admin_token) if method == "GET" else self._admin_token
        headers = {"Authorization": f"Bearer {reading}"} if reading else {}
        return headers if body is None else headers | {"Content-Type": "application/json"}

    def _decoded(self, status: int, body: bytes) -> dict[str, Any]:
        if status == 204:
            return {}
        try:
            answer = msgspec.json.decode(body, type=dict[str, Any])
        except msgspec.DecodeError:
            raise NoDaemonError(f"what answers at {self.base} is no forwarder") from None
        if status >= 400:
            raise RefusedError(self.base, status, answer)
        return answer


def _events(lines: Iterator[bytes] | HTTPResponse) -> Iterator[tuple[str, Any]]:
    """Server-sent events (HTML Living Standard, 9.2.6), as far as the daemon makes use of them."""
    kind, data = "message", b""
    for line in lines:
        name, _, value = line.rstrip(b"\r\n").partition(b":")
        value = value.removeprefix(b" ")
        if name == b"event":
            kind = value.decode()
        elif name == b"data":
            data += value
        elif not line.strip() and data:
            yield kind, msgspec.json.decode(data)
            kind, data = "message", b""


def _url(settings: HttpSettings) -> str:
    host = _EVERY_ADDRESS.get(settings.http_host, settings.http_host)
    return f"http://[{host}]:{settings.http_port}" if ":" in host else f"http://{host}:{settings.http_port}"


def _connection(base: str, timeout: float) -> tuple[HTTPConnection, str]:
    """A connection that is not open yet, and the path that the URL begins with."""
    try:
        parts = urlsplit(base)
        connect = {"http": HTTPConnection, "https": HTTPSConnection}[parts.scheme]
        return connect(parts.hostname or "", parts.port, timeout=timeout), parts.path.rstrip("/")
    except (KeyError, ValueError):
        hint = "as in http://127.0.0.1:8080"
        raise ConfigurationError([Problem(f"{base!r} is no URL of a daemon", key="--url", hint=hint)]) from None


def _secret(value: SecretStr | None) -> str | None:
    return value.get_secret_value() if value is not None else None
