"""`forwarder demo` in a process of its own, with mosquitto and without."""

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


async def test_ctrl_c_stops_it(demo: Program) -> None:
    await demo.spawn(sys.executable, *WITH_MOSQUITTO)
    await until(lambda: "delivered" in demo.output.read_text().split("Ctrl-C", 1)[-1], "events are delivered")
    assert await demo.stop(SIGINT) == 0, demo.output.read_text()
    assert "Traceback" not in demo.output.read_text()
