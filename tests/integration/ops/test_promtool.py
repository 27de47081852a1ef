"""Prometheus' own linter reads the whole exposition."""

import shutil
import subprocess

import pytest

from forwarder.model import Reason
from forwarder.ops.metrics import Metrics
from forwarder.ops.snapshot import Snapshot


def test_promtool_has_nothing_to_say(snapshot: Snapshot) -> None:
    promtool = shutil.which("promtool")
    if promtool is None:
        pytest.fail("promtool is missing: install Debian's package `prometheus`")
    metrics = Metrics()
    metrics.observe_deliveries("crm", [0.004, 0.3])
    metrics.observe_put("us-east-1", Reason.THROTTLED, 0.03, 20)
    metrics.observe_commit(0.002)
    body, _ = metrics.render(snapshot, snapshot.started_at + 60)
    checked = subprocess.run([promtool, "check", "metrics"], input=body, capture_output=True, check=False)
    assert (checked.returncode, checked.stdout, checked.stderr) == (0, b"", b"")
