"""What must be known of our session with the broker: its topics in MQTT's form, and which of them it holds.

A broker keeps the subscriptions of a persistent session for ever, and MQTT 3.1.1 cannot list them. So they are
remembered in a file beside the spool, under the client id that they belong to: written before subscribing and after
unsubscribing, it never knows less than the broker does.
"""

import os
import secrets
from pathlib import Path

import msgspec


class SessionMemory(msgspec.Struct, frozen=True):
    """The file's content: whose session it is, and every subscription that the broker may hold in it."""

    client_id: str
    subscriptions: frozenset[str] = frozenset()


def load(path: Path, client_id: str | None) -> SessionMemory:
    """What is remembered for this client id or, with None, for the one that was made up the first time. An unreadable
    file counts as none: then stale subscriptions can only cost unmatched messages.

    Raises:
        OSError: a made-up client id cannot be written down.
    """
    try:
        memory = msgspec.json.decode(path.read_bytes(), type=SessionMemory)
    except (OSError, msgspec.DecodeError):
        memory = None
    if memory and client_id in (None, memory.client_id):
        return memory
    # 23 letters and digits are what every broker must accept (MQTT 3.1.1, section 3.1.3.1).
    memory = SessionMemory(client_id or f"forwarder{secrets.token_hex(7)}")
    if client_id is None:
        save(path, memory)
    return memory


def save(path: Path, memory: SessionMemory) -> None:
    """Replace the file in one step, on disk when this returns.

    Raises:
        OSError: it cannot be written; the old file is untouched.
    """
    path.parent.mkdir(parents=True, exist_ok=True)
    draft = path.with_suffix(".new")
    with draft.open("wb") as file:
        file.write(msgspec.json.encode(memory))
        file.flush()
        os.fsync(file.fileno())
    draft.replace(path)


def subscriptions(topic_filters: frozenset[str], root: str, group: str | None) -> frozenset[str]:
    """The MQTT subscriptions for dotted filters: slashes for dots, `+` for `*`, below the root, shared by the group.

    A filter that another one covers is left out: brokers may send a message once for each subscription that it matches
    (MQTT 3.1.1, section 3.3.5).
    """
    split = {topic_filter: tuple(topic_filter.split(".")) for topic_filter in topic_filters}
    least = (
        mine
        for topic_filter, mine in split.items()
        if not any(other != topic_filter and _covers(theirs, mine) for other, theirs in split.items())
    )
    prefix = f"$share/{group}/{root}" if group else root
    return frozenset(prefix + "/".join("+" if segment == "*" else segment for segment in path) for path in least)


def _covers(wide: tuple[str, ...], narrow: tuple[str, ...]) -> bool:
    """Whether every topic that matches `narrow` matches `wide`. A last `#` stands for one or more segments."""
    if wide[-1] == "#":
        wide, narrow = wide[:-1], narrow[: len(wide) - 1] if len(narrow) >= len(wide) else ()
    elif narrow[-1] == "#":
        return False
    return len(wide) == len(narrow) and all(w in ("*", n) and n != "#" for w, n in zip(wide, narrow, strict=True))


def dotted(topic: bytes, root: str) -> str:
    """The dotted form of an MQTT topic, without the root."""
    return topic.decode(errors="replace").removeprefix(root).replace("/", ".")
