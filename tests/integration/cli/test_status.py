"""`forwarder status` against a server that speaks as the daemon does."""

import json
import subprocess
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any, ClassVar

import pytest

from forwarder.commands.output import duration

Forwarder = Callable[..., subprocess.CompletedProcess[str]]

STATUS: dict[str, Any] = {
    "version": "1.2.3",
    "now": 1000.0,
    "started_at": 1000.0 - 3700,
    "draining": False,
    "ready": False,
    "reasons": ["the spool is full: 5 of 5 bytes"],
    "intake": {"name": "mqtt", "connected": True, "detail": "broker:1883", "trouble": "no room"},
    "spool": {"bytes_used": 5, "bytes_limit": 5, "oldest_received_at": 910.0, "full": True, "oldest_seconds": 90.0},
    "integrations": [
        {"id": "crm", "state": "ACTIVE", "reason": "", "event_source": {"state": "PENDING", "expires_at": None}},
        {"id": "wfm", "state": "ERROR", "reason": "the event source is gone", "event_source": None},
    ],
    "books": {
        "intakes": {"mqtt": {"received": 9, "matched": 7, "unmatched": 2, "malformed": 0}},
        "integrations": {
            "crm": {
                "matched": 7,
                "delivered": 1234567,
                "expired": 0,
                "dead_lettered": {"oversize": 1, "refused": 2},
                "retried": {},
                "pending": 4,
            }
        },
    },
    "lanes": {"crm": {"trouble": "throttled [by AWS]"}},
    "regions": {"us-east-1": {"limit": 64, "in_flight": 3, "throttles": 11, "waited_seconds": 0.0}},
    "reload": {
        "successful": False,
        "problems": [{"message": "Invalid AWS Region", "source": "x.env", "line": 3, "key": "K", "hint": None}],
    },
}


class Handler(BaseHTTPRequestHandler):
    answer: ClassVar[tuple[int, bytes]]
    asked: ClassVar[list[tuple[str, str | None]]]

    def do_GET(self) -> None:
        type(self).asked.append((self.path, self.headers["Authorization"]))
        status, body = type(self).answer
        self.send_response(status)
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Stay silent."""


@pytest.fixture
def daemon() -> Iterator[type[Handler]]:
    class Answers(Handler):
        answer: ClassVar[tuple[int, bytes]] = (200, json.dumps(STATUS).encode())
        asked: ClassVar[list[tuple[str, str | None]]] = []
        port: ClassVar[int]

    with HTTPServer(("127.0.0.1", 0), Answers) as server:
        Answers.port = server.server_port
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield Answers
        server.shutdown()
        thread.join()


def test_shows_it_to_people(forwarder: Forwarder, daemon: Any) -> None:
    shown = forwarder("status", FORWARDER_HTTP_PORT=str(daemon.port), FORWARDER_VIEWER_TOKEN="the-viewer")
    assert (shown.returncode, shown.stderr) == (0, "")
    assert daemon.asked == [("/api/status", "Bearer the-viewer")]
    lines = [" ".join(line.split()) for line in shown.stdout.splitlines()]
    assert lines == [
        "forwarder 1.2.3, up 1 h 1 min, not ready",
        "the spool is full: 5 of 5 bytes",
        "intake mqtt, connected: broker:1883",
        "mqtt: 9 received, 7 matched, 2 unmatched, 0 malformed",
        "spool 5 B of 5 B, oldest pending 1 min 30 s",
        "files 1 problem(s)",
        "x.env:3: K: Invalid AWS Region",
        "",
        "INTEGRATION STATE SOURCE PENDING DELIVERED DEAD EXPIRED RETRIED TROUBLE",
        "crm ACTIVE PENDING 4 1234567 3 0 0 throttled [by AWS]",
        "wfm ERROR - 0 0 0 0 0 the event source is gone",
        "",
        "REGION IN FLIGHT LIMIT THROTTLES",
        "us-east-1 3 64 11",
    ]


def test_hands_it_to_scripts(forwarder: Forwarder, daemon: Any) -> None:
    shown = forwarder("status", "--json", "--url", f"http://127.0.0.1:{daemon.port}/")
    assert json.loads(shown.stdout) == STATUS
    assert daemon.asked == [("/api/status", None)]


@pytest.mark.parametrize(
    ("answer", "said"),
    [
        ((401, b'{"message": "A valid bearer token is needed.", "status": 401}'), "refuses: A valid bearer token"),
        ((200, b"<html>"), "is no forwarder"),
        ((200, b"[]"), "is no forwarder"),
    ],
)
def test_an_answer_that_is_none(forwarder: Forwarder, daemon: Any, answer: tuple[int, bytes], said: str) -> None:
    daemon.answer = answer
    shown = forwarder("status", FORWARDER_HTTP_PORT=str(daemon.port), FORWARDER_HTTP_HOST="0.0.0.0")
    assert (shown.returncode, shown.stdout) == (1, "")
    assert said in shown.stderr
    assert "Traceback" not in shown.stderr


@pytest.mark.parametrize(
    "change",
    [{"lanes": {"crm": "***"}}, {"spool": None}, {"regions": ["us-east-1"]}, {"reload": {"problems": [{"line": "x"}]}}],
)
def test_an_answer_of_another_form(forwarder: Forwarder, daemon: Any, change: dict[str, Any]) -> None:
    daemon.answer = (200, json.dumps(STATUS | change).encode())
    shown = forwarder("status", FORWARDER_HTTP_PORT=str(daemon.port))
    assert (shown.returncode, shown.stdout) == (1, "")
    assert "in another form than this command reads" in shown.stderr
    assert "Traceback" not in shown.stderr


def test_no_daemon(forwarder: Forwarder) -> None:
    shown = forwarder("status", "--url", "http://127.0.0.1:1")
    assert shown.returncode == 1
    assert "no daemon answers at http://127.0.0.1:1" in shown.stderr


@pytest.mark.parametrize("url", ["localhost:8080", "ftp://x", "http://x:port", "http://[x"])
def test_a_url_that_is_none(forwarder: Forwarder, url: str) -> None:
    shown = forwarder("status", "--url", url)
    assert (shown.returncode, shown.stdout) == (2, "")
    assert "is no URL" in shown.stderr


@pytest.mark.parametrize(
    ("seconds", "shown"), [(0.4, "0 s"), (62, "1 min 2 s"), (3600, "1 h 0 min"), (200_000, "2 d 7 h")]
)
def test_durations(seconds: float, shown: str) -> None:
    assert duration(seconds) == shown
