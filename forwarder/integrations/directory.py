"""The directory of the integrations: what is in it now, read without ever raising, and written atomically.

Any file whose name ends in `.env` is one integration, except hidden ones (editors' and ConfigMaps' own files).
"""

import os
import re
import secrets
import stat
from collections.abc import Mapping
from pathlib import Path

import msgspec

from forwarder.errors import Problem
from forwarder.integrations import env_file
from forwarder.integrations.env_file import IntegrationFile
from forwarder.rules.validation import Rules

SUFFIX = ".env"
MAX_FILE_BYTES = 256 * 1024

INTEGRATION_ID = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,63}")

Contents = Mapping[str, bytes | Problem] | Problem
"""File names with what is in them or why it cannot be read; or why the directory itself cannot be read."""


class DirectoryState(msgspec.Struct, frozen=True):
    """What the directory says. `files` is by integration id; with a `problem` of the directory itself it is empty and
    says nothing about what is there. `strays` are files that would be integrations but for their names."""

    files: dict[str, IntegrationFile] = {}
    problem: Problem | None = None
    strays: tuple[Problem, ...] = ()


def read_directory(directory: Path, rules: Rules) -> DirectoryState:
    """Read all integration files. Blocks on the disk; never raises for what is in them or around them."""
    return interpret(read_contents(directory), directory, rules)


def read_contents(directory: Path) -> Contents:
    """The bytes of all integration files, unread ones as problems. A file that vanishes meanwhile is left out."""
    try:
        names = sorted(name for name in os.listdir(directory) if _is_meant(name))  # noqa: PTH208  (names suffice)
    except OSError as error:
        fault = f"the integrations directory cannot be read: {error.strerror}"
        return Problem(fault, source=str(directory), hint="until it can be, the integrations stay as they are")
    contents = {name: _read_file(directory / name) for name in names}
    return {name: content for name, content in contents.items() if content is not None}


def interpret(contents: Contents, directory: Path, rules: Rules) -> DirectoryState:
    """Parse what was read."""
    if isinstance(contents, Problem):
        return DirectoryState(problem=contents)
    files, strays = {}, []
    for name, content in contents.items():
        path = str(directory / name).encode("utf-8", "backslashreplace").decode()
        integration_id = name.removesuffix(SUFFIX)
        if not INTEGRATION_ID.fullmatch(integration_id):
            hint = "it is 1 to 64 of A-Z, a-z, 0-9, '.', '-', '_', the first a letter or digit, and then .env"
            strays.append(Problem("the file's name cannot be an integration's id", path, hint=hint))
        elif isinstance(content, Problem):
            files[integration_id] = IntegrationFile(path, None, (content,), readable=False)
        elif len(content) > MAX_FILE_BYTES:
            problem = Problem(f"the file is larger than {MAX_FILE_BYTES // 1024} KiB", path)
            files[integration_id] = IntegrationFile(path, None, (problem,))
        else:
            files[integration_id] = env_file.parse(integration_id, path, content, rules)
    return DirectoryState(files, strays=tuple(strays))


def write_atomically(path: Path, text: str) -> None:
    """Replace the file in one step, its mode kept: a reader sees the old text or the new, after a power cut as well.

    Raises:
        OSError: it cannot be written; the old file is untouched.
    """
    target = path.resolve()  # a symbolic link stays one
    temporary = target.with_name(f".{target.name}.{secrets.token_hex(4)}.tmp")
    try:
        with open(temporary, "x", encoding="utf-8", newline="") as stream:  # noqa: PTH123  (Path.open is the same)
            if target.exists():
                os.fchmod(stream.fileno(), stat.S_IMODE(target.stat().st_mode))
            stream.write(text)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(target)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    _sync_directory(target.parent)


def _is_meant(name: str) -> bool:
    return name.endswith(SUFFIX) and not name.startswith(".")


def _read_file(path: Path) -> bytes | Problem | None:
    source = str(path)
    try:
        # Without O_NONBLOCK, opening a named pipe would wait for a writer.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except FileNotFoundError:
        return Problem("the symbolic link leads nowhere", source) if path.is_symlink() else None
    except OSError as error:
        return Problem(f"the file cannot be read: {error.strerror}", source)
    try:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            return Problem("this is not a file", source)
        return _read_up_to(descriptor, MAX_FILE_BYTES + 1)  # one more than allowed tells that it is too large
    except OSError as error:
        return Problem(f"the file cannot be read: {error.strerror}", source)
    finally:
        os.close(descriptor)


def _read_up_to(descriptor: int, size: int) -> bytes:
    with open(descriptor, "rb", closefd=False) as stream:
        return stream.read(size)


def _sync_directory(directory: Path) -> None:
    """Make a rename durable (fsync(2): the file's own fsync does not cover the directory's entry)."""
    descriptor = os.open(directory, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
