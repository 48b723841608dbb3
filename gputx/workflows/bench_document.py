"""The document of ``gputx bench --json``. Versioned; docs/json.md describes it field by field."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gputx.workflows.bench_report import BenchReport, Standing, Trial

VERSION = 1


def bench_document(report: BenchReport) -> dict[str, Any]:
    """Everything a bench found out."""
    run, instance, machine = report.run, report.run.instance, report.machine
    return {
        "version": VERSION,
        "bench": {
            "id": run.id,
            "on": run.place,
            "started_at": datetime.fromtimestamp(run.started_at, UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            "error": run.ending.message if run.ending else None,
            "input": report.input,
            "duration": report.duration_seconds,
            "language": report.language,
            "reference": report.reference,
            "reference_words": report.reference_words,
            "rounds": report.rounds,
            "model": run.model,
            "model_revision": run.model_revision,
            "device": report.device,
            "cpu": machine.cpu if machine else None,
            "cores": machine.cores if machine else None,
            "memory": machine.memory if machine else None,
            "gpu": machine.gpu if machine else None,
            "instance_id": instance.id if instance else None,
            "instance_type": instance.instance_type if instance else None,
            "zone": instance.zone if instance else None,
            "market": instance.market if instance else None,
            "cost": run.cost.total if run.cost else None,
            "picture": str(report.picture) if report.picture else None,
        },
        "contestants": [_contestant(standing) for standing in report.standings],
        "absent": [{"decoder": decoder, "packages": list(lacks)} for decoder, lacks in report.absent.items()],
    }


def _contestant(standing: Standing) -> dict[str, Any]:
    return {
        "algorithm": standing.choice.algorithm,
        "decoder": standing.choice.decoder,
        "compute_type": standing.choice.compute_type,
        "default": standing.default,
        "processing_time": _rounded(standing.seconds),
        "real_time_factor": _rounded(1 / standing.speed if standing.speed else None, 6),
        "speed": _rounded(standing.speed),
        "load_time": _rounded(standing.load_seconds),
        "first_text": _rounded(standing.first_text_seconds),
        "wer": _rounded(standing.word_error_rate, 6),
        "memory": standing.memory,
        "gpu_memory": standing.gpu_memory,
        "notes": list(standing.notes),
        "error": standing.error,
        "trials": [_trial(trial) for trial in standing.trials],
    }


def _trial(trial: Trial) -> dict[str, Any]:
    return {
        "processing_time": _rounded(trial.processing_seconds),
        "load_time": _rounded(trial.load_seconds),
        "first_text": _rounded(trial.first_text_seconds),
        "wer": _rounded(trial.word_error_rate, 6),
        "memory": trial.memory,
        "gpu_memory": trial.gpu_memory,
        "windows": trial.windows,
        "suspect": trial.suspect,
        "text": trial.text,
        "error": trial.error,
    }


def _rounded(value: float | None, digits: int = 3) -> float | None:
    return None if value is None else round(value, digits)
