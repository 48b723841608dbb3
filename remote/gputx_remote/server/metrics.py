"""What Prometheus reads at /metrics. No label holds what a client may choose."""

from __future__ import annotations

from prometheus_client import (
    CollectorRegistry,
    Counter,
    Histogram,
    ProcessCollector,
    disable_created_metrics,
    generate_latest,
)
from prometheus_client.registry import Collector

_BUCKETS = (0.005, 0.02, 0.1, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 900, 3600)
"""Seconds: from an answer out of memory to an hour of audio on a CPU."""


class Metrics:
    """One server's counters."""

    def __init__(self) -> None:
        # A second series for every one, which says when it was first counted, is of no use to anybody here.
        disable_created_metrics()  # type: ignore[no-untyped-call] # it has no annotations
        self._registry = registry = CollectorRegistry()
        ProcessCollector(registry=registry)
        self._requests = Counter(
            "gputx_requests", "Requests answered", ("route", "method", "status"), registry=registry
        )
        self._seconds = Histogram(
            "gputx_request_seconds", "Seconds to the end of an answer", ("route",), buckets=_BUCKETS, registry=registry
        )
        self._refusals = Counter("gputx_refusals", "Requests refused, by error code", ("code",), registry=registry)
        self._bytes = Counter("gputx_upload_bytes", "Bytes of recordings received", registry=registry)
        self._audio = Counter("gputx_audio_seconds", "Seconds of audio taken on", registry=registry)
        text = "Jobs that somebody waited for, by how they ended"
        self._jobs = Counter("gputx_jobs_ended", text, ("state",), registry=registry)

    def answered(self, route: str, method: str, status: int, seconds: float) -> None:
        """An answer has been sent to its end."""
        self._requests.labels(route, method, str(status)).inc()
        self._seconds.labels(route).observe(seconds)

    def refused(self, code: str) -> None:
        """A request was refused."""
        self._refusals.labels(code).inc()

    def received(self, size: int) -> None:
        """A recording has come."""
        self._bytes.inc(size)

    def taken_on(self, seconds: float) -> None:
        """A job was made."""
        self._audio.inc(seconds)

    def ended(self, state: str) -> None:
        """A job ended while its client waited."""
        self._jobs.labels(state).inc()

    def watch(self, collector: Collector) -> None:
        """Have figures looked up, too, whenever somebody asks."""
        self._registry.register(collector)

    def text(self) -> bytes:
        """All of it, in Prometheus's text format."""
        return generate_latest(self._registry)
