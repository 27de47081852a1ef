"""Settings of the WebSocket intake."""

from typing import Annotated

import msgspec
from pydantic import AfterValidator, Field, SecretStr
from pydantic_settings import SettingsConfigDict

from forwarder.settings import EnvSettings
from forwarder.urls import parse_url

TOPICS = "{topics}"
"""What stands for the wanted topics in the subscribe message."""


def parse_headers(text: str) -> dict[str, str]:
    """Headers from a JSON object of strings, or from `Name: value` lines.

    Raises:
        ValueError: it is neither. The text quotes nothing of it, since it may hold a token.
    """
    if text.lstrip().startswith("{"):
        try:
            return msgspec.json.decode(text, type=dict[str, str])
        except msgspec.DecodeError:
            raise ValueError("is not a JSON object of strings") from None
    headers = {}
    for line in filter(None, map(str.strip, text.splitlines())):
        name, colon, value = line.partition(":")
        if not colon or not name.strip():
            raise ValueError("has a line that is not `Name: value`")
        headers[name.strip()] = value.strip()
    return headers


def _valid_url(url: SecretStr) -> SecretStr:
    parts = parse_url(url.get_secret_value(), ("ws", "wss"))
    if parts.username is not None and parts.password is None:
        raise ValueError("has a user name without a password")
    return url


def _valid_headers(headers: SecretStr | None) -> SecretStr | None:
    if headers:
        parse_headers(headers.get_secret_value())
    return headers


class WebsocketSettings(EnvSettings):
    """Settings of the `websocket` intake."""

    model_config = SettingsConfigDict(env_prefix="FORWARDER_WEBSOCKET_")

    url: Annotated[SecretStr, AfterValidator(_valid_url)] = Field(
        description="The stream: `wss://…`, as the `connectUri` of a notification channel. It is kept as a secret."
    )
    headers: Annotated[SecretStr | None, AfterValidator(_valid_headers)] = Field(
        None, description="Headers of the handshake: a JSON object, or `Name: value` lines."
    )
    subscribe: str | None = Field(
        None,
        description="A message to send after connecting. Where it holds `{topics}`, a JSON list of the wanted topic "
        "filters is put there, and it is sent again when they change.",
    )
    silence_seconds: float = Field(
        75,
        gt=0,
        description="The seconds without a heartbeat, a message or the answer to a ping that end a connection.",
    )

    def secrets(self) -> frozenset[str]:
        """Also each header's value alone."""
        headers = parse_headers(self.headers.get_secret_value()) if self.headers else {}
        return super().secrets() | frozenset(filter(None, headers.values()))
