"""What belongs together ends together, and a cancellation is never forgotten."""

import asyncio

import pytest

from forwarder.intake.together import run_together


async def fail(error: Exception) -> None:
    raise error


async def test_the_first_failure_ends_the_others_and_is_raised() -> None:
    waiting = asyncio.create_task(asyncio.sleep(3600))
    with pytest.raises(OSError, match="first"):
        await run_together(asyncio.sleep(0), waiting, fail(OSError("first")), fail(ValueError("second")))
    assert waiting.cancelled()


async def test_a_cancellation_ends_all() -> None:
    waiting = asyncio.create_task(asyncio.sleep(3600))
    together = asyncio.create_task(run_together(waiting))
    await asyncio.sleep(0)
    together.cancel()
    with pytest.raises(asyncio.CancelledError):
        await together
    assert waiting.cancelled()


@pytest.mark.parametrize("failure_first", [True, False])
async def test_a_cancellation_at_the_moment_of_a_failure_is_a_cancellation(failure_first: bool) -> None:
    failing = asyncio.get_running_loop().create_future()

    async def stumble() -> None:
        try:
            await failing
        except asyncio.CancelledError:
            raise OSError("cancelled amid something") from None

    together = asyncio.create_task(run_together(stumble(), asyncio.sleep(3600)))
    await asyncio.sleep(0)
    if failure_first:
        failing.set_exception(OSError("failed"))
        await asyncio.sleep(0)
    together.cancel()
    with pytest.raises(asyncio.CancelledError):
        await together
