import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from forwarder.integrations.directory import (
    MAX_FILE_BYTES,
    DirectoryState,
    read_contents,
    read_directory,
    write_atomically,
)
from forwarder.integrations.regions import eventbridge_regions
from forwarder.rules.topic_filter import parse_topic_filters
from forwarder.rules.validation import Rules
from forwarder.topics import Catalogue

GOOD = """\
AWS_ACCOUNT_ID=123456789012
AWS_ACCOUNT_REGION=us-east-1
EVENT_SOURCE_SUFFIX={suffix}
EVENT_FILTER=v2.users.{{id}}.presence
INTENDED_STATE=ENABLED
"""
NOBODY = 65534


def rules() -> Rules:
    return Rules(eventbridge_regions(), "aws.partner/genesys.com/cloud", "org-1")


def read(directory: Path) -> DirectoryState:
    return read_directory(directory, rules())


def put(directory: Path, name: str, text: str | None = None) -> Path:
    path = directory / name
    path.write_text(GOOD.format(suffix=path.stem) if text is None else text)
    return path


def names(directory: Path) -> list[str]:
    return sorted(path.name for path in directory.iterdir())


def test_the_regions_are_those_of_every_partition() -> None:
    assert {"us-east-1", "cn-north-1", "us-gov-west-1", "us-iso-east-1"} <= eventbridge_regions()
    assert "aws-global" not in eventbridge_regions()


def test_importing_the_files_code_leaves_botocore_alone() -> None:
    code = (
        "import sys, forwarder.integrations.directory, forwarder.integrations.regions; print('botocore' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_every_env_file_is_an_integration_by_its_name(tmp_path: Path) -> None:
    put(tmp_path, "crm.env")
    put(tmp_path, "Sales_2.eu-x.env")
    state = read(tmp_path)
    assert sorted(state.files) == ["Sales_2.eu-x", "crm"]
    assert [file.problems for file in state.files.values()] == [(), ()]
    assert state.files["crm"].path == str(tmp_path / "crm.env")


def test_an_empty_directory_is_fine(tmp_path: Path) -> None:
    assert read(tmp_path) == DirectoryState()


@pytest.mark.parametrize(
    "name",
    [".env", ".foo.env.swp", ".#foo.env", "..data", "foo.env~", ".env.tmp", "#foo.env#", "foo.env.example", "4913"],
)
def test_hidden_backup_and_temporary_files_are_none(tmp_path: Path, name: str) -> None:
    put(tmp_path, name, "rubbish")
    assert read(tmp_path) == DirectoryState()


@pytest.mark.parametrize("name", ["my crm.env", "-crm.env", "é.env", "x" * 65 + ".env", "a\nb.env"])
def test_a_name_that_cannot_be_an_id_is_told(tmp_path: Path, name: str) -> None:
    put(tmp_path, name)
    state = read(tmp_path)
    assert state.files == {}
    assert [problem.source for problem in state.strays] == [str(tmp_path / name)]


def test_a_name_that_is_no_text_is_told(tmp_path: Path) -> None:
    Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.env")).write_text("")
    (problem,) = read(tmp_path).strays
    assert str(problem).encode()


def test_a_missing_directory_is_a_problem_of_the_directory(tmp_path: Path) -> None:
    state = read(tmp_path / "none")
    assert state.files == {}
    assert state.problem is not None
    assert "cannot be read: No such file or directory" in state.problem.message


def test_a_file_in_place_of_the_directory_is_a_problem_of_the_directory(tmp_path: Path) -> None:
    assert "Not a directory" in str(read(put(tmp_path, "crm.env")).problem)


def test_what_cannot_be_read_is_a_problem_of_that_file_alone(tmp_path: Path) -> None:
    put(tmp_path, "good.env")
    (tmp_path / "directory.env").mkdir()
    os.mkfifo(tmp_path / "pipe.env")
    (tmp_path / "loop.env").symlink_to("loop.env")
    (tmp_path / "dangling.env").symlink_to("nowhere")
    put(tmp_path, "huge.env", "#" * (MAX_FILE_BYTES + 1))
    (tmp_path / "binary.env").write_bytes(b"\x80\x00\xff")
    files = read(tmp_path).files
    assert files["good"].integration is not None
    told = {name: str(file.problems[0].message) for name, file in files.items() if file.problems}
    assert told == {
        "directory": "this is not a file",
        "pipe": "this is not a file",
        "loop": "the file cannot be read: Too many levels of symbolic links",
        "dangling": "the symbolic link leads nowhere",
        "huge": "the file is larger than 256 KiB",
        "binary": "the file is not UTF-8 text",
    }
    assert {name for name, file in files.items() if file.readable} == {"good", "huge", "binary"}


def test_the_largest_file_is_read(tmp_path: Path) -> None:
    text = GOOD.format(suffix="crm")
    put(tmp_path, "crm.env", text + "#" * (MAX_FILE_BYTES - len(text)))
    assert read(tmp_path).files["crm"].problems == ()


@pytest.fixture
def without_privileges() -> Iterator[Path]:
    """A directory, and a user whom file modes bind."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        before = os.geteuid()
        if before == 0:
            os.chown(name, NOBODY, -1)
            os.seteuid(NOBODY)
        try:
            yield Path(name)
        finally:
            os.seteuid(before)


def test_a_file_without_permission_is_a_problem(without_privileges: Path) -> None:
    put(without_privileges, "crm.env").chmod(0)
    (problem,) = read(without_privileges).files["crm"].problems
    assert problem.message == "the file cannot be read: Permission denied"


def test_a_directory_without_permission_is_a_problem_of_the_directory(without_privileges: Path) -> None:
    put(without_privileges, "crm.env")
    without_privileges.chmod(0)
    assert "Permission denied" in str(read(without_privileges).problem)
    without_privileges.chmod(0o755)


def test_a_config_map_is_read_through_its_links(tmp_path: Path) -> None:
    (tmp_path / "..2026_01").mkdir()
    put(tmp_path / "..2026_01", "crm.env")
    (tmp_path / "..data").symlink_to("..2026_01")
    (tmp_path / "crm.env").symlink_to("..data/crm.env")
    assert read(tmp_path).files["crm"].integration is not None


@pytest.mark.parametrize("text", ["NAME=x\r\nNOTES='é'\r\n", "", "\ufeff#\n"])
def test_what_is_written_is_there_byte_for_byte_and_nothing_else_is(tmp_path: Path, text: str) -> None:
    write_atomically(tmp_path / "crm.env", text)
    assert (tmp_path / "crm.env").read_bytes() == text.encode()
    assert names(tmp_path) == ["crm.env"]


def test_a_rewritten_file_keeps_its_mode_and_a_link_stays_a_link(tmp_path: Path) -> None:
    put(tmp_path, "real").chmod(0o640)
    (tmp_path / "crm.env").symlink_to("real")
    write_atomically(tmp_path / "crm.env", "new")
    assert (tmp_path / "crm.env").is_symlink()
    assert (tmp_path / "real").read_text() == "new"
    assert stat.S_IMODE((tmp_path / "real").stat().st_mode) == 0o640


def test_a_new_file_has_the_mode_that_the_umask_gives(tmp_path: Path) -> None:
    write_atomically(tmp_path / "crm.env", "new")
    assert stat.S_IMODE((tmp_path / "crm.env").stat().st_mode) == stat.S_IMODE(put(tmp_path, "other").stat().st_mode)


def test_a_failed_write_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    put(tmp_path, "crm.env", "old")
    with pytest.raises(UnicodeEncodeError):
        write_atomically(tmp_path / "crm.env", "new \ud800")
    assert names(tmp_path) == ["crm.env"]
    assert (tmp_path / "crm.env").read_text() == "old"
    with pytest.raises(FileNotFoundError):
        write_atomically(tmp_path / "none" / "crm.env", "new")


def test_a_reader_never_sees_half_a_file(tmp_path: Path) -> None:
    path = put(tmp_path, "crm.env", "a" * 100_000)
    reading = path.open("rb")
    write_atomically(path, "b")
    with reading:
        assert reading.read() == b"a" * 100_000
    assert read_contents(tmp_path) == {"crm.env": b"b"}


EXAMPLES = sorted((Path(__file__).parents[2] / "config" / "integrations").glob("*.env.example"))


@pytest.mark.parametrize("example", EXAMPLES, ids=lambda path: path.name)
def test_the_examples_are_right_and_their_filters_known(tmp_path: Path, example: Path) -> None:
    shutil.copy(example, tmp_path / example.stem)
    (file,) = read(tmp_path).files.values()
    assert file.problems == ()
    assert file.integration is not None
    for topic_filter in parse_topic_filters(file.integration.topic_filters):
        filled = topic_filter.subscription().replace("*", "7").replace("#", "anything.7")
        assert Catalogue.load().template_of(filled) is not None, str(topic_filter)


def test_there_are_examples() -> None:
    assert [path.stem for path in EXAMPLES] == ["audit-archive.env", "crm-prod.env"]
