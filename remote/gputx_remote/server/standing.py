"""How a server stands, for /metrics: looked up when it is asked for."""

from __future__ import annotations

from collections.abc import Iterator

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from gputx_remote.server.service import Service


class Standing(Collector):
    """Its model, its queue, its sessions."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        service = self._service
        yield _gauge("gputx_model_loaded", "Whether the model is loaded", service.rooms is not None)
        yield _gauge("gputx_draining", "Whether the server is about to end", service.draining)
        yield _gauge("gputx_live_sessions", "Live sessions now", service.live.total())
        if service.rooms is None:
            return
        jobs = service.rooms.jobs
        yield _gauge("gputx_jobs_running", "Jobs being transcribed", jobs.running)
        yield _gauge("gputx_jobs_waiting", "Jobs in the queue", jobs.waiting)
        yield _gauge("gputx_queue_seconds", "Seconds of audio that are not done", jobs.queued_seconds)
        yield _gauge("gputx_rate", "Seconds of audio a second, lately", jobs.rate)
        done = service.rooms.engine.statistics
        yield _count("gputx_model_turns", "Batches the model has decoded", done.turns)
        yield _count("gputx_model_windows", "Windows in them", done.windows)
        yield _count("gputx_model_seconds", "Seconds the model has worked", done.seconds)


def _count(name: str, text: str, value: float) -> Metric:
    return CounterMetricFamily(name, text, value=float(value))


def _gauge(name: str, text: str, value: float) -> Metric:
    return GaugeMetricFamily(name, text, value=float(value))
