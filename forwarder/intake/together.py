"""The tasks of one connection: they end together."""

import asyncio
from collections.abc import Awaitable
from typing import Any


async def run_together(*parts: Awaitable[Any]) -> None:
    """Run all until one fails or is cancelled with them; then none is left running.

    In place of a TaskGroup, which before Python 3.13 forgets that it was cancelled if a task fails at the same moment:
    one who then connects anew would never end.

    Raises:
        Exception: what the first of them raised, in the order given where several fail at once.
    """
    tasks = [asyncio.ensure_future(part) for part in parts]
    try:
        await asyncio.wait(tasks, return_when=asyncio.FIRST_EXCEPTION)
    finally:
        for task in tasks:
            task.cancel()
        outcomes = await asyncio.gather(*tasks, return_exceptions=True)
    for outcome in outcomes:
        if isinstance(outcome, Exception):
            raise outcome
