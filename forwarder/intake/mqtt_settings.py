"""Settings of the MQTT intake: where the broker is and who we are to it."""

from pathlib import Path
from typing import Annotated, Self
from urllib.parse import unquote, urlsplit

import msgspec
from pydantic import AfterValidator, Field, FilePath, SecretStr, model_validator
from pydantic_settings import SettingsConfigDict

from forwarder.settings import EnvSettings
from forwarder.urls import parse_url


class Broker(msgspec.Struct, frozen=True):
    """Where the broker is and who we are to it."""

    host: str
    port: int
    tls: bool
    username: str | None
    password: str | None


def parse_broker(url: str) -> Broker:
    """Read `mqtt://[user[:password]@]host[:port]`, or `mqtts://` for TLS. Ports default to 1883 and 8883.

    Raises:
        ValueError: it is not such a URL. The text quotes nothing of it, since it may hold a password.
    """
    parts = parse_url(url, ("mqtt", "mqtts"))
    if parts.path not in ("", "/") or parts.query:
        raise ValueError("has something after the port; the topic root is a setting of its own")
    tls = parts.scheme == "mqtts"
    username = unquote(parts.username) if parts.username else None
    password = unquote(parts.password) if parts.password else None
    return Broker(parts.hostname or "", parts.port or (8883 if tls else 1883), tls, username, password)


def _valid_url(url: SecretStr) -> SecretStr:
    parse_broker(url.get_secret_value())
    return url


class MqttSettings(EnvSettings):
    """Settings of the `mqtt` intake."""

    model_config = SettingsConfigDict(env_prefix="FORWARDER_MQTT_", populate_by_name=True)

    url: Annotated[SecretStr, AfterValidator(_valid_url)] = Field(
        SecretStr("mqtt://localhost:1883"),
        description="The broker: `mqtt://host:port`, or `mqtts://` for TLS; user and password may be in it.",
    )
    client_id: str | None = Field(
        None,
        min_length=1,
        description="The client id of the session; by default one is made up and kept in the state directory.",
    )
    username: str | None = Field(None, description="The user name, if it is not in the URL.")
    password: SecretStr | None = Field(None, description="The password, if it is not in the URL.")
    topic_root: str = Field(
        "",
        pattern=r"^[^+#\x00]*$",
        description="What stands before every topic on the broker, such as `org/42` for `org/42/v2/users/…`.",
    )
    shared_group: str | None = Field(
        None,
        pattern=r"^[^/+#\x00]+$",
        description="The group of a shared subscription: the daemons of a group divide the messages among them.",
    )
    ca_file: FilePath | None = Field(
        None, description="The certificates to trust, as PEM; by default those of the system."
    )
    cert_file: FilePath | None = Field(None, description="Our certificate for the broker, as PEM, with its chain.")
    key_file: FilePath | None = Field(None, description="The private key of our certificate, as PEM.")
    keepalive_seconds: int = Field(
        30, ge=1, le=65_535, description="The seconds of silence before a ping, and those to wait for its answer."
    )
    state_dir: Path = Field(
        Path("var"),
        validation_alias="FORWARDER_STATE_DIR",
        description="The directory in which the session's client id and subscriptions are remembered.",
    )

    @model_validator(mode="after")
    def _certificate_is_whole(self) -> Self:
        if self.key_file and not self.cert_file:
            raise ValueError("FORWARDER_MQTT_KEY_FILE is given without FORWARDER_MQTT_CERT_FILE")
        if (self.ca_file or self.cert_file) and not self.broker.tls:
            raise ValueError("certificates are given, but FORWARDER_MQTT_URL does not start with mqtts://")
        return self

    @property
    def broker(self) -> Broker:
        """The URL's parts; a user name or password of its own setting comes before the URL's."""
        broker = parse_broker(self.url.get_secret_value())
        password = self.password.get_secret_value() if self.password else broker.password
        return msgspec.structs.replace(broker, username=self.username or broker.username, password=password)

    def secrets(self) -> frozenset[str]:
        """Also the password alone, as it stands in the URL and as it is sent."""
        in_url = urlsplit(self.url.get_secret_value()).password
        return frozenset(secret for secret in (in_url, self.broker.password) if secret)
