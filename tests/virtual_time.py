"""An event loop whose time is its own: it jumps to the next timer instead of waiting, and says so when nothing is left
that could ever happen. What would take days takes a millisecond, and takes it the same way every time."""

import asyncio
import functools
import selectors
from collections.abc import Callable, Coroutine
from concurrent.futures import Executor, Future
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
T = TypeVar("T")

EPOCH = 1_800_000_000.0


class DeadlockError(AssertionError):
    """Every task waits and no timer runs."""


class _JumpingSelector(selectors.DefaultSelector):
    """Lets time pass by the timeout instead of waiting for it."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready = super().select(0)
        if not ready and timeout is None:
            raise DeadlockError
        if not ready and timeout:
            self.now += timeout
        return ready


class VirtualTimeLoop(asyncio.SelectorEventLoop):
    def __init__(self) -> None:
        self._jumping = _JumpingSelector()
        super().__init__(self._jumping)

    def time(self) -> float:
        return self._jumping.now

    def advance(self, seconds: float) -> None:
        """Let time pass at once, without running what is due."""
        self._jumping.now += seconds


class VirtualClock:
    """A Clock on the running virtual-time loop. `offset` is what the wall clock has been set wrong by."""

    def __init__(self) -> None:
        self.offset = 0.0

    def now(self) -> float:
        return EPOCH + self.offset + self.monotonic()

    def monotonic(self) -> float:
        return asyncio.get_running_loop().time()

    async def sleep(self, seconds: float) -> None:
        await asyncio.sleep(seconds)


class InlineExecutor(Executor):
    """Runs what is submitted at once, so that virtual time never races a thread."""

    def submit(self, fn: Callable[..., T], /, *args: Any, **kwargs: Any) -> Future[T]:
        future: Future[T] = Future()
        try:
            future.set_result(fn(*args, **kwargs))
        except BaseException as error:  # noqa: BLE001  (it belongs to whoever waits for the future)
            future.set_exception(error)
        return future


def in_virtual_time(test: Callable[P, Coroutine[Any, Any, None]]) -> Callable[P, None]:
    """Make an async test a plain one that runs on a virtual-time loop."""

    @functools.wraps(test)
    def run(*args: P.args, **kwargs: P.kwargs) -> None:
        with asyncio.Runner(loop_factory=VirtualTimeLoop) as runner:
            runner.run(test(*args, **kwargs))

    return run
