"""Redrive and purge: the question before, the work in steps with its progress, the answer after."""

from collections.abc import Callable, Sequence

import typer

from forwarder.commands.dead_letters.stores import DeadLetters
from forwarder.commands.output import confirm, counted, print_json, progress
from forwarder.spool.base import DeadLetterFilter

STEP = 500
"""How many are changed at once."""


def redrive(store: DeadLetters, which: DeadLetterFilter, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Deliver those that are meant again."""
    _carry_out(store, which, store.redrive, ("redrive", "redriven"), dry_run=dry_run, yes=yes, as_json=as_json)


def purge(store: DeadLetters, which: DeadLetterFilter, *, dry_run: bool, yes: bool, as_json: bool) -> None:
    """Delete those that are meant."""
    _carry_out(store, which, store.purge, ("purge", "purged"), dry_run=dry_run, yes=yes, as_json=as_json)


def _carry_out(
    store: DeadLetters,
    which: DeadLetterFilter,
    change: Callable[[Sequence[int]], int],
    verb: tuple[str, str],
    *,
    dry_run: bool,
    yes: bool,
    as_json: bool,
) -> None:
    meant = store.count(which)
    letters = counted(meant, "dead letter")
    done = 0
    if meant and not dry_run:
        confirm(f"{verb[0].capitalize()} {letters}?", yes=yes)
        done = _in_steps(store, which, change, meant)
    if as_json:
        print_json({"dry_run": dry_run, "matched": meant, verb[1]: done})
    elif dry_run:
        typer.echo(f"{letters} would be {verb[1]}.")
    else:
        typer.echo(f"{counted(done, 'dead letter')} {verb[1]}.")


def _in_steps(store: DeadLetters, which: DeadLetterFilter, change: Callable[[Sequence[int]], int], meant: int) -> int:
    """Change no more than were there at first: those redriven may die again meanwhile, under new numbers."""
    done, seen, after = 0, 0, 0
    with progress(meant) as advance:
        while seen < meant:
            numbers = [letter.id for letter in store.page(which, after, min(STEP, meant - seen))]
            if not numbers:
                break
            done += change(numbers)
            seen, after = seen + len(numbers), numbers[-1]
            advance(len(numbers))
    return done
