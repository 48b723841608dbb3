"""What a run leaves as JSON: the document of ``--json`` and the metadata.json beside each result.

Both are versioned; docs/json.md describes them field by field.
"""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from gputx.models import Attempt, Cost, FileReport, Phase, RunReport
from gputx_remote.transcript import Segment, Word

VERSION = 1


def run_document(report: RunReport) -> dict[str, Any]:
    """The document that ``gputx run --json`` prints."""
    return {
        "version": VERSION,
        "run": {
            "id": report.id,
            "on": report.place,
            "started_at": _iso(report.started_at),
            "dry_run": report.dry_run,
            "error": report.ending.message if report.ending else None,
            **_where(report),
            "device": report.device,
            "phases": [_phase(phase) for phase in report.phases],
            "attempts": [_attempt(attempt) for attempt in report.attempts],
            "plan": [
                {"zone": p.zone, "instance_type": p.instance_type, "market": p.market, "hourly": p.hourly}
                for p in report.plan
            ],
            "cost": _cost(report.cost),
        },
        "files": [_file(file) for file in report.files],
    }


def metadata(report: RunReport, file: FileReport) -> dict[str, Any]:
    """The metadata.json of one file's results."""
    transcript = file.transcript
    seconds = transcript.duration_ms / 1000 if transcript else None
    processing = file.processing_seconds
    return {
        "version": VERSION,
        "run_id": report.id,
        **_where(report),
        "input": file.input,
        "language": transcript.language if transcript else None,
        "duration": seconds,
        "processing_time": processing,
        "real_time_factor": processing / seconds if processing is not None and seconds else None,
        "phases": [_phase(phase) for phase in report.phases],
        "cost": _cost(report.cost),
    }


def _where(report: RunReport) -> dict[str, Any]:
    """Where a run was and with what; None for what it had no use for."""
    instance, image = report.instance, report.image
    return {
        "instance_id": instance.id if instance else None,
        "instance_type": instance.instance_type if instance else None,
        "zone": instance.zone if instance else None,
        "market": instance.market if instance else None,
        "image": image.id if image else None,
        "model": report.model,
        "model_revision": report.model_revision,
    }


def _file(file: FileReport) -> dict[str, Any]:
    transcript = file.transcript
    return {
        "input": file.input,
        "text": transcript.text if transcript else None,
        "language": transcript.language if transcript else None,
        "duration": transcript.duration_ms / 1000 if transcript else None,
        "processing_time": file.processing_seconds,
        "segments": [_segment(segment) for segment in (transcript.segments if transcript else ())],
        "outputs": [str(path) for path in file.outputs],
        "s3": list(file.s3),
        "error": file.error,
    }


def _segment(segment: Segment) -> dict[str, Any]:
    return {
        "start": segment.start_ms / 1000,
        "end": segment.end_ms / 1000,
        "text": segment.text,
        "confidence": segment.confidence,
        "suspect": segment.suspect,
        "words": [_word(word) for word in segment.words] or None,
    }


def _word(word: Word) -> dict[str, Any]:
    return {
        "word": word.text,
        "start": word.start_ms / 1000,
        "end": word.end_ms / 1000,
        "probability": word.probability,
    }


def _phase(phase: Phase) -> dict[str, Any]:
    return {"name": phase.name, "start": round(phase.start, 3), "end": round(phase.end, 3)}


def _attempt(attempt: Attempt) -> dict[str, Any]:
    return {
        "zone": attempt.pool.zone,
        "instance_type": attempt.pool.instance_type,
        "market": attempt.pool.market,
        "hourly": attempt.pool.hourly,
        "code": attempt.code,
        "outcome": attempt.outcome,
        "start": round(attempt.start, 3),
        "end": round(attempt.end, 3),
    }


def _cost(cost: Cost | None) -> dict[str, Any]:
    """All None for a run that cost nothing that AWS bills (``--on local``, a dry run)."""
    return {
        "currency": "USD",
        "hourly": cost.hourly if cost else None,
        "billed_seconds": round(cost.billed_seconds, 1) if cost else None,
        "total": _dollars(cost.total) if cost else None,
        "on_demand_hourly": cost.on_demand_hourly if cost else None,
        "on_demand_total": _dollars(cost.on_demand_total) if cost else None,
    }


def _dollars(sum_: float | None) -> float | None:
    return None if sum_ is None else round(sum_, 6)


def _iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
