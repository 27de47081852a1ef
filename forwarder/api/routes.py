"""The API put together: its route tables, and what must hear of the daemon's doings."""

from collections.abc import Callable, Sequence

from aiohttp import web

from forwarder.api import catalogue, dead_letters, integrations, openapi
from forwarder.api.administration import Administration
from forwarder.api.tap import Tap
from forwarder.api.topic_rates import TopicRates
from forwarder.clock import Clock
from forwarder.spool.base import Record, Spool


class Api:
    """Everything under `/api` but the status. `offer` hears of what has become durable, `close` ends what goes on for
    ever."""

    def __init__(
        self,
        administration: Administration,
        *,
        spool: Spool,
        look: Callable[[str | None], None],
        templates: Sequence[str],
        clock: Clock,
    ) -> None:
        self.administration = administration
        self._tap = Tap(clock)
        self._rates = TopicRates(clock)
        described = [
            *catalogue.operations(administration.rules.regions, templates),
            *integrations.operations(administration),
            *dead_letters.operations(spool, look),
            self._tap.operation(),
            self._rates.operation(),
        ]
        self.operations = [*described, openapi.operation(described)]

    def routes(self) -> list[web.RouteDef]:
        """For the Http server's route table."""
        return [operation.route() for operation in self.operations]

    def offer(self, records: Sequence[Record]) -> None:
        """Hear of what has just become durable. On the hot path: once a batch."""
        self._rates.count(records)
        self._tap.offer(records)

    def close(self) -> None:
        """End the streams."""
        self._tap.close()
