"""What the commands of ``gputx ami`` print with --json; docs/json.md describes it field by field."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from gputx.aws.image_shelf import Shelved
from gputx.workflows.ami import Copied, Pruned, chosen

VERSION = 1


def shelf_document(found: Sequence[Shelved]) -> dict[str, Any]:
    """Of ``gputx ami list``."""
    return {"version": VERSION, "images": [_image(image, chosen(found)) for image in found]}


def image_document(image: Shelved, found: Sequence[Shelved]) -> dict[str, Any]:
    """Of ``gputx ami show``."""
    return {"version": VERSION, "image": _image(image, chosen(found))}


def pruned_document(pruned: Pruned) -> dict[str, Any]:
    """Of ``gputx ami prune``, or of a rehearsal of it."""
    return {
        "version": VERSION,
        "dry_run": pruned.dry_run,
        "due": [image.id for image in pruned.due],
        "gone": [image.id for image in pruned.gone],
        "kept": [image.id for image in pruned.kept],
        "failed": pruned.failed,
    }


def copy_document(copied: Copied) -> dict[str, Any]:
    """Of ``gputx ami copy``."""
    return {
        "version": VERSION,
        "source": copied.source,
        "region": copied.region,
        "image": copied.image_id,
        "found": copied.found,
    }


def _image(image: Shelved, best: Shelved | None) -> dict[str, Any]:
    return {
        "id": image.id,
        "name": image.name,
        "region": image.region,
        "state": image.state,
        "unfinished": image.unfinished,
        "chosen": image is best,
        "created_at": image.created_at,
        "disk_gb": image.gb,
        "snapshots": list(image.snapshots),
        "tags": dict(image.labels),
    }
