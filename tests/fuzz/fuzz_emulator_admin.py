"""The emulator's own API: a JSON answer to everything, and faults that are what was ordered.

Method, path and query in the first line; the rest is the body.
"""

import math

import msgspec

from forwarder.emulator.admin import Admin
from forwarder.emulator.faults import Ending, FaultRule, Faults
from forwarder.emulator.state import State
from forwarder.emulator.wire import SourceAccountRequest

SOURCE = "aws.partner/genesys.com/cloud/org/crm"
NOW = 1774055395.0


def check(data: bytes) -> None:
    state = State(auto_associate=True, max_sources=3, max_events=4, max_bytes=1000)
    state.create_source("us-east-1", SourceAccountRequest(name=SOURCE, account="123456789012"), NOW)
    faults = Faults()
    line, _, body = data.partition(b"\n")
    first, _, rest = line.partition(b" ")
    method, target = first.decode("ascii", "replace"), rest.decode("utf-8", "surrogateescape")  # as aiohttp has them
    answer = Admin(state, faults, lambda: NOW).handle(method, "/_emulator/" + target, body)
    assert isinstance(answer.body, bytes)
    content = msgspec.json.decode(answer.body)
    assert ("error" in content) == (answer.status != 200)
    for rule in faults.rules:
        assert msgspec.json.decode(msgspec.json.encode(rule), type=FaultRule) == rule
        check_fates(faults, rule)


def check_fates(faults: Faults, rule: FaultRule) -> None:
    sources = {rule.source or SOURCE}
    for _ in range(5):
        fate = faults.fate(rule.operation or "PutPartnerEvents", rule.region or "us-east-1", sources)
        assert math.isfinite(fate.delay)
        assert 0 <= fate.delay <= 1200
        assert (fate.error is not None) == (fate.ending is Ending.ERROR)
        if fate.error:
            assert fate.error.body()
            assert 400 <= fate.error.status < 600
