"""docker-compose.yml against the Compose specification and against what the services' own files say."""

import json
import re
from pathlib import Path
from typing import Any

import msgspec
import pytest
from compose_spec import PyCompose

ROOT = Path(__file__).parents[3]
COMPOSE: dict[str, Any] = msgspec.yaml.decode((ROOT / "docker-compose.yml").read_bytes())
SERVICES: dict[str, dict[str, Any]] = COMPOSE["services"]


def bind_mounts() -> list[tuple[str, str]]:
    mounts = [(name, mount) for name, service in SERVICES.items() for mount in service.get("volumes", [])]
    return [(name, mount) for name, mount in mounts if mount.startswith(".")]


def test_it_follows_the_compose_specification() -> None:
    PyCompose.from_json(json.dumps(COMPOSE))


def test_the_check_itself_notices_mistakes() -> None:
    with pytest.raises(ValueError, match="read_onl"):
        PyCompose.from_json(json.dumps(COMPOSE).replace('"read_only"', '"read_onl"'))


def test_the_services_are_the_whole_picture() -> None:
    assert SERVICES.keys() == {"mosquitto", "emulator", "forwarder", "prometheus", "grafana"}


@pytest.mark.parametrize("name", SERVICES)
def test_every_service_is_restricted_and_probed(name: str) -> None:
    service = SERVICES[name]
    assert service["read_only"] is True
    assert service["cap_drop"] == ["ALL"]
    # The forwarder's probe is in its image.
    assert name == "forwarder" or "healthcheck" in service
    assert all(port.startswith("127.0.0.1:") for port in service["ports"])
    assert re.search(r":.*\d", service["image"]) or service["build"] == "."


def test_everyone_waits_for_health_of_what_exists() -> None:
    for service in SERVICES.values():
        for other, how in service.get("depends_on", {}).items():
            assert other in SERVICES
            assert how == {"condition": "service_healthy"}


@pytest.mark.parametrize(("name", "mount"), bind_mounts())
def test_mounted_files_exist_and_are_read_only(name: str, mount: str) -> None:
    source, _, options = mount.split(":")
    assert (ROOT / source).exists(), name
    assert options == "ro"


def test_named_volumes_are_declared() -> None:
    used = {mount.split(":")[0] for service in SERVICES.values() for mount in service.get("volumes", [])}
    assert {name for name in used if not name.startswith(".")} == COMPOSE["volumes"].keys()


def test_state_is_on_the_images_volume_and_integrations_where_it_looks() -> None:
    dockerfile = (ROOT / "Dockerfile").read_text()
    targets = [mount.split(":")[1] for mount in SERVICES["forwarder"]["volumes"]]
    assert f"VOLUME {targets[1]}\n" in dockerfile
    assert f"FORWARDER_STATE_DIR={targets[1]} " in dockerfile
    assert f"FORWARDER_INTEGRATIONS_DIR={targets[0]} " in dockerfile


def test_addresses_between_services_are_right() -> None:
    scrape = msgspec.yaml.decode((ROOT / "config/prometheus/prometheus.yml").read_bytes())["scrape_configs"][0]
    assert scrape["static_configs"][0]["targets"] == ["forwarder:8080"]
    environment = SERVICES["forwarder"]["environment"]
    assert environment["FORWARDER_MQTT_URL"] == "mqtt://mosquitto:1883"
    assert environment["AWS_ENDPOINT_URL_EVENTBRIDGE"] == "http://emulator:4010"
    assert "4010" in SERVICES["emulator"]["command"]


def test_grafana_finds_the_dashboard_where_it_is_mounted() -> None:
    provider = msgspec.yaml.decode((ROOT / "config/grafana/provisioning/dashboards/forwarder.yml").read_bytes())
    mounted = provider["providers"][0]["options"]["path"]
    assert f"./config/grafana/dashboards:{mounted}:ro" in SERVICES["grafana"]["volumes"]
    home = SERVICES["grafana"]["environment"]["GF_DASHBOARDS_DEFAULT_HOME_DASHBOARD_PATH"]
    assert home == f"{mounted}/forwarder.json"
