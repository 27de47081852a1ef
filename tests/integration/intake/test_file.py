"""The file intake on real files and pipes."""

import asyncio
import os
import sys
from pathlib import Path

import pytest

from forwarder.errors import EndOfStream, IntakeError
from forwarder.intake.base import MAX_PAYLOAD_BYTES, Message
from forwarder.intake.decode import Malformed, MalformedReason, decode
from forwarder.intake.file import FileIntake, FileSettings, LineSplitter


async def read_all(path: Path, rate: float = 0) -> list[list[Message]]:
    intake = FileIntake(FileSettings.model_validate({"path": str(path), "rate": rate}))
    task = asyncio.create_task(intake.run())
    batches: list[list[Message]] = []

    async def receive_for_ever() -> None:
        while True:
            batches.append(list((await intake.receive()).messages))

    for _ in range(2):
        with pytest.raises(EndOfStream, match="read to its end"):
            await receive_for_ever()
    assert not task.done()
    await intake.close()
    task.cancel()
    return batches


async def test_lines_are_messages_blank_ones_are_none_and_the_last_needs_no_newline(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b'\n{"a":1}\r\n \t\n\n{"b":2}\nlast')
    assert await read_all(tmp_path / "f") == [
        [Message(None, b'{"a":1}\r'), Message(None, b'{"b":2}')],
        [Message(None, b"last")],
    ]


@pytest.mark.parametrize("content", [b"", b"\n", b"\n\n \n"])
async def test_an_empty_file_just_ends(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "f").write_bytes(content)
    assert await read_all(tmp_path / "f") == []


async def test_many_lines_come_in_batches_of_at_most_500(tmp_path: Path) -> None:
    lines = [b"%d" % number for number in range(200_000)]
    (tmp_path / "f").write_bytes(b"\n".join(lines))
    batches = await read_all(tmp_path / "f")
    assert [message.payload for batch in batches for message in batch] == lines
    assert max(map(len, batches)) == 500


async def test_an_overlong_line_is_one_malformed_message(tmp_path: Path) -> None:
    with (tmp_path / "f").open("wb") as file:
        file.write(b"first\n")
        for _ in range(40):
            file.write(b"x" * 1_000_000)
        file.write(b"\nlast\n")
    first, long, last = [message for batch in await read_all(tmp_path / "f") for message in batch]
    assert (first.payload, last.payload) == (b"first", b"last")
    assert MAX_PAYLOAD_BYTES < len(long.payload) < MAX_PAYLOAD_BYTES + 1_000_000
    result = decode(long, 0, True)
    assert isinstance(result, Malformed)
    assert result.reason is MalformedReason.TOO_LARGE


def test_lines_across_chunks() -> None:
    splitter = LineSplitter()
    taken = [message.payload for chunk in (b"a", b"b\nc", b"\n", b"\nd\ne") for message in splitter.feed(chunk)]
    taken += [message.payload for message in splitter.end()]
    assert taken == [b"ab", b"c", b"d", b"e"]


async def test_what_a_pipe_has_comes_before_it_ends(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    intake = FileIntake(FileSettings.model_validate({"path": str(tmp_path / "pipe")}))
    task = asyncio.create_task(intake.run())
    with await asyncio.to_thread((tmp_path / "pipe").open, "wb", buffering=0) as pipe:
        pipe.write(b"one\ntwo\npart")
        assert [message.payload for message in (await intake.receive()).messages] == [b"one", b"two"]
        pipe.write(b"ly\n")
        assert [message.payload for message in (await intake.receive()).messages] == [b"partly"]
    task.cancel()
    await intake.close()


async def test_standard_input(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    code = (
        "import asyncio\n"
        "from forwarder.intake.file import *\n"
        "async def main():\n"
        "    intake = FileIntake(FileSettings())\n"
        "    asyncio.ensure_future(intake.run())\n"
        "    print([m.payload for m in (await intake.receive()).messages])\n"
        "asyncio.run(main())\n"
    )
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, stdin=asyncio.subprocess.PIPE, stdout=asyncio.subprocess.PIPE
    )
    assert process.stdin
    assert process.stdout
    process.stdin.write(b"hello\n")
    await process.stdin.drain()
    assert await process.stdout.read() == b"[b'hello']\n"
    assert await process.wait() == 0  # though its standard input is still open
    process.stdin.close()


async def test_a_rate_spreads_the_lines(tmp_path: Path) -> None:
    (tmp_path / "f").write_bytes(b"x\n" * 100)
    loop = asyncio.get_running_loop()
    started = loop.time()
    batches = await read_all(tmp_path / "f", rate=500)
    assert max(map(len, batches)) == 10
    assert loop.time() - started >= 0.15  # two paces may be caught up with; the other 80 lines take 2 ms each


@pytest.mark.parametrize("name", ["missing", "."])
async def test_a_file_that_cannot_be_read_ends_the_run_and_says_why(tmp_path: Path, name: str) -> None:
    intake = FileIntake(FileSettings.model_validate({"path": str(tmp_path / name)}))
    with pytest.raises(IntakeError, match=r"FORWARDER_FILE_PATH: cannot read .*: (No such file|Is a directory)"):
        await intake.run()
    assert "cannot read" in intake.health().detail
