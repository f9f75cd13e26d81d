"""Counters and histograms in Prometheus' text format. No label names a tenant, a user, a key or a model.

A registry of its own, so that two gateways in one process do not mix; other rooms add theirs to `registry`.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest

TYPE: Final = b"text/plain; version=0.0.4; charset=utf-8"
OVERHEAD_S: Final = (0.0002, 0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.5)
LATENCY_S: Final = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0)


class Metrics:
    """What the relay counts. `route` is chat, responses, messages or other; all other labels have few values too."""

    def __init__(self) -> None:
        self.registry: Final = CollectorRegistry()
        registry = self.registry
        self.requests: Final = Counter(
            "tokenspace_requests",
            "Requests to providers by how they ended: done, gone, broken, refused, or ours for our own answer.",
            ("route", "ended", "status"),
            registry=registry,
        )
        self.injections: Final = Counter(
            "tokenspace_injections",
            "What became of the learned context: injected, nothing, late, failed, unread or encoded.",
            ("outcome",),
            registry=registry,
        )
        self.records: Final = Counter(
            "tokenspace_records", "Episodes handed to the recorder: kept, dropped or failed.", ("outcome",),
            registry=registry,
        )  # fmt: skip
        self.overhead: Final = Histogram(
            "tokenspace_overhead_seconds", "Time spent here before a request goes on.", buckets=OVERHEAD_S,
            registry=registry,
        )  # fmt: skip
        self.first_byte: Final = Histogram(
            "tokenspace_upstream_first_byte_seconds", "Until a provider's headers came.", ("route",),
            buckets=LATENCY_S, registry=registry,
        )  # fmt: skip
        # A label's counter is looked up once: they are few.
        self.request: Final = cache(self.requests.labels)
        self.injection: Final = cache(self.injections.labels)
        self.record: Final = cache(self.records.labels)
        self.waited: Final = cache(self.first_byte.labels)
        self.in_flight: Final = Gauge("tokenspace_in_flight", "Requests being relayed now.", registry=registry)

    def gauge(self, name: str, help: str, read: Callable[[], float]) -> None:
        """A value of another room that is asked for when metrics are, such as the length of a queue."""
        Gauge(name, help, registry=self.registry).set_function(read)

    def text(self) -> bytes:
        """Everything, in the text format."""
        return generate_latest(self.registry)
