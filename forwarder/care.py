"""What the reconciler knows of one integration and need not survive a restart."""

import asyncio

from msgspec.structs import replace

from forwarder.errors import SpoolError
from forwarder.ops.snapshot import SourceView
from forwarder.partner_sources import SourceError
from forwarder.rules.lifecycle import Action, CreateSource
from forwarder.rules.lifecycle_status import Observed, Trouble
from forwarder.rules.retry import Pauses, backoff

PAUSES = Pauses(base=1.0, cap=60.0)
SOON_SECONDS = 10.0
"""How often to look at a source that is not ACTIVE, where that is sooner than the usual poll."""


class Care:
    """One integration's next action, what came of the last, and when to try and to look again. All times are monotonic.

    `uncertain`: a creation was begun and nobody knows whether it happened. `absent`: the source that is noted down as
    being created certainly does not exist. `task` is what is under way, `looking` that it is only a look. `noting`: it
    will be told where in the log what is pending for a source that is being replaced ends.
    """

    def __init__(self, *, uncertain: bool = False) -> None:
        self.observed = Observed()
        self.action: Action | None = None
        self.act_at = 0.0
        self.look_at = 0.0
        self.uncertain = uncertain
        self.absent = False
        self.task: asyncio.Task[None] | None = None
        self.looking = False
        self.noting = False
        self._failures = 0
        self._refusals = 0

    def face(self, action: Action | None) -> None:
        """Take on the next action. What went wrong with another one does not delay it, and a look gives way to it."""
        if action != self.action:
            self.action = action
            self.hurry()
        if action is not None and self.looking and self.task is not None:
            self.task.cancel()

    def hurry(self) -> None:
        """Try again at once, as if nothing had gone wrong."""
        self._failures = 0
        self.act_at = self.look_at = 0.0
        self.observed = replace(self.observed, trouble=None)

    def succeeded(self) -> None:
        """The action is done: what was seen before it says nothing any more."""
        self.uncertain = self.absent = False
        self._failures = self._refusals = 0
        self.act_at = self.look_at = 0.0
        self.observed = Observed()

    def failed(self, action: Action, error: SourceError | SpoolError, now: float, jitter: float) -> None:
        """The action is to be tried again later."""
        self.act_at = now + self._pause(jitter)
        waiting_helps = not isinstance(error, SourceError) or error.waiting_helps
        self.observed = replace(self.observed, trouble=Trouble(str(error), waiting_helps))
        if isinstance(action, CreateSource) and isinstance(error, SourceError):
            self.uncertain = self.uncertain or not error.nothing_happened
            self.absent = not self.uncertain

    def saw(self, view: SourceView, now: float, poll_seconds: float, *, refused_before: bool) -> None:
        """A look has shown the source's state. One that exists may be tried again after events were refused."""
        self._failures = 0
        if not refused_before:
            self._refusals = 0
        self.observed = Observed(view.state, view.expires_at)
        self.look_at = now + (poll_seconds if view.state == "ACTIVE" else min(poll_seconds, SOON_SECONDS))

    def saw_nothing(self, error: SourceError, now: float, jitter: float, poll_seconds: float) -> None:
        """A look has failed; what was seen before still counts."""
        self.look_at = now + min(poll_seconds, self._pause(jitter))
        self.observed = replace(self.observed, trouble=Trouble(str(error), error.waiting_helps))

    def refused(self, message: str, now: float, poll_seconds: float) -> None:
        """AWS refused events. It may go on doing so for a source that it shows: look less and less often then."""
        self._refusals += 1
        self.look_at = now if self._refusals == 1 else now + min(poll_seconds, 2.0 ** min(self._refusals, 32))
        self.observed = replace(self.observed, refused=message)

    def _pause(self, jitter: float) -> float:
        self._failures += 1
        return backoff(self._failures, PAUSES, jitter=jitter, at_least=PAUSES.base)
