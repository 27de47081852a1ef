"""The emulator's check of signatures: no request is accepted but the one that was signed, and none breaks it.

A request as on the wire: the target in the first line, headers up to an empty line, then the body.
"""

from multidict import CIMultiDict

from forwarder.emulator.signature import HttpRequest, Verifier
from forwarder.emulator.wire import ApiError

NOW = 1774055395.0
VERIFIER = Verifier({"test": "test"}, frozenset({"us-east-1"}))
SIGNED_BODY = b'{"NamePrefix":"aws.partner/genesys.com/cloud"}'


def check(data: bytes) -> None:
    head, _, body = data.partition(b"\n\n")
    # As aiohttp decodes them.
    target, *lines = head.decode("utf-8", "surrogateescape").split("\n")
    headers = CIMultiDict((name.strip(), value.strip()) for name, _, value in (line.partition(":") for line in lines))
    try:
        region = VERIFIER.verify(HttpRequest("POST", target, headers, body), NOW)
    except ApiError as error:
        error.body()
        return
    # Only the seed is signed; a mutation may change nothing but what its signature leaves out.
    assert region == "us-east-1"
    assert body == SIGNED_BODY
