"""The emulator as a benchmark's target, without quotas; at the end it writes down how old each event was on arrival.

python -m bench.target PORT FILE
"""

import asyncio
import json
import signal
import sys
import time
from pathlib import Path

import msgspec
import uvloop

from forwarder.emulator.event_log import Event, EventLog
from forwarder.emulator.http import Emulator


class Body(msgspec.Struct):
    sent: float


class Detail(msgspec.Struct):
    body: Body = msgspec.field(name="eventBody")


class Stopwatch(EventLog):
    """Keeps, of each event, when it came."""

    arrivals: list[tuple[float, bytes]]

    def append(self, event: Event) -> None:
        self.arrivals.append((time.time(), event.detail))
        super().append(event)


async def main(port: int, file: str) -> None:
    emulator = Emulator(port=port, auto_associate=True, put_calls_per_second=None)
    log = emulator.state.log = Stopwatch(max_events=1, max_bytes=1 << 20)
    log.arrivals = []
    stop = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, stop.set)
    async with emulator:
        await stop.wait()
    decoder = msgspec.json.Decoder(Detail)
    ages = [came - decoder.decode(detail).body.sent for came, detail in log.arrivals]
    await asyncio.to_thread(Path(file).write_text, json.dumps(ages))


if __name__ == "__main__":
    uvloop.run(main(int(sys.argv[1]), sys.argv[2]))
