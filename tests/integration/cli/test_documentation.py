"""docs/commands.md: its examples are run and do what they say, and its reference is current."""

import re
import shlex
from collections.abc import Iterator
from contextlib import ExitStack
from difflib import ndiff
from pathlib import Path
from typing import Any

import msgspec

from forwarder.cli import app
from forwarder.commands.reference import command_reference
from forwarder.emulator.faults import FaultRule
from forwarder.emulator.http import Emulator

TEXT = (Path(__file__).parents[3] / "docs/commands.md").read_text(encoding="utf-8")
SETTINGS = {"FORWARDER_ORGANIZATION_ID": "acme", "FORWARDER_HTTP_PORT": "1"}


def examples(text: str) -> Iterator[tuple[list[str], str]]:
    """Each command of the console blocks with the output that it shows."""
    for block in re.findall(r"```console\n(.*?)```", text, re.DOTALL):
        for example in re.split(r"^\$ ", block, flags=re.MULTILINE)[1:]:
            command, _, output = re.sub(r" \\\n +", " ", example).partition("\n")
            yield shlex.split(command)[1:], output


def same(shown: str, documented: str) -> bool:
    """Whether they are equal, runs of spaces and what stands for `...` apart."""
    pattern = r"\s+".join(map(re.escape, documented.split())).replace(re.escape("..."), ".*")
    return re.fullmatch(pattern, " ".join(shown.split()), re.DOTALL) is not None


def run(text: str, call: Any) -> None:
    for arguments, documented in examples(text):
        result = call(*arguments)
        shown = result.stdout + result.stderr
        assert same(shown, documented), "\n" + "".join(ndiff(documented.splitlines(True), shown.splitlines(True)))


def test_the_examples(forwarder: Any, start: Any, emulator: Emulator) -> None:
    before, rest = TEXT.split("<!-- the daemon runs -->")
    meanwhile, after = rest.split("<!-- the daemon is stopped -->")
    run(before, lambda *arguments: forwarder(*arguments, **SETTINGS))
    rule = {"operation": "PutPartnerEvents", "entry_errors": [{"code": "AccessDeniedException", "rate": 1}]}
    emulator.faults.set(msgspec.convert(rule, FaultRule))
    with ExitStack() as running:
        live = running.enter_context(start())
        live.until(
            "integrations", "list", holds=lambda found: [e["state"] for e in found["integrations"]] == ["ACTIVE"]
        )
        live.notify()
        live.until("dead-letters", "list", holds=len)
        emulator.faults.clear()
        run(meanwhile, live.ask)
        live.until("status", holds=lambda status: not status["books"]["integrations"]["crm"]["pending"])
        live.stop()
    run(after, lambda *arguments: forwarder(*arguments, **SETTINGS))


def test_every_command_is_shown_in_use() -> None:
    headings = re.findall(r"^### `(forwarder [a-z -]+[a-z])", TEXT, re.MULTILINE)
    assert len(headings) > 20
    used = TEXT.split("## Reference")[0]
    assert [heading for heading in headings if heading not in used] == []


def test_the_reference_is_current() -> None:
    _, marker, rest = TEXT.partition("<!-- generated: commands -->\n")
    assert marker
    assert rest.partition("<!-- end: commands -->")[0] == command_reference(app), "run `make docs`"


def test_output_that_differs_is_noticed() -> None:
    assert same("a  b\n1.2 s c\n", "a b\n... s c\n")
    assert not same("a b", "a c")
    assert not same("a b c", "a b")
