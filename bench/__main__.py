"""`make bench`: events a second, CPU an event and latency of the whole daemon, stream in to emulator out.

    python -m bench [--events N] [--runs N]

All processes run on this machine: the feeder, the broker, the daemon and the emulator share its cores, so the rates are
what the machine does with all of them. CPU an event is the daemon process's alone, from the first delivery to the last.
"""

import argparse
import json
import statistics
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

from bench import steps
from bench.harness import (
    Usage,
    forwarder_env,
    free_port,
    get,
    machine,
    mosquitto,
    process,
    usage,
    wait_for_port,
    write_integrations,
)

LATENCY_RATE = 800
LATENCY_SECONDS = 15
PATIENCE_SECONDS = 300


class Run(NamedTuple):
    """One run's figures."""

    events_per_second: float
    cpu_us: float
    rss_mb: float
    entries_per_call: float


class Bed:
    """A daemon between a stream and the emulator, in a directory of its own."""

    def __init__(self, directory: Path, stack: ExitStack) -> None:
        self.directory = directory
        self.stack = stack
        self.ages = directory / "ages.json"
        self.emulator_port, self.http_port = free_port(), free_port()
        write_integrations(directory)
        self._target = ExitStack()
        command = (sys.executable, "-m", "bench.target", str(self.emulator_port), str(self.ages))
        self._target.enter_context(process(*command, log=directory / "emulator.log"))
        stack.push(self._target)
        wait_for_port(self.emulator_port)

    def start(self, env: dict[str, str]) -> int:
        """Start the daemon and wait until both its event sources exist. Returns its process id."""
        settings = forwarder_env(self.directory, f"http://127.0.0.1:{self.emulator_port}", self.http_port) | env
        command = (sys.executable, "-m", "forwarder", "run")
        return self.stack.enter_context(process(*command, env=settings, log=self.directory / "forwarder.log")).pid

    def feed(self, *arguments: str) -> None:
        command = (sys.executable, "-m", "bench.feeders", *arguments)
        self.stack.enter_context(process(*command, log=self.directory / "feeder.log"))

    def wait_until_ready(self) -> None:
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            time.sleep(0.05)
            try:
                status = get(f"http://127.0.0.1:{self.http_port}/api/status")
            except OSError:
                continue
            states = [each["state"] for each in status["integrations"]]
            if states.count("ACTIVE") == 2 and status["ready"]:
                time.sleep(0.5)  # for the subscriptions' confirmation
                return
        raise SystemExit("bench: the daemon did not become ready")

    def delivered(self) -> tuple[int, int]:
        """Entries and calls that the emulator has taken."""
        stats = get(f"http://127.0.0.1:{self.emulator_port}/_emulator/stats")
        return stats["entries"]["accepted"], stats["calls"]["total"]

    def measure(self, pid: int, count: int) -> Run:
        """From the first delivery to the last."""
        first = self._sample(pid, 1)
        last = self._sample(pid, count)
        events = last.entries - first.entries
        return Run(
            events / (last.at - first.at),
            (last.used.cpu - first.used.cpu) / events * 1e6,
            last.used.rss / 1e6,
            events / max(1, last.calls - first.calls),
        )

    def _sample(self, pid: int, at_least: int) -> "Sample":
        end = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < end:
            entries, calls = self.delivered()
            if entries >= at_least:
                return Sample(entries, calls, time.monotonic(), usage(pid))
            time.sleep(0.05)
        raise SystemExit(f"bench: {entries} of {at_least} events arrived")

    def latencies(self) -> list[float]:
        """Stop the emulator; seconds from an event's making to its arrival, of each."""
        self._target.close()
        return [float(age) for age in json.loads(self.ages.read_text())]


class Sample(NamedTuple):
    entries: int
    calls: int
    at: float
    used: Usage


@contextmanager
def bed() -> Iterator[Bed]:
    with tempfile.TemporaryDirectory(prefix="forwarder-bench-") as directory, ExitStack() as stack:
        yield Bed(Path(directory), stack)


def by_file(count: int) -> Run:
    with bed() as b:
        path = b.directory / "events.jsonl"
        fed = count + count // 4  # at the file's end the daemon stops, and could not be measured any more
        b.feed("file", str(path), str(fed))
        while not path.exists() or path.stat().st_size < fed * 1025:
            time.sleep(0.1)
        return b.measure(b.start({"FORWARDER_INTAKE": "file", "FORWARDER_FILE_PATH": str(path)}), count)


def by_websocket(count: int) -> Run:
    with bed() as b:
        port = free_port()
        b.feed("websocket", str(port), str(count))
        wait_for_port(port)
        env = {"FORWARDER_INTAKE": "websocket", "FORWARDER_WEBSOCKET_URL": f"ws://127.0.0.1:{port}"}
        return b.measure(b.start(env), count)


def by_mqtt(count: int) -> Run:
    with bed() as b:
        port = b.stack.enter_context(mosquitto(b.directory))
        pid = b.start({"FORWARDER_INTAKE": "mqtt", "FORWARDER_MQTT_URL": f"mqtt://127.0.0.1:{port}"})
        b.wait_until_ready()
        b.feed("mqtt", str(port), str(count))
        return b.measure(pid, count)


def latency() -> tuple[float, float, float]:
    """p50, p90 and p99 in milliseconds from publishing to arrival, at a steady rate."""
    with bed() as b:
        port = b.stack.enter_context(mosquitto(b.directory))
        b.start({"FORWARDER_INTAKE": "mqtt", "FORWARDER_MQTT_URL": f"mqtt://127.0.0.1:{port}"})
        b.wait_until_ready()
        count = LATENCY_RATE * LATENCY_SECONDS
        b.feed("mqtt", str(port), str(count), str(LATENCY_RATE))
        while b.delivered()[0] < count:
            time.sleep(1)
        cuts = statistics.quantiles(b.latencies(), n=100)
        return cuts[49] * 1000, cuts[89] * 1000, cuts[98] * 1000


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m bench")
    parser.add_argument("--events", type=int, default=100_000)
    parser.add_argument("--runs", type=int, default=3)
    options = parser.parse_args()
    print(f"{machine()}\n{options.events} events of 1024 bytes, two integrations, medians of {options.runs} runs\n")
    print("| stream | events/s | CPU µs an event | entries a call | resident MB at the end |\n|---|---|---|---|---|")
    for name, run in (("file", by_file), ("websocket", by_websocket), ("mqtt", by_mqtt)):
        runs = [run(options.events) for _ in range(options.runs)]
        rate, cpu, rss, fill = (statistics.median(values) for values in zip(*runs, strict=True))
        print(f"| {name} | {rate:,.0f} | {cpu:.0f} | {fill:.1f} | {rss:.0f} |", flush=True)
    p50, p90, p99 = latency()
    print(f"\nMQTT at {LATENCY_RATE} events/s, publishing to arrival: p50 {p50:.1f}, p90 {p90:.1f}, p99 {p99:.1f} ms")
    print("\nWhere the CPU of one event goes, each step alone:\n")
    steps.main()


if __name__ == "__main__":
    main()
