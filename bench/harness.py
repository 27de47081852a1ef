"""The processes of a benchmark and what the operating system says of them. Linux and macOS; loopback only."""

import asyncio
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import sys
import urllib.request
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

MOSQUITTO = shutil.which("mosquitto", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")
START_SECONDS = 20.0
ORGANIZATION = "benchmark"
INTEGRATIONS = {"presence": "us-east-1", "routingStatus": "eu-west-1"}


class Usage(NamedTuple):
    """What a process has used: CPU seconds of all its threads, user and system, and resident bytes now."""

    cpu: float
    rss: int


def usage(pid: int) -> Usage:
    """Read from the operating system."""
    if sys.platform == "linux":
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        cpu = (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
        return Usage(cpu, int(fields[21]) * os.sysconf("SC_PAGE_SIZE"))
    out = subprocess.run(["ps", "-o", "time=,rss=", "-p", str(pid)], capture_output=True, text=True, check=True).stdout
    time_used, rss = out.split()
    minutes, _, seconds = time_used.rpartition(":")
    return Usage(int(minutes.rpartition(":")[2]) * 60 + float(seconds), int(rss) * 1024)


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def machine() -> str:
    """One line about what the numbers were measured on."""
    model = platform.processor() or platform.machine()
    info = Path("/proc/cpuinfo")
    if info.exists():
        names = [line.partition(":")[2].strip() for line in info.read_text().splitlines() if "model name" in line]
        model = names[0] if names else model
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{model}, {cores} cores, {platform.system()} {platform.release()}, Python {platform.python_version()}"


@contextmanager
def process(*command: str, env: Mapping[str, str] | None = None, log: Path) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program; end it with SIGTERM, and with SIGKILL if that does not help."""
    with log.open("ab") as output:
        running = subprocess.Popen(command, env={**os.environ, **(env or {})}, stdout=output, stderr=output)
        try:
            yield running
        finally:
            running.send_signal(signal.SIGTERM)
            try:
                running.wait(30)
            except subprocess.TimeoutExpired:
                running.kill()
                running.wait()


@contextmanager
def mosquitto(directory: Path) -> Iterator[int]:
    """A broker that holds back nothing and forgets nothing. Gives its port."""
    if MOSQUITTO is None:
        raise SystemExit("bench: mosquitto is not installed")
    port = free_port()
    config = directory / "mosquitto.conf"
    config.write_text(
        f"listener {port} 127.0.0.1\nallow_anonymous true\npersistence false\n"
        "max_inflight_messages 0\nmax_queued_messages 0\nset_tcp_nodelay true\n"
    )
    with process(MOSQUITTO, "-c", str(config), log=directory / "mosquitto.log"):
        wait_for_port(port)
        yield port


def wait_for_port(port: int) -> None:
    async def wait() -> None:
        async with asyncio.timeout(START_SECONDS):
            while True:
                try:
                    _, writer = await asyncio.open_connection("127.0.0.1", port)
                except OSError:
                    await asyncio.sleep(0.02)
                else:
                    writer.close()
                    return

    asyncio.run(wait())


def write_integrations(directory: Path) -> Path:
    """Two integrations; each event is for exactly one of them."""
    target = directory / "integrations"
    target.mkdir()
    for name, region in INTEGRATIONS.items():
        (target / f"{name}.env").write_text(
            f'NAME="{name}"\nNOTES=""\nAWS_ACCOUNT_ID=123456789012\nAWS_ACCOUNT_REGION={region}\n'
            f"EVENT_SOURCE_SUFFIX={name}\nEVENT_FILTER=v2.users.{{id}}.{name}\nINTENDED_STATE=ENABLED\n"
        )
    return target


def forwarder_env(directory: Path, emulator_url: str, http_port: int) -> dict[str, str]:
    return {
        "FORWARDER_ORGANIZATION_ID": ORGANIZATION,
        "FORWARDER_INTEGRATIONS_DIR": str(directory / "integrations"),
        "FORWARDER_STATE_DIR": str(directory / "state"),
        "FORWARDER_HTTP_PORT": str(http_port),
        "FORWARDER_PUT_CALLS_PER_SECOND": "100000",
        "FORWARDER_PUT_CALLS_BURST": "100000",
        "FORWARDER_LOG_FORMAT": "json",
        "FORWARDER_LOG_LEVEL": "warning",
        "AWS_ENDPOINT_URL_EVENTBRIDGE": emulator_url,
        "AWS_ACCESS_KEY_ID": "test",
        "AWS_SECRET_ACCESS_KEY": "test",
        "PYTHONUNBUFFERED": "1",
    }


def get(url: str) -> Any:
    """JSON from one of ours."""
    with urllib.request.urlopen(url, timeout=10) as answer:  # noqa: S310  (http on loopback)
        return json.load(answer)
