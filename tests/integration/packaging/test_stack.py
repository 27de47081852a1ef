"""The services of docker-compose.yml as processes: a notification in, an event out, everything on the dashboard.

Commands, environment and configuration files are the shipped ones; only addresses and paths are changed.
"""

import json
import os
import shutil
import socket
import subprocess
import sys
import time
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

import aiomqtt
import msgspec
import pytest

ROOT = Path(__file__).parents[3]
SERVICES: dict[str, dict[str, Any]] = msgspec.yaml.decode((ROOT / "docker-compose.yml").read_bytes())["services"]
FORWARDER = [sys.executable, "-m", "forwarder"]
# What a healthy minute has no samples for: nothing failed, nothing was throttled, and no source is about to expire.
SILENT = {"Dead letters", "Retries", "Pending source expires in"}


class Stack:
    """Where the parts listen."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.mqtt, self.emulator, self.forwarder, self.prometheus = (free_port() for _ in range(4))

    def get(self, port: int, path: str) -> Any:
        with urllib.request.urlopen(f"http://127.0.0.1:{port}{path}", timeout=5) as answer:
            return json.load(answer)

    def query(self, expression: str) -> list[dict[str, Any]]:
        answer = self.get(self.prometheus, f"/api/v1/query?query={urllib.parse.quote(expression)}")
        return list(answer["data"]["result"])


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def until(what: str, condition: Callable[[], Any], seconds: float = 60) -> Any:
    """Poll: these are other people's programs, which give no signal."""
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        try:
            if value := condition():
                return value
        except OSError:
            pass
        time.sleep(0.1)
    raise AssertionError(f"not within {seconds} s: {what}")


@contextmanager
def running(log: Path, *command: str, **environment: str) -> Iterator[None]:
    clean = {key: value for key, value in os.environ.items() if not key.startswith(("AWS_", "FORWARDER_"))}
    with log.open("wb") as output:
        process = subprocess.Popen(command, cwd=log.parent, env=clean | environment, stdout=output, stderr=output)
        try:
            yield
        finally:
            process.terminate()
            process.wait(30)


def program(name: str) -> str:
    found = shutil.which(name, path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")
    assert found, f"{name} is needed: `make test` installs it"
    return found


def mosquitto(stack: Stack) -> list[str]:
    text = (ROOT / "config/mosquitto/mosquitto.conf").read_text()
    text = text.replace("listener 1883", f"listener {stack.mqtt} 127.0.0.1")
    file = stack.folder / "mosquitto.conf"
    file.write_text(text.replace("/mosquitto/data/", f"{stack.folder}/") + "user root\n")
    return [program("mosquitto"), "-c", str(file)]


def emulator(stack: Stack) -> list[str]:
    return [*FORWARDER, *(word.replace("4010", str(stack.emulator)) for word in SERVICES["emulator"]["command"])]


def prometheus(stack: Stack) -> list[str]:
    folder = stack.folder / "prometheus"
    shutil.copytree(ROOT / "config/prometheus", folder)
    text = (folder / "prometheus.yml").read_text().replace("forwarder:8080", f"127.0.0.1:{stack.forwarder}")
    (folder / "prometheus.yml").write_text(text.replace("interval: 5s", "interval: 1s").replace("15s", "1s"))
    listen = f"--web.listen-address=127.0.0.1:{stack.prometheus}"
    file, data = f"--config.file={folder}/prometheus.yml", f"--storage.tsdb.path={folder}/data"
    return [program("prometheus"), file, data, listen]


def environment(stack: Stack) -> dict[str, str]:
    given = {key: str(value) for key, value in SERVICES["forwarder"]["environment"].items()}
    given["FORWARDER_ORGANIZATION_ID"] = given["FORWARDER_ORGANIZATION_ID"].partition(":-")[2].rstrip("}")
    given |= {"FORWARDER_ADMIN_TOKEN": "", "FORWARDER_VIEWER_TOKEN": ""}  # as Compose reads `${...:-}`
    return given | {
        "FORWARDER_MQTT_URL": f"mqtt://127.0.0.1:{stack.mqtt}",
        "AWS_ENDPOINT_URL_EVENTBRIDGE": f"http://127.0.0.1:{stack.emulator}",
        "FORWARDER_HTTP_PORT": str(stack.forwarder),
        "FORWARDER_STATE_DIR": str(stack.folder / "state"),
        "FORWARDER_INTEGRATIONS_DIR": str(stack.folder / "integrations"),
    }


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("stack")
    stack = Stack(folder)
    (folder / "integrations").mkdir()
    example = (ROOT / "config/integrations/crm-prod.env.example").read_text()
    enabled = example.replace("INTENDED_STATE=DISABLED", "INTENDED_STATE=ENABLED")
    (folder / "integrations/crm-prod.env").write_text(enabled)
    with ExitStack() as parts:
        parts.enter_context(running(folder / "mosquitto.log", *mosquitto(stack)))
        parts.enter_context(running(folder / "emulator.log", *emulator(stack)))
        until("emulator", lambda: stack.get(stack.emulator, "/_emulator/stats") is not None)
        parts.enter_context(running(folder / "forwarder.log", *FORWARDER, "run", **environment(stack)))
        parts.enter_context(running(folder / "prometheus.log", *prometheus(stack)))
        until("active", lambda: stack.query('forwarder_integration_state{state="ACTIVE"} == 1'))
        yield stack


async def test_a_notification_becomes_an_event(stack: Stack) -> None:
    body = b'{"topicName":"v2.users.7.presence","version":"2","eventBody":{"n":1.0}}'
    async with aiomqtt.Client("127.0.0.1", stack.mqtt) as client:
        for _ in range(50):
            await client.publish("v2/users/7/presence", body, qos=1)
            await client.publish("v2/users/7/presence", b"not json", qos=1)
    until("delivered", lambda: stack.query("sum(forwarder_deliveries_delivered_total) == 50"))
    events = stack.get(stack.emulator, "/_emulator/events")["events"]
    assert {event["detail-type"] for event in events} == {"v2.users.{id}.presence"}


def empty_panels(stack: Stack) -> set[str]:
    panels = json.loads((ROOT / "config/grafana/dashboards/forwarder.json").read_text())["panels"]
    return {
        panel["title"]
        for panel in panels
        for target in panel.get("targets", [])
        if not stack.query(target["expr"].replace("$__rate_interval", "1m").replace("$integration", ".*"))
    }


def test_every_panel_of_the_dashboard_has_something_to_show(stack: Stack) -> None:
    # A rate needs two scrapes after the first event.
    until("panels filled", lambda: empty_panels(stack) <= SILENT)


def test_a_healthy_stack_raises_no_alert(stack: Stack) -> None:
    rules = stack.get(stack.prometheus, "/api/v1/rules")["data"]["groups"][0]["rules"]
    assert len(rules) > 10
    assert [rule["name"] for rule in rules if rule["health"] == "err"] == []
    assert [sample["metric"]["alertname"] for sample in stack.query("ALERTS")] == []


def test_the_health_checks_of_the_compose_file_pass(stack: Stack) -> None:
    command = [word.replace("4010", str(stack.emulator)) for word in SERVICES["emulator"]["healthcheck"]["test"][2:]]
    assert subprocess.run([sys.executable, *command], check=False).returncode == 0
