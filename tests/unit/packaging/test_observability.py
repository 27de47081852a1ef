"""Alert rules, Prometheus configuration and dashboard, checked by promtool and against the metrics in the code."""

import json
import re
import shutil
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from forwarder.ops.metrics import metrics_table

ROOT = Path(__file__).parents[3]
ALERTS = ROOT / "config/prometheus/alerts.yml"
ALERT_TESTS = Path(__file__).with_name("alerts_test.yml")
DASHBOARD = ROOT / "config/grafana/dashboards/forwarder.json"
PROVISIONING = ROOT / "config/grafana/provisioning"


def promtool(*arguments: str | Path) -> None:
    program = shutil.which("promtool")
    assert program, "promtool is needed: apt-get install prometheus"
    done = subprocess.run([program, *arguments], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr


def exported_names() -> set[str]:
    """Every name a scrape can show, histograms with their three series."""
    names = set(re.findall(r"^\| `(\w+)` \| \w+", metrics_table(), re.MULTILINE))
    histograms = re.findall(r"^\| `(\w+)` \| histogram", metrics_table(), re.MULTILINE)
    return names | {name + end for name in histograms for end in ("_bucket", "_sum", "_count")}


def named_in(text: str) -> set[str]:
    return set(re.findall(r"\bforwarder_\w+", text))


def alert_names() -> list[str]:
    groups = msgspec.yaml.decode(ALERTS.read_bytes())["groups"]
    return [rule["alert"] for group in groups for rule in group["rules"]]


def panels() -> Iterator[dict[str, Any]]:
    yield from (panel for panel in json.loads(DASHBOARD.read_text())["panels"] if panel["type"] != "row")


def test_prometheus_configuration_and_rules_are_valid() -> None:
    promtool("check", "config", ROOT / "config/prometheus/prometheus.yml")


def test_alerts_fire_on_their_trouble_and_only_then() -> None:
    promtool("test", "rules", ALERT_TESTS)


@pytest.mark.parametrize("alert", alert_names())
def test_every_alert_is_tested_and_has_its_paragraph(alert: str) -> None:
    assert alert in ALERT_TESTS.read_text()
    assert f"\n### {alert}\n" in (ROOT / "docs/operations.md").read_text()


@pytest.mark.parametrize("file", [ALERTS, ALERT_TESTS, DASHBOARD], ids=lambda file: file.name)
def test_only_metrics_that_exist_are_used(file: Path) -> None:
    assert named_in(file.read_text()) - exported_names() == set()


def test_dashboard_queries_are_valid(tmp_path: Path) -> None:
    queries = [target["expr"] for panel in panels() for target in panel["targets"]]
    rules = [
        {"record": f"query:{number}", "expr": expr.replace("$__rate_interval", "1m").replace("$integration", ".*")}
        for number, expr in enumerate(queries)
    ]
    assert len(rules) > 30
    file = tmp_path / "rules.yml"
    file.write_bytes(msgspec.yaml.encode({"groups": [{"name": "dashboard", "rules": rules}]}))
    promtool("check", "rules", file)


def test_dashboard_shows_what_an_operator_asks_first() -> None:
    shown = named_in(DASHBOARD.read_text())
    assert shown >= {
        "forwarder_notifications_matched_total",
        "forwarder_notifications_unmatched_total",
        "forwarder_notifications_malformed_total",
        "forwarder_deliveries_delivered_total",
        "forwarder_deliveries_pending",
        "forwarder_deliveries_dead_lettered_total",
        "forwarder_delivery_seconds_bucket",
        "forwarder_put_requests_total",
        "forwarder_throttles_total",
        "forwarder_spool_bytes",
        "forwarder_spool_oldest_seconds",
        "forwarder_intake_connected",
        "forwarder_integration_state",
        "forwarder_event_source_state",
    }


def test_dashboard_panels_do_not_overlap_and_use_the_provisioned_source() -> None:
    taken: set[tuple[int, int]] = set()
    source = msgspec.yaml.decode((PROVISIONING / "datasources/prometheus.yml").read_bytes())["datasources"][0]["uid"]
    for panel in panels():
        place = panel["gridPos"]
        columns, rows = range(place["x"], place["x"] + place["w"]), range(place["y"], place["y"] + place["h"])
        cells = {(x, y) for x in columns for y in rows}
        assert not cells & taken, panel["title"]
        taken |= cells
        assert panel["datasource"]["uid"] == source
    assert max(x for x, _ in taken) == 23


def test_dashboard_ids_are_unique() -> None:
    ids = [panel["id"] for panel in json.loads(DASHBOARD.read_text())["panels"]]
    assert len(ids) == len(set(ids))
