"""The emulator's operations: an answer or one of the service's errors to every body.

The first byte chooses the operation; the bodies, of as many calls as there are lines, follow.
"""

import msgspec

from forwarder.emulator.faults import NO_FAULT, Operation
from forwarder.emulator.http import Emulator, _decode
from forwarder.emulator.wire import ApiError, PutRequest, SourceAccountRequest

SOURCE = "aws.partner/genesys.com/cloud/org/crm"
OPERATIONS = list(Operation)
NOW = 1774055395.0


def check(data: bytes) -> None:
    emulator = Emulator(credentials={}, auto_associate=True, max_sources=3, max_events=4, max_event_bytes=1000)
    emulator.state.create_source("us-east-1", SourceAccountRequest(name=SOURCE, account="123456789012"), NOW)
    first = data[0] if data else 0
    for number, body in enumerate(data[1:].split(b"\n")[:5]):
        operation = OPERATIONS[(first + number) % len(OPERATIONS)]
        try:
            call = _decode(operation, body)
            assert len(call.source_names()) >= 0
            answer = msgspec.json.decode(emulator._perform(operation, "us-east-1", call, NO_FAULT))
        except ApiError as error:
            msgspec.json.decode(error.body())
            continue
        if isinstance(call, PutRequest):
            failed = [entry for entry in answer["Entries"] if "ErrorCode" in entry]
            assert answer["FailedEntryCount"] == len(failed)
            assert len(answer["Entries"]) == len(call.entries or ())
            assert all(("EventId" in entry) != ("ErrorCode" in entry) for entry in answer["Entries"])
    for event in emulator.state.events(source=None, since=0, limit=None):
        msgspec.json.decode(event.envelope())
