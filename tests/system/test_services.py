"""Others' services at both ends: moto as AWS, down to the customer's queue; Prometheus with the shipped rules."""

import asyncio
import json
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import aiohttp
import botocore.session
import pytest
import yaml  # type: ignore[import-untyped]  # it ships no types

from tests.system.processes import ROOT, Program, free_port, program, until
from tests.system.rig import CRM, Rig, running

MOTO_SERVER = Path(sys.executable).with_name("moto_server")
CUSTOMER = "123456789012"  # moto's account for any key


@pytest.fixture
async def moto(tmp_path: Path) -> AsyncIterator[str]:
    port = free_port()
    server = Program("moto", tmp_path)
    await server.spawn(str(MOTO_SERVER), "-H", "127.0.0.1", "-p", str(port))
    await server.listening(port)
    yield f"http://127.0.0.1:{port}"
    await server.kill()


def customers_queue(endpoint: str) -> tuple[Any, str]:
    """The customer's side: a queue, and a rule on the bus that sends it everything of ours."""
    session = botocore.session.Session()
    session.set_credentials("test", "test")
    sqs = session.create_client("sqs", region_name="us-east-1", endpoint_url=endpoint)
    events = session.create_client("events", region_name="us-east-1", endpoint_url=endpoint)
    url = sqs.create_queue(QueueName="events")["QueueUrl"]
    arn = sqs.get_queue_attributes(QueueUrl=url, AttributeNames=["QueueArn"])["Attributes"]["QueueArn"]
    events.put_rule(Name="ours", EventPattern='{"source":[{"prefix":"aws.partner/genesys.com"}]}')
    events.put_targets(Rule="ours", Targets=[{"Id": "queue", "Arn": arn}])
    return sqs, url


async def test_an_event_goes_over_the_customers_bus_and_rule_into_a_queue(tmp_path: Path, moto: str) -> None:
    sqs, url = await asyncio.to_thread(customers_queue, moto)
    settings = {"AWS_ENDPOINT_URL_EVENTBRIDGE": moto}
    async with running(tmp_path, settings=settings, integrations={"crm": CRM | {"AWS_ACCOUNT_ID": CUSTOMER}}) as rig:
        body = b'{"topicName":"v2.users.7.presence","version":"2","eventBody":{"n":1.5}}'
        await rig.send("v2.users.7.presence", body)

        def received() -> list[dict[str, Any]] | None:
            messages: list[dict[str, Any]] | None = sqs.receive_message(QueueUrl=url, WaitTimeSeconds=1).get("Messages")
            return messages

        (message,) = await until(lambda: asyncio.to_thread(received), "the event is in the queue")
        await rig.quiet()
        assert (await rig.daemon.books("crm"))["delivered"] == 1
        event = json.loads(message["Body"])
        assert (event["source"], event["detail-type"], event["resources"]) == (
            "aws.partner/genesys.com/cloud/acme/crm",
            "v2.users.{id}.presence",
            [],
        )
        assert event["detail"]["eventBody"] == {"n": 1.5}
        # moto cannot list a source's accounts and answers 500; that is told, and nothing stops for it.
        (status,) = (await rig.daemon.status())["integrations"]
        assert status["state"] == "ACTIVE"
        assert await rig.daemon.stop() == 0


@pytest.fixture
async def prometheus(tmp_path: Path, rig: Rig) -> AsyncIterator[str]:
    """Scrapes the daemon, with the alert rules that the project ships."""
    port = free_port()
    configuration = yaml.safe_load((ROOT / "config/prometheus/prometheus.yml").read_text())
    configuration["global"] = {"scrape_interval": "500ms", "scrape_timeout": "400ms", "evaluation_interval": "500ms"}
    configuration["rule_files"] = [str(ROOT / "config/prometheus/alerts.yml")]
    configuration["scrape_configs"][0]["static_configs"] = [{"targets": [f"127.0.0.1:{rig.daemon.port}"]}]
    file = tmp_path / "prometheus.yml"
    file.write_text(yaml.safe_dump(configuration))
    server = Program("prometheus", tmp_path)
    await server.spawn(
        program("prometheus"),
        f"--config.file={file}",
        f"--storage.tsdb.path={tmp_path / 'prometheus'}",
        f"--web.listen-address=127.0.0.1:{port}",
    )
    await server.listening(port)
    yield f"http://127.0.0.1:{port}/api/v1"
    await server.kill()


async def asked(url: str, **parameters: str) -> Any:
    async with aiohttp.ClientSession() as session, session.get(url, params=parameters) as answer:
        found = await answer.json()
        return found.get("data")


async def test_prometheus_scrapes_the_counters_and_takes_the_alert_rules(rig: Rig, prometheus: str) -> None:
    await rig.publish(rate=200, seconds=1)
    await rig.settled()
    await rig.quiet()

    async def delivered() -> dict[str, int] | None:
        found = await asked(f"{prometheus}/query", query="forwarder_deliveries_delivered_total")
        counts = {each["metric"]["integration"]: int(each["value"][1]) for each in (found or {}).get("result", ())}
        return counts if sum(counts.values()) == rig.published else None

    assert await until(delivered, "Prometheus has the counters") == {"crm": 100, "audit": 100}
    groups = (await asked(f"{prometheus}/rules"))["groups"]
    shipped = yaml.safe_load((ROOT / "config/prometheus/alerts.yml").read_text())["groups"]
    assert [rule["name"] for group in groups for rule in group["rules"]] == [
        rule["alert"] for group in shipped for rule in group["rules"]
    ]

    async def evaluated() -> bool:
        rules = [rule for group in (await asked(f"{prometheus}/rules"))["groups"] for rule in group["rules"]]
        return all(rule["health"] == "ok" for rule in rules)

    await until(evaluated, "Prometheus can evaluate every rule")
    assert [alert["labels"]["alertname"] for alert in (await asked(f"{prometheus}/alerts"))["alerts"]] == []
