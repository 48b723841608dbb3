"""What is asked of ``gputx api up``, and how it is written down with the server that came of it."""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from gputx.iam import INSTANCE_ROLE
from gputx.models import Market
from gputx.workflows.hosts.survey import LaunchOptions
from gputx.workflows.model import Engine, ModelChoice
from gputx_remote.engine.choice import Choice


@dataclass(frozen=True)
class UpRequest:
    """What is wanted. Durations are seconds; ``options.ttl`` is the longest life."""

    options: LaunchOptions
    image: str | None
    model: ModelChoice | None
    """None for the one inside the image."""
    engine: Engine
    idle_timeout: float
    public: bool
    port: int
    """Where a server that is not public listens, on its own loopback."""
    cidrs: tuple[str, ...] = ()
    """Who may reach a public one; ``options.cidrs`` is who may reach SSH."""
    bucket: str | None = None
    """Where texts of jobs go, too: a bucket's name, "none" for no S3, None for ``transcription-<account id>``."""
    instance_role: str = INSTANCE_ROLE
    """The role that writes there, and its instance profile."""
    another: bool = False
    """Though one of this person's is up that was brought up from another machine."""
    token: str | None = None
    """None: that of the server there is, or a new one."""
    spent: float = 0.0
    """USD that servers have cost which this one takes the place of; they count for ``options.max_cost``."""
    chosen: frozenset[str] = frozenset()
    """What a person said: :data:`CHANGEABLE` and :data:`FIXED`. All else stays as it is with a server that runs."""


CHANGEABLE = frozenset({"model", "engine", "idle_timeout"})
"""What a server that runs is started again for."""

FIXED = frozenset({"max_lifetime", "max_cost"})
"""What it can't be given any more."""


def over(request: UpRequest, asked: UpRequest) -> UpRequest:
    """What a running server is to be: as it was asked for, but for what is chosen now."""
    said = {name: getattr(request, name) for name in request.chosen & CHANGEABLE}
    wanted = replace(asked, **said)
    return replace(wanted, model=wanted.model and replace(wanted.model, engine=wanted.engine))


def stored(request: UpRequest) -> dict[str, Any]:
    """A request as JSON, without the token: see :func:`restored`."""
    document = asdict(replace(request, token=None, chosen=frozenset()))
    del document["token"], document["chosen"]
    if request.model is not None and request.model.upload is not None:
        document["model"]["upload"] = str(request.model.upload)
    return document


def restored(document: dict[str, Any]) -> UpRequest:
    """The request that was stored.

    Raises:
        KeyError, TypeError, ValueError: another gputx has stored it.
    """
    options, model = document["options"], document["model"]
    listed = {name: tuple(options[name]) for name in ("instance_types", "zones", "cidrs")}
    markets = tuple(Market(market) for market in options["markets"])
    made = {
        "options": LaunchOptions(**options | listed | {"markets": markets}),
        "engine": _engine(document["engine"]),
        "cidrs": tuple(document["cidrs"]),
        "model": None,
    }
    if model is not None:
        upload = Path(model["upload"]) if model["upload"] else None
        made["model"] = ModelChoice(**model | {"upload": upload, "engine": _engine(model["engine"])})
    return UpRequest(**document | made)


def _engine(document: dict[str, Any]) -> Engine:
    return Engine(**document | {"choice": Choice(**document["choice"])})
