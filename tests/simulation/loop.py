"""An asyncio event loop without a selector, a thread or a clock of its own: time is what the universe says.

The universe outlives loops: a crash abandons the loop with everything on it, and the next daemon runs on a new one
while what is under way in the world (a request that was sent, a timer of the broker) goes on.
"""

import asyncio
import contextvars
import heapq
import random
import sys
from collections import deque
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Executor, Future
from functools import partial
from itertools import count
from typing import Any, TypeVar

T = TypeVar("T")

EPOCH = 1_800_000_000.0
SPIN_STEPS = 20_000
"""So many callbacks without a moment passing are a loop that spins."""


class CrashError(BaseException):
    """The process is killed here."""


class SpinError(AssertionError):
    """Something runs again and again without waiting."""


class DeadlockError(AssertionError):
    """Every task waits and nothing will ever happen."""


class Cancellation:
    """Cancels a task, of those whose name starts with `name`, at their `at`-th suspension all together, if that comes
    within the first seconds."""

    def __init__(self, name: str, at: int, within: float) -> None:
        self.name = name
        self.left = at
        self.within = within
        self.cancelled: Callable[[], None] = lambda: None

    def suspended(self, task: "asyncio.Task[Any]") -> None:
        """A task waits for something."""
        loop = task.get_loop()
        if task.get_name().startswith(self.name) and loop.time() < self.within:
            self.left -= 1
            if self.left == 0:
                loop.call_soon(task.cancel)
                self.cancelled()


class Universe:
    """Time, chance, and the events of the world outside the daemon. `chance` decides everything that is random."""

    def __init__(self, seed: int) -> None:
        self.chance = random.Random(seed)  # noqa: S311  (no secrets here)
        self.now = 0.0  # monotonic
        self.wall_offset = 0.0  # what the wall clock has been set wrong by
        self.steps = 0
        self.crash_at: int | None = None  # a number of steps
        self.cancellation: Cancellation | None = None
        self._events: list[tuple[float, int, Callable[[], None]]] = []
        self._numbers = count()

    def wall(self) -> float:
        """Epoch seconds as the machine's clock has them."""
        return EPOCH + self.now + self.wall_offset

    def later(self, seconds: float, event: Callable[[], None]) -> None:
        """Have something happen in the world after so many seconds."""
        self.at(self.now + seconds, event)

    def at(self, moment: float, event: Callable[[], None]) -> None:
        """Have something happen in the world at a moment of the monotonic clock."""
        heapq.heappush(self._events, (moment, next(self._numbers), event))

    def pass_until(self, moment: float) -> None:
        """Let time pass without a daemon."""
        while (event := self.next_event()) is not None and event <= moment:
            self.now = max(self.now, event)
            self.happen()
        self.now = max(self.now, moment)

    def next_event(self) -> float | None:
        """When the next thing happens in the world."""
        return self._events[0][0] if self._events else None

    def happen(self) -> bool:
        """Let the next thing happen that is due. Says whether there was one."""
        if not self._events or self._events[0][0] > self.now:
            return False
        heapq.heappop(self._events)[2]()
        return True


class _Task(asyncio.Task[Any]):
    """A task with a hash that does not depend on where in memory it is: sets of tasks keep one order."""

    def __init__(self, number: int, *args: Any, **kwargs: Any) -> None:
        self._number = number
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number


class _Watched(Coroutine[Any, Any, Any]):
    """A task's coroutine that tells of every suspension."""

    def __init__(self, work: Coroutine[Any, Any, Any], cancellation: Cancellation) -> None:
        self.task: asyncio.Task[Any] | None = None
        self._work = work
        self._cancellation = cancellation

    def _told(self, waits_for: Any) -> Any:
        if self.task is not None:
            self._cancellation.suspended(self.task)
        return waits_for

    def send(self, value: Any) -> Any:
        return self._told(self._work.send(value))

    def throw(self, *error: Any) -> Any:
        return self._told(self._work.throw(*error))

    def close(self) -> None:
        self._work.close()

    def __await__(self) -> "Generator[Any, Any, Any]":
        return self._work.__await__()


class _Future(asyncio.Future[Any]):
    """The same for futures."""

    def __init__(self, number: int, *args: Any, **kwargs: Any) -> None:
        self._number = number
        super().__init__(*args, **kwargs)

    def __hash__(self) -> int:
        return self._number


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs callbacks in order, or, where `shuffled`, those that are ready in any order."""

    _ready: deque[asyncio.Handle]  # of BaseEventLoop, which does not tell of them in its types
    _scheduled: list[Any]  # a heap of timers

    def __init__(self, universe: Universe, *, shuffled: bool, after_step: Callable[[], None]) -> None:
        super().__init__()
        self._universe = universe
        self._shuffled = shuffled
        self._after_step = after_step
        self._steps_at_this_moment = 0
        self.alive = True
        self._numbers = count()
        self.set_task_factory(self._make_task)

    def _make_task(self, _loop: asyncio.AbstractEventLoop, work: Any, **options: Any) -> "asyncio.Task[Any]":
        if self._universe.cancellation is None:
            return _Task(next(self._numbers), work, loop=self, **options)
        watched = _Watched(work, self._universe.cancellation)
        watched.task = _Task(next(self._numbers), watched, loop=self, **options)
        return watched.task

    def create_future(self) -> "asyncio.Future[Any]":
        """See BaseEventLoop."""
        return _Future(next(self._numbers), loop=self)

    def time(self) -> float:
        """Monotonic seconds."""
        return self._universe.now

    def _write_to_self(self) -> None:
        """Nobody sleeps in a selector who would have to be woken."""

    def _process_events(self, event_list: Any) -> None:
        """There are none."""

    def run_in_executor(  # type: ignore[override]  # the arguments' types are of no use here
        self, executor: Any, func: Callable[..., Any], *args: Any
    ) -> "asyncio.Future[Any]":
        """Do the work after a while and deliver its result after another. One executor works in order."""
        # The default one has many threads.
        disk = executor if isinstance(executor, SlowDisk) else SlowDisk(self._universe)
        return disk.run(self, func, *args)

    def _run_once(self) -> None:
        universe = self._universe
        if universe.crash_at is not None and universe.steps >= universe.crash_at:
            universe.crash_at = None
            raise CrashError
        if not self._ready:
            self._let_time_pass()
        while self._scheduled and (self._scheduled[0]._cancelled or self._scheduled[0]._when <= universe.now):
            timer = heapq.heappop(self._scheduled)
            timer._scheduled = False
            if not timer._cancelled:
                self._ready.append(timer)
        while universe.happen():
            pass
        if self._ready:
            self._run_one()
        self._after_step()

    def _run_one(self) -> None:
        if self._shuffled and len(self._ready) > 1:
            self._ready.rotate(-self._universe.chance.randrange(len(self._ready)))
        handle = self._ready.popleft()
        self._universe.steps += 1
        self._steps_at_this_moment += 1
        if self._steps_at_this_moment > SPIN_STEPS:
            raise SpinError(f"{SPIN_STEPS} steps without a moment passing; the next is {handle!r}")
        if not handle._cancelled:
            handle._run()

    def _let_time_pass(self) -> None:
        while self._scheduled and self._scheduled[0]._cancelled:
            heapq.heappop(self._scheduled)._scheduled = False
        times = [timer._when for timer in self._scheduled[:1]]
        if (event := self._universe.next_event()) is not None:
            times.append(event)
        if not times:
            raise DeadlockError("every task waits and nothing will ever happen")
        if min(times) > self._universe.now:
            self._universe.now = min(times)
            self._steps_at_this_moment = 0

    def abandon(self) -> None:
        """Forget everything on the loop, as a killed process does; nothing runs any more."""
        self.alive = False
        self.set_exception_handler(lambda _loop, _context: None)
        told, sys.unraisablehook = sys.unraisablehook, lambda _: None
        try:
            for task in sorted(asyncio.all_tasks(self), key=hash):
                task._log_destroy_pending = False  # type: ignore[attr-defined]  # it is a task's own
                _end(task.get_coro())
        finally:
            sys.unraisablehook = told
        self._ready.clear()
        self._scheduled.clear()
        self.close()


def _end(work: "Generator[Any, Any, Any] | Coroutine[Any, Any, Any] | None") -> None:
    """Close a coroutine, however it resists: its frames must not run again when they are collected."""
    for _ in range(100):
        if work is None:
            return
        try:
            work.close()
        except BaseException:  # noqa: BLE001, S112  (what it does on its way out happens to nobody)
            continue
        return


class SlowDisk(Executor):
    """One thread: does its work in order, each piece at some moment after it was asked for, and tells later still."""

    def __init__(self, universe: Universe, pace: float = 0.001) -> None:
        self._universe = universe
        self._free_at = 0.0
        self._pace = pace  # seconds that a piece of work takes on average

    def run(self, loop: VirtualLoop, func: Callable[..., T], *args: Any) -> "asyncio.Future[T]":
        """See VirtualLoop.run_in_executor."""
        universe, chance = self._universe, self._universe.chance
        told: asyncio.Future[T] = loop.create_future()
        begin = max(self._free_at, universe.now + chance.expovariate(1 / self._pace))
        end = begin + chance.expovariate(1 / self._pace)
        self._free_at = end
        context = contextvars.copy_context()

        def work() -> None:
            if not loop.alive:
                return
            try:
                result = context.run(func, *args)
            except Exception as error:  # noqa: BLE001  (it belongs to whoever waits)
                universe.at(end, partial(tell, told.set_exception, error))
            else:
                universe.at(end, partial(tell, told.set_result, result))

        def tell(say: Callable[[Any], None], what: Any) -> None:
            if loop.alive and not told.done():
                say(what)

        universe.at(begin, work)
        return told

    def submit(self, _fn: Callable[..., T], /, *_args: Any, **_kwargs: Any) -> "Future[T]":
        """Not used: the loop knows how to run work here."""
        raise NotImplementedError

    def shutdown(self, wait: bool = True, *, cancel_futures: bool = False) -> None:
        """Nothing to wait for: the daemon awaits all its work before."""


class SimulatedClock:
    """A `forwarder.clock.Clock` on the universe's time."""

    def __init__(self, universe: Universe) -> None:
        self._universe = universe

    def now(self) -> float:
        """Epoch seconds."""
        return self._universe.wall()

    def monotonic(self) -> float:
        """Seconds since the universe began."""
        return self._universe.now

    async def sleep(self, seconds: float) -> None:
        """See Clock."""
        await asyncio.sleep(seconds)
