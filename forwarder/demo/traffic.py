"""Notifications as an organization's stream carries them: made up, and of the shapes and sizes seen in real ones."""

import itertools
import random
import uuid
from collections.abc import Iterator
from datetime import UTC, datetime
from typing import Any

import msgspec

USERS = 40
QUEUES = 6
PRESENCES = ("AVAILABLE", "BUSY", "AWAY", "BREAK", "MEAL", "MEETING", "OFFLINE")
ROUTING = ("IDLE", "INTERACTING", "NOT_RESPONDING", "OFF_QUEUE")


def notifications(seed: int) -> Iterator[tuple[str, bytes]]:
    """Pairs of topic and notification, for ever; their `eventBody.sequence` counts from 0. The same seed gives the same
    people and queues."""
    dice = random.Random(seed)  # noqa: S311  (a demonstration, not a secret)
    users = [str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in range(USERS)]
    queues = [str(uuid.UUID(int=dice.getrandbits(128), version=4)) for _ in range(QUEUES)]
    kinds = (_presence, _presence, _routing_status, _routing_status, _conversation, _queue_observation, _away_from_it)
    for number in itertools.count():
        topic, body = dice.choice(kinds)(dice, users, queues)
        envelope = {
            "topicName": topic,
            "version": "2",
            "eventBody": {**body, "sequence": number},
            "metadata": {"CorrelationId": str(uuid.UUID(int=dice.getrandbits(128), version=4))},
        }
        if number % 2:  # some streams stamp their notifications and some do not
            envelope["timestamp"] = _now()
        yield topic, msgspec.json.encode(envelope)


Made = tuple[str, dict[str, Any]]


def _presence(dice: random.Random, users: list[str], _: list[str]) -> Made:
    user, presence = dice.choice(users), dice.choice(PRESENCES)
    body = {
        "source": "PURECLOUD",
        "presenceDefinition": {"id": str(uuid.UUID(int=dice.getrandbits(128))), "systemPresence": presence},
        "primary": True,
        "message": "",
        "modifiedDate": _now(),
    }
    return f"v2.users.{user}.presence", body


def _routing_status(dice: random.Random, users: list[str], _: list[str]) -> Made:
    user = dice.choice(users)
    return f"v2.users.{user}.routingStatus", {
        "id": user,
        "routingStatus": {"userId": user, "status": dice.choice(ROUTING), "startTime": _now()},
    }


def _conversation(dice: random.Random, users: list[str], queues: list[str]) -> Made:
    conversation, user = str(uuid.UUID(int=dice.getrandbits(128))), dice.choice(users)
    return f"v2.detail.events.conversation.{conversation}.acd.start", {
        "eventTime": int(datetime.now(UTC).timestamp() * 1000),
        "conversationId": conversation,
        "participantId": str(uuid.UUID(int=dice.getrandbits(128))),
        "mediaType": "VOICE",
        "direction": "INBOUND",
        "queueId": dice.choice(queues),
        "userId": user,
    }


def _queue_observation(dice: random.Random, _: list[str], queues: list[str]) -> Made:
    queue = dice.choice(queues)
    metrics = [{"metric": name, "stats": {"count": dice.randrange(40)}} for name in ("oWaiting", "oInteracting")]
    return f"v2.analytics.queues.{queue}.observations", {
        "group": {"queueId": queue, "mediaType": "voice"},
        "data": [{"interval": _now(), "metrics": metrics}],
    }


def _away_from_it(dice: random.Random, users: list[str], _: list[str]) -> Made:
    """What none of the demonstration's filters wants."""
    user = dice.choice(users)
    return f"v2.users.{user}.voicemail.messages", {"id": user, "unread": dice.randrange(9)}


def _now() -> str:
    return datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%f")[:-3] + "Z"
