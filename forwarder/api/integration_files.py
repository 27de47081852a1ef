"""The integration files as the API sees them: read with their versions, replaced only as they were read."""

import asyncio
import errno
import os
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path

import msgspec

from forwarder.errors import Problem
from forwarder.integrations import env_file
from forwarder.integrations.directory import SUFFIX, Contents, interpret, read_contents, write_atomically
from forwarder.integrations.env_file import IntegrationFile
from forwarder.model import IntendedState
from forwarder.ops.refusals import Refused
from forwarder.rules.validation import Key, Rules

_NOT_ALLOWED = frozenset({errno.EACCES, errno.EPERM, errno.EROFS})


class Stored(msgspec.Struct, frozen=True):
    """A file as it was read. `content` is None where it could not be."""

    path: Path
    file: IntegrationFile
    content: bytes | None
    version: int

    def changed(self, changes: Mapping[str, str]) -> str:
        """The text with these values in place of its own."""
        return env_file.update((self.content or b"").decode(), changes)


def version_of(file: IntegrationFile, content: bytes) -> int:
    """A positive number of 31 bits that follows from the content, INTENDED_STATE apart: one that is activated has the
    same configuration as before."""
    if file.values:
        content = env_file.update(content.decode(), {Key.INTENDED_STATE: IntendedState.DISABLED}).encode()
    return 1 + int.from_bytes(blake2b(content, digest_size=4).digest()) % 0x7FFF_FFFF


class Reading(msgspec.Struct, frozen=True):
    """One look at the directory, by integration id; or why it cannot be read."""

    files: Mapping[str, Stored] = {}
    problem: Problem | None = None


class Files:
    """The directory of the integration files."""

    def __init__(self, directory: Path, rules: Rules) -> None:
        self.directory = directory
        self._rules = rules
        self._last: tuple[Contents, Reading] | None = None

    def path(self, integration_id: str) -> Path:
        """Where the integration's file is, or would be."""
        return self.directory / f"{integration_id}{SUFFIX}"

    async def read(self) -> Reading:
        """Look at all files."""
        return await asyncio.to_thread(self._read)

    def _read(self) -> Reading:
        contents = read_contents(self.directory)
        if self._last is None or self._last[0] != contents:
            self._last = (contents, self._interpret(contents))
        return self._last[1]

    def _interpret(self, contents: Contents) -> Reading:
        if isinstance(contents, Problem):
            return Reading(problem=contents)
        files = {}
        for integration_id, file in interpret(contents, self.directory, self._rules).files.items():
            path = self.path(integration_id)
            content = contents[path.name]
            known = content if isinstance(content, bytes) else None
            files[integration_id] = Stored(path, file, known, version_of(file, known or b""))
        return Reading(files)

    async def replace(self, path: Path, before: bytes | None, text: str) -> None:
        """Write the file, which must still be as it was read; `before` None: there must be none.

        Raises:
            Refused: it is not, or it cannot be written.
        """
        await asyncio.to_thread(self._replace, path, before, text)

    def _replace(self, path: Path, before: bytes | None, text: str) -> None:
        try:
            if (path.read_bytes() if path.exists() else None) != before:
                raise conflict(path)
            write_atomically(path, text)
        except OSError as error:
            raise self._not_written(path, error) from None

    async def remove(self, path: Path) -> None:
        """Remove the file for good.

        Raises:
            Refused: it cannot be removed.
        """
        await asyncio.to_thread(self._remove, path)

    def _remove(self, path: Path) -> None:
        try:
            path.unlink(missing_ok=True)
        except OSError as error:
            raise self._not_written(path, error) from None

    async def check_writable(self, path: Path) -> None:
        """Make sure, as far as that can be known, that the file can be removed.

        Raises:
            Refused: it cannot.
        """
        effective = os.access in os.supports_effective_ids
        if not await asyncio.to_thread(os.access, self.directory, os.W_OK | os.X_OK, effective_ids=effective):
            raise self._not_written(path, OSError(errno.EACCES, "it may not be written to"))

    def _not_written(self, path: Path, error: OSError) -> Refused:
        if error.errno in _NOT_ALLOWED:
            message = (
                f"The integrations directory {self.directory} is read-only for the daemon ({error.strerror}), and "
                f"nothing was changed. Change {path.name} where it comes from, or make the directory writable."
            )
            return Refused(409, message, code="integrations.read.only")
        return Refused(503, f"{path} cannot be written now, and nothing was changed: {error.strerror}.")


def conflict(path: Path) -> Refused:
    """The file is not as the client knows it."""
    return Refused(
        409,
        f"{path.name} was changed since that version was read. Read the configuration anew and change it again.",
        code="version.conflict",
    )
