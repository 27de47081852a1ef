"""The lifecycle record: which event source exists for which integration, and where each integration stands.

One small JSON file, written whole: to a temporary file, synced, renamed, the directory synced. It changes only when a
file or an integration's standing does. It is all that keeps a source in AWS from being forgotten, and what is in force
where the files cannot be read at a start.
"""

import asyncio
import os
import time
from collections.abc import Mapping
from pathlib import Path

import msgspec
import structlog

from forwarder.errors import ForwarderError
from forwarder.rules.lifecycle import Recorded

SCHEMA_VERSION = 1
MAX_INTEGRATIONS = 1000
"""Ten can be active; the rest are those whose files are gone and which nobody deleted."""

_log = structlog.get_logger(__name__)


class RecordError(ForwarderError):
    """The record cannot be read or written now."""


class _File(msgspec.Struct, frozen=True):
    schema_version: int
    integrations: dict[str, Recorded]


class _Version(msgspec.Struct, frozen=True):
    schema_version: int


def record_path(state_dir: Path, sink: str) -> Path:
    """Where a sink's record is: what one sink's lifecycle has done in AWS says nothing about another's."""
    return state_dir / ("lifecycle.json" if sink == "eventbridge" else f"lifecycle-{sink}.json")


class LifecycleRecord:
    """The record in the file at `path`."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._held: dict[str, Recorded] = {}
        self._writing = asyncio.Lock()

    def load(self) -> dict[str, Recorded]:
        """What was saved last; nothing where there is no file yet.

        A file that is no record is moved aside and reported: the integrations are then activated as if they were new,
        which finds their sources and deletes none.

        Raises:
            RecordError: it cannot be read, or a newer version of this program wrote it.
        """
        try:
            raw = self.path.read_bytes()
        except FileNotFoundError:
            return {}
        except OSError as error:
            raise RecordError(f"cannot read the lifecycle record: {error}") from error
        try:
            version = msgspec.json.decode(raw, type=_Version).schema_version
            if version <= SCHEMA_VERSION:
                self._held = msgspec.json.decode(raw, type=_File).integrations
                return dict(self._held)
        except msgspec.MsgspecError as error:
            self._quarantine(error)
            return {}
        raise RecordError(
            f"{self.path} was written by a newer version of this program (schema {version}, this one knows "
            f"{SCHEMA_VERSION}); run that version, or move the file away"
        )

    def _quarantine(self, error: Exception) -> None:
        aside = self.path.with_name(f"{self.path.name}.corrupt-{time.time_ns()}")
        try:
            self.path.rename(aside)
        except OSError as trouble:
            raise RecordError(f"{self.path} is unreadable ({error}) and cannot be moved aside: {trouble}") from trouble
        _log.error(
            "lifecycle_record_quarantined",
            path=str(self.path),
            moved_to=str(aside),
            error=str(error),
            hint="nothing is deleted in AWS; sources that no enabled integration uses must be deleted by hand",
        )

    async def save(self, integrations: Mapping[str, Recorded]) -> None:
        """Make this the record, unless it is already. When it returns a power cut does not undo it.

        Raises:
            RecordError: it has not happened; what was saved before is still there.
        """
        if len(integrations) > MAX_INTEGRATIONS:
            message = f"{self.path} would hold {len(integrations)} integrations; delete those whose files are gone"
            raise RecordError(f"{message} (at most {MAX_INTEGRATIONS})")
        async with self._writing:
            if self.holds(integrations):
                return
            raw = msgspec.json.format(msgspec.json.encode(_File(SCHEMA_VERSION, dict(integrations))))
            try:
                await asyncio.to_thread(_write, self.path, raw)
            except OSError as error:
                raise RecordError(f"cannot write the lifecycle record: {error}") from error
            self._held = dict(integrations)

    def holds(self, integrations: Mapping[str, Recorded]) -> bool:
        """Whether this is what was saved last."""
        return self._held == integrations


def _write(path: Path, raw: bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    temporary = path.with_name(f"{path.name}.new")
    with temporary.open("wb") as file:
        file.write(raw)
        file.flush()
        os.fsync(file.fileno())
    temporary.rename(path)
    directory = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(directory)
    finally:
        os.close(directory)
