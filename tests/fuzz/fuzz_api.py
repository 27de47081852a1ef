"""What clients send to the API: taken, or refused in the API's own words.

The first byte chooses what is expected. The first line is a query, the rest a body.
"""

import msgspec
from yarl import URL

from forwarder.api.dead_letters import Listing
from forwarder.api.models import CreateIntegration, IntegrationQuery, PageQuery, UpdateConfiguration, UpdateIntegration
from forwarder.api.reading import read_body, read_query
from forwarder.api.tap import TapQuery
from forwarder.ops.refusals import Refused

BODIES: list[type[msgspec.Struct]] = [CreateIntegration, UpdateIntegration, UpdateConfiguration]
QUERIES: list[type[msgspec.Struct]] = [PageQuery, IntegrationQuery, Listing, TapQuery]


def check(data: bytes) -> None:
    choice = data[0] if data else 0
    line, _, body = data[1:].partition(b"\n")
    body_class, query_class = BODIES[choice % len(BODIES)], QUERIES[choice // len(BODIES) % len(QUERIES)]
    try:
        value = read_body(body_class, body)
    except Refused as refusal:
        check_refusal(refusal)
    else:
        # What was taken is what its type says: it is taken again, as it is.
        assert msgspec.json.decode(msgspec.json.encode(value), type=body_class) == value
    target = line.decode("ascii", "replace")  # aiohttp refuses all else
    try:
        query = read_query(query_class, URL.build(path="/", query_string=target, encoded=True).query)
    except Refused as refusal:
        check_refusal(refusal)
    else:
        assert isinstance(query, query_class)


def check_refusal(refusal: Refused) -> None:
    response = refusal.response()
    assert isinstance(response.body, bytes)
    content = msgspec.json.decode(response.body)
    assert content["status"] == response.status == 400
    assert content["message"]
    assert len(content["details"]) == len(refusal.faults)
