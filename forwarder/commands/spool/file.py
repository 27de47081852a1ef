"""`forwarder spool` and `forwarder status --verify`: the spool's file shown, saved, proven and mended."""

import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec
import typer
from rich.text import Text

from forwarder.commands.configuration import env_file_to_use
from forwarder.commands.output import confirm, console, counted, duration, log_to_stderr, print_json, size, table
from forwarder.errors import ForwarderError
from forwarder.settings import Settings
from forwarder.spool.reader import LaneFacts, SpoolFacts, SpoolReader, reading
from forwarder.spool.repair import Repair, repair


def spool_file(env_file: Path | None, file: Path | None = None) -> Path:
    """The file that was named, or the daemon's.

    Raises:
        ConfigurationError: none was named, and the settings cannot be read.
    """
    return file or Settings.load(env_file_to_use(env_file)).state_dir / "spool.db"


def show(facts: SpoolFacts, *, as_json: bool) -> None:
    """What is in the file."""
    if as_json:
        print_json(facts)
        return
    for line in _summary(facts):
        typer.echo(line)
    if facts.lanes:
        rows = table(["integration"], ["position", "runs", "pending", "parked", "dead"], "oldest")
        for lane in facts.lanes:
            numbers = (lane.position, len(lane.done), lane.pending, lane.parked, lane.dead_letters)
            rows.add_row(Text(lane.integration_id), *map(str, numbers), _oldest(lane))
        typer.echo()
        console().print(rows)


def print_export(reader: SpoolReader, integration_id: str | None, kinds: Sequence[str]) -> None:
    """A JSON line for each event.

    Raises:
        ForwarderError: some could not be read; all others have been printed.
    """
    exported = 0
    for each in reader.export(integration_id, kinds):
        sys.stdout.buffer.write(msgspec.json.encode(each) + b"\n")
        exported += 1
    sys.stdout.buffer.flush()
    typer.echo(f"{counted(exported, 'event')} exported.", err=True)
    if damage := reader.damage():
        raise ForwarderError(
            f"{reader.path} is damaged ({damage[0]}): what could be read was exported, the rest is lost"
        )


def carry_out_repair(env_file: Path | None, *, yes: bool, as_json: bool) -> None:
    """Mend the daemon's spool and tell what was done."""
    path = spool_file(env_file)
    confirm(f"Mend {path}? A damaged file is kept beside the new one.", yes=yes)
    log_to_stderr()
    done = repair(path.parent)
    if as_json:
        print_json(done)
    else:
        typer.echo("\n".join(_told(path, done)))


def show_discrepancies(env_file: Path | None, *, as_json: bool) -> None:
    """Hold the books against what the spool holds, read-only, and tell every difference.

    Raises:
        ForwarderError: they differ.
    """
    path = spool_file(env_file)
    started = time.monotonic()
    with reading(path) as reader:
        found = reader.verify()
    if as_json:
        print_json({"ok": not found, "discrepancies": found})
    else:
        for each in found:
            typer.echo(str(each))
    if found:
        raise ForwarderError(f"the books of {path} differ from what is in it; `forwarder spool repair` sets them right")
    if not as_json:
        typer.echo(f"The books equal what is in {path}; it took {time.monotonic() - started:.1f} s.")


def _summary(facts: SpoolFacts) -> Iterator[str]:
    yield f"file       {facts.path}, schema {facts.schema_version}"
    sizes = [size(each) for each in (facts.file_bytes, facts.wal_bytes, facts.used_bytes)]
    yield f"size       {sizes[0]} and {sizes[1]} of write-ahead log, {sizes[2]} in use"
    span = "empty" if facts.first_seq is None else f"rows {facts.first_seq} to {facts.last_seq}"
    yield f"log        {span}"
    yield f"tables     {', '.join(f'{name} {count}' for name, count in facts.rows.items())}"


def _oldest(lane: LaneFacts) -> str:
    if lane.oldest_received_at is None:
        return "-"
    return duration(max(0.0, time.time() - lane.oldest_received_at))


def _told(path: Path, done: Repair) -> Iterator[str]:
    if done.damage:
        more = f", and {len(done.damage) - 1} more" if done.damage[1:] else ""
        yield f"{path} was damaged ({done.damage[0]}{more}); what could be read was kept, and the damaged file."
    for each in done.mended:
        lost = each.pending - each.found
        yield f"{each}; " + (
            f"{lost} are now booked as unreadable" if lost > 0 else f"{-lost} are now booked as matched"
        )
    if not done.damage and not done.mended:
        yield f"{path} is in order; nothing was changed."
