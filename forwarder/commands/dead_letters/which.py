"""Which dead letters are meant, from what was typed."""

import re
from collections.abc import Sequence

from forwarder.errors import ConfigurationError, Problem
from forwarder.model import Reason
from forwarder.spool.base import DeadLetterFilter

_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400}
_AGE = re.compile(r"(\d+(?:\.\d+)?)\s*([smhd])")


def parse_which(
    integration_id: str | None,
    reason: str | None,
    older_than: str | None,
    numbers: Sequence[int] | None = None,
    *,
    everything: bool | None = None,
) -> DeadLetterFilter:
    """The filter that the options stand for. `everything`: whether --all was given; None where it need not be.

    Raises:
        ConfigurationError: with every mistake in them.
    """
    problems = []
    if reason is not None and reason not in set(Reason):
        problems.append(
            Problem(f"there is no reason {reason!r}", key="--reason", hint=f"it is one of {', '.join(Reason)}")
        )
    age = _AGE.fullmatch(older_than.strip()) if older_than is not None else None
    if older_than is not None and age is None:
        problems.append(Problem(f"{older_than!r} is no age", key="--older-than", hint="as in 90s, 15m, 12h or 2d"))
    narrowed = bool(numbers) or any(each is not None for each in (integration_id, reason, older_than))
    if everything is False and not narrowed:
        problems.append(Problem("which ones?", hint="give numbers, --integration, --reason or --older-than; or --all"))
    if everything and narrowed:
        problems.append(Problem("--all goes with nothing that says which"))
    if problems:
        raise ConfigurationError(problems)
    return DeadLetterFilter(
        integration_id=integration_id,
        reason=Reason(reason) if reason is not None else None,
        older_than=float(age[1]) * _UNITS[age[2]] if age else None,
        ids=tuple(numbers) if numbers else None,
    )
