"""The image's build, carried out without a container engine: the Dockerfile's own commands in an empty directory.

Only paths are changed. What the final stage adds (the user, the volume, the probe) is checked by reading it.
"""

import os
import re
import shlex
import shutil
import subprocess
import sys
import zipfile
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from threading import Thread

import msgspec
import pytest

ROOT = Path(__file__).parents[3]
INSTRUCTION = re.compile(r"^([A-Z]+)\s+((?:.*\\\n)*.*)$", re.MULTILINE)


def instructions() -> list[tuple[str, str]]:
    """The Dockerfile's instructions in order, continued lines joined."""
    text = re.sub(r"^#.*\n", "", (ROOT / "Dockerfile").read_text(), flags=re.MULTILINE)
    return [(verb, " ".join(rest.replace("\\\n", " ").split())) for verb, rest in INSTRUCTION.findall(text)]


def stages() -> list[list[tuple[str, str]]]:
    parts: list[list[tuple[str, str]]] = []
    for verb, rest in instructions():
        if verb == "FROM":
            parts.append([])
        if parts:
            parts[-1].append((verb, rest))
    return parts


def final(verb: str) -> str:
    return next(rest for name, rest in stages()[-1] if name == verb)


def copy(arguments: str, source: Path) -> None:
    *names, target = arguments.split()
    for name in names:
        if (ROOT / name).is_dir():
            shutil.copytree(ROOT / name, source / target, ignore=shutil.ignore_patterns("__pycache__"))
        else:
            shutil.copy(ROOT / name, source / target)


def run(command: str, cwd: Path) -> None:
    environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}
    done = subprocess.run(["sh", "-ec", command], cwd=cwd, env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, f"{command}\n{done.stdout}{done.stderr}"


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the build stage left its /opt."""
    place = tmp_path_factory.mktemp("image")
    (place / "src").mkdir()
    (place / "opt").mkdir()
    for verb, rest in stages()[0]:
        if verb == "COPY":
            copy(rest, place / "src")
        elif verb == "RUN":
            run(rest.replace("/opt/", f"{place}/opt/"), place / "src")
    return place / "opt"


@pytest.mark.timeout(600)
def test_the_command_runs_from_the_locked_environment(built: Path) -> None:
    done = subprocess.run([built / "forwarder/bin/forwarder", "--help"], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    for command in ("run", "check", "demo", "emulator", "status"):
        assert command in done.stdout


@pytest.mark.timeout(600)
def test_nothing_needed_is_missing_and_no_tool_is_left_behind(built: Path) -> None:
    environment = built / "forwarder"
    run(f"python -m pip --python {shlex.quote(str(environment / 'bin/python'))} check", built)
    assert not list(environment.glob("bin/pip*"))
    assert not list(environment.glob("lib/python*/site-packages/hatchling*"))


@pytest.mark.timeout(600)
def test_the_wheel_carries_every_file_of_the_package(built: Path) -> None:
    wheel = next((built / "wheel").glob("*.whl"))
    carried = {name for name in zipfile.ZipFile(wheel).namelist() if name.startswith("forwarder/")}
    tracked = subprocess.run(
        ["git", "ls-files", "forwarder"], cwd=ROOT, capture_output=True, text=True, check=True
    ).stdout.split()
    assert set(tracked) <= carried
    assert {"forwarder/spool/schema.sql", "forwarder/topics.txt"} <= carried
    assert not [name for name in carried if "__pycache__" in name]


def test_everything_copied_passes_the_dockerignore() -> None:
    allowed = {
        line.removeprefix("!").rstrip("/")
        for line in (ROOT / ".dockerignore").read_text().splitlines()
        if line.startswith("!")
    }
    copied = {name.rstrip("/") for verb, rest in stages()[0] if verb == "COPY" for name in rest.split()[:-1]}
    assert copied == allowed


def test_the_final_stage_runs_as_a_fixed_user_on_one_volume() -> None:
    assert final("USER") == "10001:10001"
    assert final("VOLUME") == final("WORKDIR") == "/var/lib/forwarder"
    assert final("STOPSIGNAL") == "SIGTERM"
    assert final("ENTRYPOINT") == '["forwarder"]'
    assert final("CMD") == '["run"]'
    assert "--uid 10001" in final("RUN")
    assert "PYTHONDONTWRITEBYTECODE=1" in final("ENV")


class _Daemon(HTTPServer):
    """Answers every request with one status and remembers the paths."""

    def __init__(self, status: int) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.status = status
        self.asked: list[str] = []


class _Handler(BaseHTTPRequestHandler):
    server: _Daemon

    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        self.send_response(self.server.status)
        self.end_headers()

    def log_message(self, *_: object) -> None:
        """Keep the test's output quiet."""


@pytest.mark.parametrize(("status", "healthy"), [(200, True), (503, False)])
def test_the_health_check_asks_livez_and_fails_with_it(status: int, healthy: bool) -> None:
    command = msgspec.json.decode(final("HEALTHCHECK").partition("CMD ")[2], type=list[str])
    with _Daemon(status) as server:
        Thread(target=server.serve_forever, daemon=True).start()
        environment = os.environ | {"FORWARDER_HTTP_PORT": str(server.server_port)}
        done = subprocess.run([sys.executable, *command[1:]], env=environment, capture_output=True, check=False)
        server.shutdown()
    assert (done.returncode == 0) is healthy
    assert server.asked == ["/livez"]
