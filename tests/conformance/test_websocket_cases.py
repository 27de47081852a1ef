"""The WebSocket intake on the cases of the Autobahn test suite, which kosoku serves.

A few intakes live through all of them: each connection that one makes is another case, and after each case it gets to a
server of ours that sends one more notification. So a case that stops an intake, or costs what comes after it, is found
whatever the suite says of the case. The suite wants its messages sent back; the intakes, which never answer, get
connections that do so for them and are theirs in all else.
"""

import asyncio
import binascii
import sys
from collections import deque
from contextlib import AsyncExitStack
from itertools import count
from typing import Any

import pytest
from kosoku import FailureError, run_fuzzingserver
from websockets.asyncio.client import ClientConnection, connect
from websockets.asyncio.server import ServerConnection, serve
from websockets.frames import Frame, Opcode

from forwarder.intake import websocket
from forwarder.intake.websocket import WebsocketIntake
from forwarder.intake.websocket_settings import WebsocketSettings

COMPRESSION = ["12.*", "13.*"]  # never asked for
INTAKES = 6
NOT_AS_THE_SUITE_HAS_IT = {
    "7.1.5": 1002,  # a close amid a message that has not ended
    **dict.fromkeys(("9.3.1", "9.3.2", "9.4.1", "9.4.2"), 1009),  # a message in more than 4096 fragments
}
"""The close codes where websockets is stricter than the suite. The message that is given up was none yet."""


class Echo(ClientConnection):
    """Sends every message back, of the kind it had."""

    def __init__(self, *args: Any, **options: Any) -> None:
        super().__init__(*args, **options)
        self._is_text: deque[bool] = deque()

    def process_event(self, event: Any) -> None:
        if isinstance(event, Frame) and event.opcode in (Opcode.TEXT, Opcode.BINARY):
            self._is_text.append(event.opcode is Opcode.TEXT)
        super().process_event(event)

    async def recv(self, decode: bool | None = None) -> Any:
        message = await super().recv(decode)
        await self.send(message, text=self._is_text.popleft())
        return message


class Course:
    """Leads every connection to the next case, or to what comes after the last one that the intake had."""

    def __init__(self, suite: str, cases: int, after: str) -> None:
        self._suite = suite
        self._cases = cases
        self._after = after
        self._numbers = count(1)
        self._at: dict[str, int] = {}

    def connect(self, url: str, **options: Any) -> connect:
        """In place of `connect`; the URL says whose connection it is."""
        if case := self._at.pop(url, 0):
            return connect(f"{self._after}/{case}", **options)
        case = next(self._numbers)
        if case > self._cases:
            return connect(f"{self._after}/done", **options)
        self._at[url] = case
        return connect(f"{self._suite}/runCase?case={case}&agent=forwarder", create_connection=Echo, **options)


async def say_what_came_before(connection: ServerConnection) -> None:
    assert connection.request
    await connection.send("after " + connection.request.path)


async def drive(number: int, taken: set[bytes]) -> None:
    """Let one intake run until the cases are over."""
    intake = WebsocketIntake(WebsocketSettings.model_validate({"url": f"ws://intake/{number}"}))
    running = asyncio.create_task(intake.run())
    batch: list[bytes] = []
    while b"after /done" not in batch:
        receiving = asyncio.ensure_future(intake.receive())
        await asyncio.wait({receiving, running}, return_when=asyncio.FIRST_COMPLETED)
        if running.done():
            await running
        batch = [message.payload for message in (await receiving).messages]
        taken.update(payload for payload in batch if payload.startswith(b"after"))
    await intake.close()


@pytest.mark.timeout(300)
async def test_every_case_ends_as_it_should_and_costs_nothing_that_comes_later(monkeypatch: pytest.MonkeyPatch) -> None:
    # What kosoku changes for its cases, which were written for Python 2, is for it alone.
    monkeypatch.setattr(sys, "path", sys.path.copy())
    monkeypatch.setattr(binascii, "b2a_hex", binascii.b2a_hex)
    monkeypatch.setattr(websocket, "_FIRST_PAUSE", 0)
    monkeypatch.setattr(websocket, "_LONGEST_PAUSE", 0)
    taken: set[bytes] = set()
    async with AsyncExitStack() as stack:
        suite = await stack.enter_async_context(run_fuzzingserver(exclude_cases=COMPRESSION, port=0))
        after = await stack.enter_async_context(serve(say_what_came_before, "127.0.0.1", 0))
        url = f"ws://{suite.address}:{suite.port}"
        async with connect(f"{url}/getCaseCount") as connection:
            cases = int(await connection.recv())
        course = Course(url, cases, f"ws://127.0.0.1:{next(iter(after.sockets)).getsockname()[1]}")
        monkeypatch.setattr(websocket, "connect", course.connect)
        async with asyncio.TaskGroup() as group:
            for number in range(INTAKES):
                group.create_task(drive(number, taken))
        async with connect(f"{url}/updateReports?agent=forwarder") as connection:
            await connection.wait_closed()
        with pytest.raises(FailureError) as outcome:
            await suite.get_result()

    assert taken == {b"after /%d" % case for case in range(1, cases + 1)} | {b"after /done"}
    assert len(outcome.value.results) == cases > 300
    failed = {result.case_id: result for result in outcome.value.results if not result.passed}
    # Text that is not UTF-8 is one bad message among good ones: counted as malformed, not paid for with the connection.
    not_utf8 = {id_ for id_, result in failed.items() if "closedByWrongEndpointIsFatal" in result.expected_close}
    assert all(failed[id_].remote_close_code in (None, 1000) for id_ in not_utf8)
    assert {id_: failed[id_].remote_close_code for id_ in failed.keys() - not_utf8} == NOT_AS_THE_SUITE_HAS_IT
