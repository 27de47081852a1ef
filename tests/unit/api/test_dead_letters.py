"""What the lanes hear of a redrive."""

from types import SimpleNamespace
from typing import Any, cast

import pytest
from aiohttp import web

from forwarder.api.dead_letters import operations
from forwarder.errors import SpoolError
from forwarder.ops.refusals import Refused
from forwarder.spool.base import DeadLetterFilter, Spool


async def test_the_lanes_look_also_after_a_redrive_that_failed_halfway() -> None:
    async def fails_halfway(_: DeadLetterFilter) -> int:
        raise SpoolError("The spool cannot be written now: disk full.")

    async def read() -> bytes:
        return b'{"integration": "crm"}'

    looked: list[str | None] = []
    spool = cast("Spool", SimpleNamespace(redrive=fails_halfway))
    redrive = next(each for each in operations(spool, looked.append) if each.path.endswith("/redrive"))
    request: Any = SimpleNamespace(read=read)
    with pytest.raises((SpoolError, Refused, web.HTTPException)):
        await redrive.handler(request)
    assert looked == ["crm"]
