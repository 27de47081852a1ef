"""Settings of the intakes: what is taken, what is refused, and that no secret shows."""

from pathlib import Path

import pytest
from pydantic import ValidationError

from forwarder.intake.file import FileSettings
from forwarder.intake.mqtt_settings import Broker, MqttSettings, parse_broker
from forwarder.intake.websocket_settings import WebsocketSettings, parse_headers


@pytest.mark.parametrize(
    ("url", "broker"),
    [
        ("mqtt://host", Broker("host", 1883, False, None, None)),
        ("mqtts://host/", Broker("host", 8883, True, None, None)),
        ("mqtt://me:p%40ss@host:99", Broker("host", 99, False, "me", "p@ss")),
        ("mqtt://[::1]:1", Broker("::1", 1, False, None, None)),
    ],
)
def test_broker_urls(url: str, broker: Broker) -> None:
    assert parse_broker(url) == broker


@pytest.mark.parametrize(
    "url",
    ["", "host:1883", "http://me:hush@host", "mqtt://", "mqtt://h/root", "mqtt://me:hush@h:port", "mqtt://h:99999"],
)
def test_bad_broker_urls_are_refused_without_quoting_them(url: str) -> None:
    with pytest.raises(ValidationError) as caught:
        MqttSettings.model_validate({"url": url})
    assert "hush" not in str(caught.value)


def test_a_name_and_password_of_their_own_come_first_and_every_password_is_a_secret() -> None:
    settings = MqttSettings.model_validate({"url": "mqtt://a:p%40ss@h", "username": "b", "password": "other"})
    assert (settings.broker.username, settings.broker.password) == ("b", "other")
    assert {"p%40ss", "other"} <= settings.secrets()
    assert "p@ss" in MqttSettings.model_validate({"url": "mqtt://a:p%40ss@h"}).secrets()
    assert "p%40ss" not in repr(settings)


def test_half_a_certificate_is_refused(tmp_path: Path) -> None:
    (tmp_path / "x.pem").touch()
    for wrong in (
        {"url": "mqtts://h", "key_file": tmp_path / "x.pem"},
        {"url": "mqtt://h", "ca_file": tmp_path / "x.pem"},
        {"url": "mqtts://h", "ca_file": tmp_path / "missing.pem"},
    ):
        with pytest.raises(ValidationError):
            MqttSettings.model_validate(wrong)


@pytest.mark.parametrize("wrong", [{"topic_root": "a/#"}, {"shared_group": "a/b"}, {"client_id": ""}])
def test_wildcards_where_none_may_be(wrong: dict[str, str]) -> None:
    with pytest.raises(ValidationError):
        MqttSettings.model_validate(wrong)


def test_the_state_directory_is_the_daemons(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORWARDER_STATE_DIR", "/elsewhere")
    assert MqttSettings.load().state_dir == Path("/elsewhere")


@pytest.mark.parametrize("text", ['{"Authorization": "Bearer x:y", "A": "b"}', "Authorization: Bearer x:y\n\n A:b \n"])
def test_headers_as_json_or_lines(text: str) -> None:
    assert parse_headers(text) == {"Authorization": "Bearer x:y", "A": "b"}
    settings = WebsocketSettings.model_validate({"url": "wss://h/p", "headers": text})
    assert {"Bearer x:y", "wss://h/p"} <= settings.secrets()


@pytest.mark.parametrize("wrong", ['{"a": 1}', "{hush", "hush", ": hush"])
def test_bad_headers_are_refused_without_quoting_them(wrong: str) -> None:
    with pytest.raises(ValidationError) as caught:
        WebsocketSettings.model_validate({"url": "wss://h", "headers": wrong})
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["", "https://h", "wss://", "ws://h:99999/", "ws://h/#frag", "ws://user@h/"])
def test_bad_stream_urls(url: str) -> None:
    with pytest.raises(ValidationError):
        WebsocketSettings.model_validate({"url": url})


def test_a_negative_rate() -> None:
    with pytest.raises(ValidationError):
        FileSettings.model_validate({"rate": -1})
