"""`forwarder demo` in a process of its own, with mosquitto and without."""

import re
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from signal import SIGINT

import pytest

from tests.system.processes import Program, until

WITH_MOSQUITTO = ("-m", "forwarder", "demo")
# Debian keeps mosquitto where the demonstration looks besides the PATH.
WITHOUT = ("-c", "from forwarder import cli; from forwarder.demo import broker; broker.PLACES = (); cli.main()", "demo")


@pytest.fixture
async def demo(tmp_path: Path) -> AsyncIterator[Program]:
    program = Program("demo", tmp_path)
    yield program
    await program.kill()


@pytest.mark.parametrize(("command", "broker"), [(WITH_MOSQUITTO, "mosquitto"), (WITHOUT, "embedded broker")])
async def test_it_stops_by_itself_with_everything_delivered(
    demo: Program, command: tuple[str, ...], broker: str
) -> None:
    await demo.spawn(sys.executable, *command, "--seconds", "3")
    assert await demo.ended(60) == 0, demo.output.read_text()
    said = " ".join(demo.output.read_text().split())
    assert f"({broker})" in said
    assert "nothing lost, the books balance" in said
    assert said.startswith("console http://127.0.0.1:")


LOSING = """
from forwarder import cli
from forwarder.intake.mqtt import MqttIntake
arrive = MqttIntake._arrive
def arrive_or_not(self, topic, payload, packet_id):
    if payload.count(b"1") % 4:
        arrive(self, topic, payload, packet_id)
    else:
        self._connection.acknowledge([packet_id])
MqttIntake._arrive = arrive_or_not
cli.main()
"""


async def test_it_finds_a_loss_that_the_books_cannot_show(demo: Program) -> None:
    await demo.spawn(sys.executable, "-c", LOSING, "demo", "--seconds", "3")
    assert await demo.ended(60) == 1
    said = " ".join(demo.output.read_text().split())
    assert "/crm-prod:" in said.split("notifications published", 1)[1]
    assert "are missing" in said


async def test_ctrl_c_stops_it(demo: Program) -> None:
    await demo.spawn(sys.executable, *WITH_MOSQUITTO)
    await until(lambda: re.search(r": delivered [1-9]", demo.output.read_text()) is not None, "events are delivered")
    assert await demo.stop(SIGINT) == 0, demo.output.read_text()
    assert "Traceback" not in demo.output.read_text()
    assert "nothing lost, the books balance" in " ".join(demo.output.read_text().split())
