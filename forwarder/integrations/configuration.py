"""From what the files say now and what ran before to what runs next. Pure: the same question has the same answer."""

from collections.abc import Iterable, Mapping

import msgspec

from forwarder.errors import Problem
from forwarder.integrations.directory import DirectoryState
from forwarder.model import Integration, IntendedState
from forwarder.rules.validation import MAX_INTEGRATIONS, SUFFIX_NOT_UNIQUE, Key, suffix_holder

Integrations = dict[str, Integration]


class Configuration(msgspec.Struct, frozen=True):
    """The integrations in force, by id; the last good version of those whose file has vanished or cannot be read, which
    pauses them; and everything that is wrong with the files."""

    integrations: Integrations = {}
    vanished: Integrations = {}
    problems: tuple[Problem, ...] = ()


def merge(previous: Configuration, state: DirectoryState) -> Configuration:
    """What is in force after this look at the directory: all or nothing for each integration.

    - A directory that cannot be read changes nothing.
    - A file that is bad leaves the last good version of its integration in force.
    - A file that is not there, or cannot be read, takes its integration out of force; that version is remembered in
      `vanished`.
    - Of two enabled integrations with one suffix, and of more than ten, those already in force stay as they are and the
      newcomers are refused; among newcomers the first by id wins.
    """
    if state.problem is not None:
        return msgspec.structs.replace(previous, problems=(state.problem,))
    wanted: Integrations = {}
    for integration_id, file in state.files.items():
        version = file.integration or previous.integrations.get(integration_id)
        if version is not None and file.readable:
            wanted[integration_id] = version
    refused = _settle_suffixes(wanted, previous.integrations, state)
    refused += _settle_number(wanted, previous.integrations, state)
    problems = [problem for file in state.files.values() for problem in file.problems]
    known = previous.vanished | previous.integrations
    vanished = {integration_id: version for integration_id, version in known.items() if integration_id not in wanted}
    return Configuration(wanted, vanished, (*state.strays, *problems, *refused))


def _settle_suffixes(wanted: Integrations, running: Mapping[str, Integration], state: DirectoryState) -> list[Problem]:
    """Put those who come into conflict back to what they were. That may conflict in turn (two swap suffixes and one of
    them is refused for a third), so it goes on until there is none; each turn puts one back for good."""
    problems = []
    while (conflict := _find_conflict(wanted, running)) is not None:
        newcomer, holder = conflict
        problems.append(_refuse(newcomer.id, f"{SUFFIX_NOT_UNIQUE}: {holder.id} has it", state))
        _put_back(newcomer.id, wanted, running)
    return problems


def _find_conflict(wanted: Integrations, running: Mapping[str, Integration]) -> tuple[Integration, Integration] | None:
    """The first newcomer, the last by id first, that stands in another's way, and that other."""
    for candidate in sorted(wanted.values(), key=lambda each: each.id, reverse=True):
        if not _holds(candidate, running.get(candidate.id)) and (other := suffix_holder(candidate, wanted.values())):
            return candidate, other
    return None


def _holds(candidate: Integration, before: Integration | None) -> bool:
    """Whether the integration was in force with this very suffix."""
    if before is None or before.intended_state is not IntendedState.ENABLED:
        return False
    return before.event_source_suffix == candidate.event_source_suffix


def _settle_number(wanted: Integrations, running: Mapping[str, Integration], state: DirectoryState) -> list[Problem]:
    newcomers = sorted(wanted.keys() - running.keys())
    room = max(0, MAX_INTEGRATIONS - (len(wanted) - len(newcomers)))
    fault = f"there are already {MAX_INTEGRATIONS} integrations, the most there may be"
    for integration_id in newcomers[room:]:
        del wanted[integration_id]
    return [_refuse(integration_id, fault, state, key=None) for integration_id in newcomers[room:]]


def _put_back(integration_id: str, wanted: Integrations, running: Mapping[str, Integration]) -> None:
    if integration_id in running:
        wanted[integration_id] = running[integration_id]
    else:
        del wanted[integration_id]


def _refuse(
    integration_id: str, fault: str, state: DirectoryState, key: Key | None = Key.EVENT_SOURCE_SUFFIX
) -> Problem:
    file = state.files[integration_id]
    return Problem(fault, file.path, file.lines.get(key) if key else None, key)


def changes(before: Iterable[Integration], after: Iterable[Integration]) -> dict[str, list[str]]:
    """What became of each integration that is not as it was: `added`, `removed`, or the fields that changed."""
    old, new = {each.id: each for each in before}, {each.id: each for each in after}
    told = {}
    for integration_id in sorted(old.keys() | new.keys()):
        if integration_id not in old:
            told[integration_id] = ["added"]
        elif integration_id not in new:
            told[integration_id] = ["removed"]
        elif fields := _changed_fields(old[integration_id], new[integration_id]):
            told[integration_id] = fields
    return told


def _changed_fields(old: Integration, new: Integration) -> list[str]:
    return [name for name in old.__struct_fields__ if getattr(old, name) != getattr(new, name)]
