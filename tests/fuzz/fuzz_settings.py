"""The daemon's own env file: values or problems, never an exception; and the headers of the WebSocket's handshake."""

import tempfile
from pathlib import Path

from forwarder.given import read_env_file
from forwarder.intake.websocket_settings import parse_headers


def check(data: bytes) -> None:
    with tempfile.NamedTemporaryFile() as file:
        file.write(data)
        file.flush()
        given, problems = read_env_file(Path(file.name))
    lines = [each.line for each in given.values()] + [problem.line for problem in problems]
    last = data.count(b"\n") + data.count(b"\r") + 1
    assert all(1 <= line <= last for line in lines if line is not None)
    try:
        headers = parse_headers(data.decode(errors="replace"))
    except ValueError:
        return
    assert {type(text) for header in headers.items() for text in header} <= {str}
