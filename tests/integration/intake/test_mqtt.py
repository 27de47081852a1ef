"""The MQTT intake against a real mosquitto: what is acknowledged when, what is subscribed, how brokers come and go."""

import asyncio
import contextlib
import os
import signal
import socket
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import aiomqtt
import pytest
import structlog
import trustme

from forwarder.errors import IntakeError
from forwarder.intake import mqtt, mqtt_session
from forwarder.intake.base import Message
from forwarder.intake.mqtt import MqttIntake
from forwarder.intake.mqtt_settings import MqttSettings

PRESENCE = frozenset({"v2.users.*.presence"})


async def until(condition: Callable[[], object]) -> None:
    """Wait for what can only be seen by looking: the broker's log, an intake's health."""
    async with asyncio.timeout(20):
        while not condition():  # noqa: ASYNC110  (nobody signals it)
            await asyncio.sleep(0.005)


def an_intake(broker: Any, state_dir: Path, **settings: Any) -> MqttIntake:
    return MqttIntake(MqttSettings.model_validate({"url": broker.url, "state_dir": state_dir} | settings))


@contextlib.asynccontextmanager
async def running(intake: MqttIntake, filters: frozenset[str] | None = PRESENCE) -> AsyncIterator[MqttIntake]:
    if filters is not None:
        intake.subscribe(filters)
    task = asyncio.create_task(intake.run())
    await until(lambda: task.done() or (intake.health().connected and (filters is None or subscribed(intake, filters))))
    try:
        yield intake
    finally:
        await intake.close()
        await asyncio.wait({task})
        assert task.cancelled() or task.exception() is None


def subscribed(intake: MqttIntake, filters: frozenset[str]) -> bool:
    return f"{len(filters)} subscriptions" in intake.health().detail


async def publish(broker: Any, *payloads: bytes, topic: str = "v2/users/1/presence", qos: int = 1) -> None:
    async with aiomqtt.Client("127.0.0.1", broker.port) as client:
        for payload in payloads:
            await client.publish(topic, payload, qos=qos)


async def take(intake: MqttIntake, count: int, *, acknowledge: bool = True) -> list[Message]:
    taken: list[Message] = []
    async with asyncio.timeout(20):
        while len(taken) < count:
            batch = await intake.receive()
            taken += batch.messages
            if acknowledge:
                await batch.acknowledge()
    return taken


async def test_topics_are_dotted_below_the_root_and_any_qos_comes(mosquitto: Any, tmp_path: Path) -> None:
    async with running(an_intake(mosquitto, tmp_path, topic_root="/org/42/")) as intake:
        for qos in (0, 1, 2):
            await publish(mosquitto, b"%d" % qos, topic="org/42/v2/users/7/presence", qos=qos)
        await publish(mosquitto, b"elsewhere", topic="v2/users/7/presence")
        assert await take(intake, 3) == [Message("v2.users.7.presence", b"%d" % qos) for qos in (0, 1, 2)]


async def test_what_was_not_acknowledged_comes_again_to_the_next_process(mosquitto: Any, tmp_path: Path) -> None:
    async with running(an_intake(mosquitto, tmp_path)) as intake:
        await publish(mosquitto, b"safe")
        await take(intake, 1)
        await publish(mosquitto, b"unsafe")
        await take(intake, 1, acknowledge=False)
    await publish(mosquitto, b"meanwhile")
    async with running(an_intake(mosquitto, tmp_path)) as intake:
        assert [message.payload for message in await take(intake, 2)] == [b"unsafe", b"meanwhile"]


async def test_an_empty_or_huge_message_is_a_message(mosquitto: Any, tmp_path: Path) -> None:
    async with running(an_intake(mosquitto, tmp_path)) as intake:
        await publish(mosquitto, b"", b"x" * 3_000_000, b"after")
        assert [len(message.payload) for message in await take(intake, 3)] == [0, 3_000_000, 5]


async def test_a_message_too_long_to_be_taken_is_told_and_acknowledged(mosquitto: Any, tmp_path: Path) -> None:
    async with running(an_intake(mosquitto, tmp_path)) as intake:
        await publish(mosquitto, b"x" * 40_000_000, b"after")
        assert await take(intake, 2) == [
            Message("v2.users.1.presence", b"", 40_000_000),
            Message("v2.users.1.presence", b"after"),
        ]
        await until(lambda: mosquitto.log().count(f"Received PUBACK from {client_id(intake)}") == 2)


def client_id(intake: MqttIntake) -> str:
    return intake.health().detail.split(" as ")[1].split(",")[0]


async def test_subscriptions_follow_the_filters_live(mosquitto: Any, tmp_path: Path) -> None:
    async with running(an_intake(mosquitto, tmp_path)) as intake:
        changed = frozenset({"v2.users.*.routingStatus", "v2.flows.#"})
        intake.subscribe(changed)
        await until(lambda: subscribed(intake, changed) and stale_are_gone(tmp_path))
        await publish(mosquitto, b"old")
        await publish(mosquitto, b"new", topic="v2/users/1/routingStatus")
        await publish(mosquitto, b"deep", topic="v2/flows/a/b/c")
        assert [message.payload for message in await take(intake, 2)] == [b"new", b"deep"]


def stale_are_gone(state_dir: Path) -> bool:
    memory = mqtt_session.load(state_dir / "mqtt-session.json", None)
    return "v2/users/+/presence" not in memory.subscriptions


async def test_subscriptions_of_a_former_process_go(mosquitto: Any, tmp_path: Path) -> None:
    async with running(an_intake(mosquitto, tmp_path)):
        pass
    async with running(an_intake(mosquitto, tmp_path), frozenset({"v2.flows.*"})) as intake:
        await until(lambda: stale_are_gone(tmp_path))
        await publish(mosquitto, b"stale")
        await publish(mosquitto, b"wanted", topic="v2/flows/1")
        assert [message.payload for message in await take(intake, 1)] == [b"wanted"]


async def test_nothing_is_unsubscribed_before_the_filters_are_known(mosquitto: Any, tmp_path: Path) -> None:
    async with running(an_intake(mosquitto, tmp_path)):
        pass
    async with running(an_intake(mosquitto, tmp_path), None) as intake:
        await publish(mosquitto, b"wanted")
        assert len(await take(intake, 1)) == 1


async def test_a_shared_subscription_divides_the_messages(mosquitto: Any, tmp_path: Path) -> None:
    async with (
        running(an_intake(mosquitto, tmp_path / "a", shared_group="g")) as one,
        running(an_intake(mosquitto, tmp_path / "b", shared_group="g")) as other,
    ):
        await publish(mosquitto, *(b"%d" % number for number in range(10)))
        halves = await asyncio.gather(take(one, 5), take(other, 5))
        assert sorted(int(message.payload) for half in halves for message in half) == list(range(10))


async def test_a_lost_session_is_made_again(mosquitto: Any, tmp_path: Path) -> None:
    async with running(an_intake(mosquitto, tmp_path)) as intake:
        await mosquitto.kill()
        await until(lambda: not intake.health().connected)
        await mosquitto.start()
        await until(lambda: intake.health().connected and subscribed(intake, PRESENCE))
        await publish(mosquitto, b"again")
        assert len(await take(intake, 1)) == 1
        assert intake.health().reconnects == 1


async def test_a_broker_restart_between_receipt_and_acknowledgement_brings_it_again(
    mosquitto: Any, tmp_path: Path
) -> None:
    mosquitto.configure(f"persistence true\npersistence_location {mosquitto.directory}/")
    await mosquitto.stop()
    await mosquitto.start()
    async with running(an_intake(mosquitto, tmp_path)) as intake:
        await publish(mosquitto, b"twice")
        batch = await intake.receive()
        await mosquitto.stop()
        await until(lambda: not intake.health().connected)
        await batch.acknowledge()  # on a connection that is gone
        await mosquitto.start()
        assert [message.payload for message in await take(intake, 1)] == [b"twice"]
        await publish(mosquitto, b"next")
        assert [message.payload for message in await take(intake, 1)] == [b"next"]


async def test_what_cannot_be_acknowledged_any_more_is_left_to_the_redelivery(mosquitto: Any, tmp_path: Path) -> None:
    mosquitto.configure(f"persistence true\npersistence_location {mosquitto.directory}/")
    await mosquitto.stop()
    await mosquitto.start()
    async with running(an_intake(mosquitto, tmp_path)) as intake:
        await publish(mosquitto, b"once", qos=0)
        await publish(mosquitto, b"kept by the broker")
        await until(lambda: len(intake._messages) == 2)
        await mosquitto.stop()
        await until(lambda: not intake.health().connected)
        await mosquitto.start()
        await until(lambda: intake.health().connected)
        await publish(mosquitto, b"next")
        taken = await take(intake, 3)
        assert [message.payload for message in taken] == [b"once", b"kept by the broker", b"next"]


async def test_back_pressure_bounds_memory_and_outlives_the_keep_alive(mosquitto: Any, tmp_path: Path) -> None:
    count = 12_000
    async with running(an_intake(mosquitto, tmp_path, keepalive_seconds=1)) as intake:
        await asyncio.to_thread(flood, mosquitto.port, count)
        pings = mosquitto.log().count("Received PINGREQ from forwarder")
        await until(lambda: mosquitto.log().count("Received PINGREQ from forwarder") >= pings + 4)
        assert len(intake._messages) < 3_000
        taken = await take(intake, count)
        assert [int(message.payload[:6]) for message in taken] == list(range(count))
        assert intake.health().reconnects == 0


def flood(port: int, count: int) -> None:
    """Publish 1 KB messages over a bare socket, each with its number."""
    with socket.create_connection(("127.0.0.1", port)) as sock, sock.makefile("rb") as answers:
        sock.sendall(b"\x10\x11\x00\x04MQTT\x04\x02\x00\x00\x00\x05flood")
        answers.read(4)
        for start in range(0, count, 200):
            for number in range(start, start + 200):
                body = b"\x00\x13v2/users/1/presence" + (number % 65535 + 1).to_bytes(2) + b"%06d" % number + b"x" * 994
                sock.sendall(b"\x32" + bytes([len(body) % 128 + 128, len(body) // 128]) + body)
            answers.read(4 * 200)


async def test_a_broker_that_says_nothing_more_is_noticed(mosquitto: Any, tmp_path: Path) -> None:
    async with running(an_intake(mosquitto, tmp_path, keepalive_seconds=1)) as intake:
        os.kill(mosquitto.pid, signal.SIGSTOP)
        try:
            await until(lambda: not intake.health().connected)
        finally:
            os.kill(mosquitto.pid, signal.SIGCONT)
        await until(lambda: intake.health().connected)


async def test_wrong_credentials_are_told_and_tried_again(mosquitto: Any, tmp_path: Path) -> None:
    mosquitto.configure("")
    config = mosquitto.directory / "mosquitto.conf"
    config.write_text(config.read_text().replace("allow_anonymous true", "allow_anonymous false"))
    await mosquitto.stop()
    await mosquitto.start()
    intake = an_intake(mosquitto, tmp_path, username="me", password="hush")
    task = asyncio.create_task(intake.run())
    await until(lambda: "not authori" in intake.health().detail.lower())
    assert "hush" not in intake.health().detail
    assert not task.done()
    mosquitto.configure("")
    await mosquitto.stop()
    await mosquitto.start()
    await until(lambda: intake.health().connected)
    await intake.close()


async def test_refused_subscriptions_are_told(tmp_path: Path) -> None:
    async def refuse(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with contextlib.suppress(asyncio.IncompleteReadError):
            while True:
                kind, length = await reader.readexactly(2)
                body = await reader.readexactly(length)
                if kind == 0x10:
                    writer.write(b"\x20\x02\x00\x00")
                elif kind == 0x82:
                    writer.write(b"\x90\x04" + body[:2] + b"\x80\x01")
        writer.close()

    server = await asyncio.start_server(refuse, "127.0.0.1", 0)
    url = f"mqtt://127.0.0.1:{server.sockets[0].getsockname()[1]}"
    intake = MqttIntake(MqttSettings.model_validate({"url": url, "state_dir": tmp_path}))
    intake.subscribe(frozenset({"a.*", "b.*"}))
    task = asyncio.create_task(intake.run())
    await until(lambda: "refuses us the subscriptions a/+" in intake.health().detail)
    assert "b/+" not in intake.health().detail
    assert subscribed(intake, frozenset({"b.*"}))
    await intake.close()
    assert task.cancelled()
    server.close()
    await server.wait_closed()


async def test_tls_with_certificates_on_both_sides(mosquitto: Any, tmp_path: Path) -> None:
    ca = trustme.CA()
    ca.cert_pem.write_to_path(str(mosquitto.directory / "ca.pem"))
    for name in ("server", "client"):
        certificate = ca.issue_cert("localhost", common_name=name)
        certificate.private_key_and_cert_chain_pem.write_to_path(str(mosquitto.directory / f"{name}.pem"))
    at = mosquitto.directory
    mosquitto.configure(
        f"cafile {at}/ca.pem\ncertfile {at}/server.pem\nkeyfile {at}/server.pem\n"
        "require_certificate true\nmax_inflight_messages 0"
    )
    await mosquitto.stop()
    await mosquitto.start()
    secure = {"url": f"mqtts://localhost:{mosquitto.port}", "ca_file": at / "ca.pem"}

    stranger = an_intake(mosquitto, tmp_path / "stranger", **secure)
    task = asyncio.create_task(stranger.run())
    await until(lambda: stranger.health().detail.split(": ")[-1] not in ("not connected yet", ""))
    assert not stranger.health().connected
    assert not task.done()
    await stranger.close()

    async with running(an_intake(mosquitto, tmp_path, **secure, cert_file=at / "client.pem")) as intake:
        async with aiomqtt.Client(
            "localhost",
            mosquitto.port,
            tls_params=aiomqtt.TLSParameters(ca_certs=str(at / "ca.pem"), certfile=str(at / "client.pem")),
        ) as client:
            for number in range(60):
                await client.publish("v2/users/1/presence", b"%06d" % number + b"x" * 100_000, qos=1)
        await until(lambda: intake._bytes > 4 * 1024 * 1024)  # reading has paused
        taken = await take(intake, 60)
        assert [int(message.payload[:6]) for message in taken] == list(range(60))


@pytest.mark.parametrize("broken", ["ca_file", "cert_file"])
async def test_a_certificate_that_is_none_ends_the_run(tmp_path: Path, broken: str) -> None:
    (tmp_path / "x.pem").write_text("not a certificate")
    intake = MqttIntake(MqttSettings.model_validate({"url": "mqtts://localhost", broken: tmp_path / "x.pem"}))
    with pytest.raises(IntakeError, match="certificates or the key for localhost"):
        await intake.run()


async def test_a_state_directory_that_cannot_be_written_ends_the_run(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    intake = MqttIntake(MqttSettings.model_validate({"state_dir": tmp_path / "file"}))
    with pytest.raises(IntakeError, match="FORWARDER_MQTT_CLIENT_ID"):
        await intake.run()


async def test_an_error_that_nobody_has_foreseen_is_told_and_tried_again(
    mosquitto: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    faults = [ZeroDivisionError("of a new kind"), UnicodeError("label too long")]

    def client(*arguments: Any, **options: Any) -> aiomqtt.Client:
        if faults:
            raise faults.pop()
        return aiomqtt.Client(*arguments, **options)

    monkeypatch.setattr(mqtt, "aiomqtt", SimpleNamespace(**(vars(aiomqtt) | {"Client": client})))
    with structlog.testing.capture_logs() as logs:
        async with running(an_intake(mosquitto, tmp_path)) as intake:
            await publish(mosquitto, b"after")
            assert [message.payload for message in await take(intake, 1)] == [b"after"]
    assert [line["exc_info"] for line in logs if line["event"] == "mqtt_failed"] == [True, True]
