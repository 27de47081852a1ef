"""The sink against moto's server, with credentials and endpoint from the real AWS session: an independent second
opinion on the form of the request. (moto answers `Entries: []` when all went well.)"""

from collections.abc import AsyncIterator

import pytest
from moto.server import ThreadedMotoServer

from forwarder.aws import AwsSession
from forwarder.model import Delivery, Destination, EntryResult, Notification, Verdict
from forwarder.sinks.base import SinkContext
from forwarder.sinks.eventbridge import PLUGIN

ACCOUNT = "123456789012"
DESTINATION = Destination(ACCOUNT, "us-east-1", "aws.partner/genesys.com/cloud/organization/crm-prod")


@pytest.fixture
async def aws(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[AwsSession]:
    server = ThreadedMotoServer("127.0.0.1", port=0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    monkeypatch.setenv("AWS_ENDPOINT_URL_EVENTBRIDGE", f"http://{host}:{port}")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "AKIDEXAMPLE")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "a secret key")
    session = AwsSession()
    yield session
    await session.close()
    server.stop()


async def test_a_partner_event_source_takes_our_entries(aws: AwsSession) -> None:
    client = await aws.client(DESTINATION.region)
    await client.create_partner_event_source(Name=DESTINATION.event_source_name, Account=ACCOUNT)
    sink = PLUGIN.create(PLUGIN.settings(), SinkContext(aws, 4, 262_144))
    notification = Notification("id", "v2.users.1.presence", b'{"n":1.0}', 1_774_055_395, 1.0)
    results = await sink.put(DESTINATION, [Delivery(1, notification, "crm", "v2.users.{id}.presence")] * 3)
    await sink.close()
    assert results == (EntryResult(Verdict.ACCEPTED),) * 3
