"""What is written, in which form, and how often."""

import io
import json
import logging
import warnings
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import pytest
import structlog

from forwarder.ops.logs import RateLimit, configure
from forwarder.ops.masking import Masker


@pytest.fixture(autouse=True)
def _restore() -> Iterator[None]:
    root = logging.getLogger()
    handlers, level, show = root.handlers[:], root.level, warnings.showwarning
    yield
    logging.captureWarnings(capture=False)
    warnings.showwarning = show
    logging.raiseExceptions = True
    root.handlers[:] = handlers
    root.setLevel(level)
    structlog.reset_defaults()


class Time:
    now = 0.0

    def __call__(self) -> float:
        return self.now


def lines(stream: io.StringIO) -> list[dict[str, Any]]:
    return [json.loads(line) for line in stream.getvalue().splitlines()]


def test_one_json_object_a_line_with_a_utc_stamp() -> None:
    stream = io.StringIO()
    configure("info", None, Masker([]), stream=stream)  # not a terminal: JSON
    structlog.get_logger().warning("put_failed", integration="crm", attempts=3)
    (line,) = lines(stream)
    stamp = datetime.fromisoformat(line.pop("timestamp"))
    assert stamp.tzinfo == UTC
    assert line == {"event": "put_failed", "level": "warning", "integration": "crm", "attempts": 3}


def test_the_libraries_lines_take_the_same_way() -> None:
    stream = io.StringIO()
    configure("info", "json", Masker(["hunter2"]), stream=stream)
    logging.getLogger("aiohttp.server").error("cannot reach %s with %s", "mqtt://u:pw@h", "hunter2")
    with warnings.catch_warnings(action="always"):
        warnings.warn("old thing", stacklevel=1)
    first, second = lines(stream)
    assert (first["event"], first["logger"]) == ("cannot reach mqtt://u:***@h with ***", "aiohttp.server")
    assert first["level"] == "error"
    assert "old thing" in second["event"]


def test_a_traceback_is_part_of_the_line_and_is_masked() -> None:
    stream = io.StringIO()
    configure("info", "json", Masker(["hunter2"]), stream=stream)
    try:
        raise ValueError("no hunter2 here")
    except ValueError:
        structlog.get_logger().exception("bug")
        logging.getLogger("asyncio").exception("theirs")
    for line in lines(stream):
        assert "ValueError: no *** here" in line["exception"]


def test_the_level_holds_for_ours_and_theirs() -> None:
    stream = io.StringIO()
    configure("warning", "json", Masker([]), stream=stream)
    structlog.get_logger().info("quiet")
    logging.getLogger("aiomqtt").info("quiet")
    assert lines(stream) == []


def test_botocore_never_debugs() -> None:
    stream = io.StringIO()
    configure("debug", "json", Masker([]), stream=stream)
    logging.getLogger("botocore.auth").debug("AWS4 secret stuff")
    logging.getLogger("botocore.auth").warning("fine")
    assert [line["event"] for line in lines(stream)] == ["fine"]


def test_the_console_form_is_for_people() -> None:
    stream = io.StringIO()
    configure("info", "console", Masker(["hunter2"]), stream=stream)
    structlog.get_logger().info("started", key="hunter2", port=8080)
    assert "started" in stream.getvalue()
    assert "port=8080" in stream.getvalue()
    assert "hunter2" not in stream.getvalue()


def test_repeated_lines_are_limited_and_counted() -> None:
    stream, time = io.StringIO(), Time()
    configure("info", "json", Masker([]), stream=stream, rate_limit=RateLimit(2, 10, time))
    log, theirs = structlog.get_logger(), logging.getLogger("theirs")
    for number in range(5):
        log.info("put_failed", integration="a", number=number)
        theirs.warning("failed %s", number)
    log.info("put_failed", integration="b")  # one integration's noise hides no other's
    assert [(line["event"], line.get("integration")) for line in lines(stream)] == [
        ("put_failed", "a"),
        ("failed 0", None),
        ("put_failed", "a"),
        ("failed 1", None),
        ("put_failed", "b"),
    ]
    time.now = 10.0
    log.info("put_failed", integration="a")
    theirs.warning("failed %s", 9)
    log.info("put_failed", integration="a")
    assert [line.get("suppressed") for line in lines(stream)[5:]] == [3, 3, None]


def test_the_limiter_forgets_kinds_it_has_not_seen_for_long() -> None:
    limit = RateLimit(1, 10, Time())
    for kind in range(5000):
        assert limit.admit(kind) == 0
    assert len(limit._windows) == 1000
    assert limit.admit(4999) is None


def test_a_closed_stream_stops_nobody() -> None:
    stream = io.StringIO()
    configure("info", "json", Masker([]), stream=stream)
    stream.close()
    structlog.get_logger().error("nobody reads this")
    logging.getLogger("x").error("nor this")
