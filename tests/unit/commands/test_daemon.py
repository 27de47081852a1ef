"""The daemon's server-sent events as a client reads them."""

from forwarder.commands.daemon import _events


def test_events_comments_and_line_ends() -> None:
    stream = b': watching\n\nevent: event\ndata: {"n":1}\n\n: nothing\n\n'
    stream += b'data:{"n":\r\ndata: 2}\r\n\r\nevent: end\ndata: {}\n\n'
    assert list(_events(iter(stream.splitlines(keepends=True)))) == [
        ("event", {"n": 1}),
        ("message", {"n": 2}),
        ("end", {}),
    ]


def test_an_event_that_was_cut_off_is_none() -> None:
    assert list(_events(iter([b"event: event\n", b'data: {"n":1']))) == []
