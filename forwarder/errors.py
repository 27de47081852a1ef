"""What can go wrong, in terms of this program. Library errors are mapped to these at the edge where they appear."""

import msgspec

from forwarder.model import Reason


class ForwarderError(Exception):
    """Base of all errors raised on purpose. Its text is a sentence a person can act on."""


class Problem(msgspec.Struct, frozen=True):
    """One thing wrong with the configuration: where it is, what is wrong and what would be right."""

    message: str
    source: str | None = None  # the file, or "environment"
    line: int | None = None
    key: str | None = None
    hint: str | None = None

    def __str__(self) -> str:
        """`file:line: KEY: message (hint)`."""
        place = f"{self.source}:{self.line}" if self.source and self.line else self.source
        head = "".join(f"{part}: " for part in (place, self.key) if part)
        return f"{head}{self.message}" + (f" ({self.hint})" if self.hint else "")


class ConfigurationError(ForwarderError):
    """Settings or integration files cannot be used. Carries every problem found, not only the first."""

    def __init__(self, problems: list[Problem]) -> None:
        super().__init__("\n".join(str(problem) for problem in problems))
        self.problems = problems


class IntakeError(ForwarderError):
    """The notification stream refused us for a reason that waiting will not mend (credentials, a bad URL)."""


class EndOfStream(ForwarderError):  # noqa: N818  (it is an event, as StopIteration is, not a failure)
    """The intake has handed over everything there is and there will be no more (a file's end)."""


class SpoolError(ForwarderError):
    """The spool cannot do what was asked now (disk full, I/O error). What was asked has not happened; ask again."""


class SpoolUnusableError(ForwarderError):
    """The spool cannot be opened at all: locked by another daemon, read-only, or of a newer version."""


class PutError(ForwarderError):
    """A whole call failed: nothing is known to be accepted. `reason` is the metric label, `code` the service's own."""

    def __init__(self, reason: Reason, code: str, message: str, *, retry_after: float | None = None) -> None:
        super().__init__(f"{code}: {message}")
        self.reason = reason
        self.code = code
        self.message = message
        self.retry_after = retry_after  # seconds, where the answer named them
