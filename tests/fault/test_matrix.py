"""The fault matrix in its short form. `make faults` runs the long one and prints the table."""

import asyncio
from pathlib import Path

import msgspec
import pytest

from tests.fault.matrix import HEADER, SHORT, Row, run_row
from tests.fault.proxy import Proxy
from tests.fault.rows import ROWS
from tests.system.rig import running


@pytest.mark.parametrize("row", ROWS, ids=[row.name for row in ROWS])
async def test_row(row: Row, tmp_path: Path) -> None:
    result = await run_row(row, SHORT, tmp_path)
    assert result.acknowledged > 0
    assert not result.broken, f"\n{HEADER}\n{result.line()}"


async def test_the_oracle_sees_what_is_lost_doubled_and_damaged(tmp_path: Path) -> None:
    async with running(tmp_path) as rig:
        await rig.publish(rate=200, seconds=0.5)
        await rig.settled()
        (event, *_) = rig.emulator.state.events()
        lane = rig.oracle.lanes[event.source.rsplit("/", 1)[-1]]
        assert (rig.oracle.missing, rig.oracle.twice, rig.oracle.damaged) == (0, 0, [])
        rig.oracle.arrived(event)
        assert rig.oracle.twice == 1
        rig.oracle.arrived(msgspec.structs.replace(event, detail=event.detail.replace(b"1e400", b"1e+400")))
        assert len(rig.oracle.damaged) == 1
        lane.wanted[10**9] = 0.0
        assert rig.oracle.missing == 1


async def test_the_proxy_keeps_frozen_connections_open_and_silent() -> None:
    async def echo(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while data := await reader.read(100):
            writer.write(data)
        writer.close()

    server = await asyncio.start_server(echo, "127.0.0.1", 0)
    async with server, Proxy(server.sockets[0].getsockname()[1]) as proxy:
        reader, writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        writer.write(b"before")
        assert await reader.readexactly(6) == b"before"
        proxy.freeze()
        writer.write(b"after")
        later_reader, later_writer = await asyncio.open_connection("127.0.0.1", proxy.port)
        later_writer.write(b"later")
        assert await later_reader.readexactly(5) == b"later"
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(reader.read(1), 0.2)
        writer.close()
        later_writer.close()
