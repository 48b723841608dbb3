"""Tables of what `gputx build-ami` did, and of the images there are."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from gputx.ami.recipe import Recipe
from gputx.aws.image_shelf import Shelved
from gputx.cli.render.words import columns, printable
from gputx.units import duration, money
from gputx.workflows.ami import chosen
from gputx.workflows.build_report import BuildReport, Fate


def built(report: BuildReport) -> str:
    """What ``gputx build-ami`` prints: every step, every check, and the image."""
    if report.found:
        return f"{report.image_id}  {report.image_name}  was built of the same inputs: nothing to build (--force)\n"
    text = ""
    if report.steps:
        rows = [
            (s.name, s.fate.value, duration(s.seconds) if s.seconds else "", printable(s.why)) for s in report.steps
        ]
        text += columns([("STEP", "FATE", "TIME", "WHY"), *rows]) + "\n"
    if report.checked:
        text += _checks(report) + "\n"
    if report.image_id:
        text += f"{report.image_id}  {report.image_name}\n"
    return text + _sum(report)


def planned(report: BuildReport, recipe: Recipe) -> str:
    """What ``gputx build-ami --dry-run`` prints."""
    if report.found:
        return built(report)
    steps = [(step.name, "would be run") for step in recipe.steps]
    steps += [(step.name, f"{Fate.REPLACED.value}: {step.replaced}") for step in recipe.replaced]
    pools = "".join(f"  {pool}{f' {money(pool.hourly)}/h' if pool.hourly else ''}\n" for pool in report.plan[:3])
    return (
        f"profile {report.profile}: {recipe.profile.title}\nbase {report.base}\nrecipe {report.recipe}\n\n"
        f"{columns([('STEP', 'PLAN'), *sorted(steps)])}\n"
        f"in the first of {len(report.plan)} pools with capacity:\n{pools}"
    )


def shelf(found: Sequence[Shelved], region: str) -> str:
    """What ``gputx ami list`` prints. ``*`` is the one that runs boot from."""
    if not found:
        return f"there is no gputx image in {region}: gputx build-ami makes one\n"
    best = chosen(found)
    rows = [
        (
            "*" if image is best else "",
            image.id,
            image.unfinished or "ready",
            "" if image.created_at is None else f"{datetime.fromtimestamp(image.created_at, UTC):%Y-%m-%d %H:%M}",
            f"{image.gb} GB" if image.gb else "",
            image.profile,
            image.recipe[:8],
            image.labels.get("gputx:model", ""),
            image.name,
        )
        for image in found
    ]
    head = ("", "IMAGE", "STATE", "MADE (UTC)", "DISK", "RECIPE", "INPUTS", "MODEL", "NAME")
    return columns([head, *[tuple(printable(cell) for cell in row) for row in rows]])


def details(image: Shelved) -> str:
    """What ``gputx ami show`` prints: all that is known of one image."""
    rows = [
        ("id", image.id),
        ("name", image.name),
        ("region", image.region),
        ("state", image.unfinished or "ready"),
        ("disk", f"{image.gb} GB"),
        ("snapshots", ", ".join(image.snapshots)),
        *sorted(image.labels.items()),
    ]
    return columns([tuple(printable(cell) for cell in row) for row in rows])


def doomed(images: Sequence[Shelved], kept: Sequence[Shelved], *, gone: bool) -> str:
    """What ``gputx ami prune`` prints."""
    word = "gone" if gone else "would go"
    rows = [(word, image.id, image.name, ", ".join(image.snapshots)) for image in images]
    rows += [("kept", image.id, image.name, "") for image in kept]
    return columns([("VERDICT", "IMAGE", "NAME", "SNAPSHOTS"), *rows]) if rows else "there is nothing to take away\n"


def _checks(report: BuildReport) -> str:
    """A row a check, a column a machine."""
    places = [checked.where for checked in report.checked]
    by_name: dict[str, dict[str, str]] = {}
    for checked in report.checked:
        for check in checked.checks:
            told = f"{check.fate.value} {check.seconds:.2f} s" if check.fate is not Fate.NOT_RUN else check.fate.value
            by_name.setdefault(check.name, {})[checked.where] = told
    rows = [(printable(name), *(told.get(place, "") for place in places)) for name, told in by_name.items()]
    return columns([("CHECK", *(place.upper() for place in places)), *rows])


def _sum(report: BuildReport) -> str:
    parts = [checked.said for checked in report.checked]
    if report.cost and report.cost.total is not None:
        parts.append(f"instances cost {money(report.cost.total)}")
    if report.directory:
        parts.append(f"logs in {report.directory}")
    return " · ".join(parts) + "\n" if parts else ""
