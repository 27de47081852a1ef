"""What every command has in common: exit codes, where errors go, how quickly it starts."""

import signal
import socket
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

Forwarder = Callable[..., subprocess.CompletedProcess[str]]

COMMANDS = (
    *("run", "check", "demo", "emulator", "match", "topics", "status", "tap", "top"),
    *("integrations", "dead-letters", "spool"),
)


def test_help_names_every_command(forwarder: Forwarder) -> None:
    shown = forwarder("--help")
    assert (shown.returncode, shown.stderr) == (0, "")
    for command in COMMANDS:
        assert f"\n  {command} " in shown.stdout


@pytest.mark.parametrize("arguments", [[], ["nonsense"], ["run", "--nonsense"], ["match"], ["emulator", "--port", "x"]])
def test_wrong_usage_is_2_and_said_on_stderr(forwarder: Forwarder, arguments: list[str]) -> None:
    shown = forwarder(*arguments)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "Usage:" in shown.stderr


def test_the_version(forwarder: Forwarder) -> None:
    shown = forwarder("--version")
    assert shown.returncode == 0
    assert shown.stdout.startswith("forwarder ")


@pytest.mark.parametrize("arguments", [["--help"], ["match", "v2.users.1.presence"], ["topics"]])
def test_quick_commands_import_nothing_heavy(
    environment: dict[str, str], directory: Path, arguments: list[str]
) -> None:
    shown = subprocess.run(
        [sys.executable, "-X", "importtime", "-m", "forwarder", *arguments],
        cwd=directory,
        env=environment,
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    imported = {line.rpartition("|")[2].strip().partition(".")[0] for line in shown.stderr.splitlines()}
    assert "typer" in imported
    assert not imported & {"botocore", "aiobotocore", "aiohttp", "aiomqtt", "prometheus_client", "websockets"}


def test_run_with_bad_settings_is_2_and_names_each(forwarder: Forwarder, directory: Path) -> None:
    (directory / "config/forwarder.env").write_text("FORWARDER_HTTP_PORT=http\nFORWARDER_INTAKE=file\n")
    shown = forwarder("run", FORWARDER_ADMIN_TOKEN_FILE="/nowhere")
    assert (shown.returncode, shown.stdout) == (2, "")
    for part in (
        "config/forwarder.env:1: FORWARDER_HTTP_PORT: is not a whole number",
        "FORWARDER_ORGANIZATION_ID: is required",
        "environment: FORWARDER_ADMIN_TOKEN_FILE: /nowhere cannot be read",
    ):
        assert part in shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_the_emulator_says_where_it_is_and_stops_on_a_signal(
    environment: dict[str, str], directory: Path, number: signal.Signals
) -> None:
    with subprocess.Popen(
        [sys.executable, "-m", "forwarder", "emulator", "--port", "0", "--auto-associate"],
        cwd=directory,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stdout
        assert "AWS_ENDPOINT_URL_EVENTBRIDGE=http://127.0.0.1:" in process.stdout.readline()
        process.send_signal(number)
        _, errors = process.communicate(timeout=20)
    assert (process.returncode, errors) == (0, "")


def test_a_port_in_use_is_2(forwarder: Forwarder, environment: dict[str, str], directory: Path) -> None:
    command = [sys.executable, "-m", "forwarder", "emulator", "--port", "0"]
    with subprocess.Popen(command, cwd=directory, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        port = process.stdout.readline().strip().rpartition(":")[2]
        shown = forwarder("emulator", "--port", port)
        process.terminate()
    assert shown.returncode == 2
    assert f"cannot listen on 127.0.0.1:{port}" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_ctrl_c_is_1_in_a_word(environment: dict[str, str], directory: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"http://127.0.0.1:{silent.getsockname()[1]}"
        with subprocess.Popen(
            [sys.executable, "-m", "forwarder", "status", "--url", url],
            cwd=directory,
            env=environment,
            stderr=subprocess.PIPE,
            text=True,
        ) as process:
            connection, _ = silent.accept()
            process.send_signal(signal.SIGINT)
            _, errors = process.communicate(timeout=20)
            connection.close()
    assert process.returncode == 1
    assert errors.startswith("forwarder: interrupted\n")
    assert "Traceback" not in errors
