"""Everything that is learnt of an account before anything is made in it."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import Executor, Future, ThreadPoolExecutor, wait
from dataclasses import dataclass, field
from typing import TypeVar

from gputx.aws import identity, images, network, pools, schedule, storage
from gputx.aws.session import AwsSession
from gputx.clock import Stop
from gputx.errors import ConfigurationError, InterruptedBySignal
from gputx.models import Image, Market, Pool
from gputx.ssh.payload import Payload, build_payload
from gputx.workflows.model import Engine
from gputx.workflows.story import Story

T = TypeVar("T")

_PAYLOAD_URL_SECONDS = 3600
_POLL_SECONDS = 0.2

NO_BUCKET = "none"


@dataclass(frozen=True)
class LaunchOptions:
    """What may be launched, and for how long. Durations are seconds."""

    instance_types: tuple[str, ...]
    zones: tuple[str, ...]
    markets: tuple[Market, ...]
    ttl: float
    max_cost: float | None
    """USD that the instances of a run may cost together; None for no bound but ``ttl``."""
    grace: float
    boot_timeout: float
    subnet: str | None
    cidrs: tuple[str, ...]
    volume_rate: int | None
    """MiB a second at which the disk is filled from its snapshot; None to fetch each block when it is first read."""


@dataclass(frozen=True)
class CloudOptions(LaunchOptions):
    """And what a run takes with it."""

    image: str | None
    bucket: str | None
    """A bucket's name, "none" for no S3, or None for ``transcription-<account id>``."""
    model: str | None
    """A hub id or a directory here; None for the model inside the image."""
    engine: Engine = field(default_factory=Engine)


@dataclass(frozen=True)
class Ground:
    """What a launch stands on. ``pools`` are best first; ``on_demand`` is USD an hour by instance type."""

    who: identity.Identity
    image: Image
    pools: tuple[Pool, ...]
    on_demand: dict[str, float]
    network: network.Network
    cidrs: tuple[str, ...]
    schedule_role: str | None
    """ARN of the role that the account's own lock acts as; None where it was not set up."""


@dataclass(frozen=True)
class Survey(Ground):
    """And what a run needs beside it."""

    bucket: str | None
    payload: Payload
    payload_url: str | None


def survey(session: AwsSession, options: CloudOptions, story: Story, *, only_look: bool = False) -> Survey:
    """Ask all questions side by side; launch nothing.

    Args:
        only_look: make nothing at all: the payload is not put into the bucket.

    Raises:
        ConfigurationError: credentials, region, image, network or bucket are missing or wrong.
        InputError: no pool fits what was allowed.
        AwsError: AWS refuses or does not answer.
    """
    with story.phase("pools") as phase, ThreadPoolExecutor(8, thread_name_prefix="survey") as together:
        who = together.submit(identity.whoami, session)
        payload = together.submit(build_payload)
        image = together.submit(images.find_image, session, options.image)
        stored = together.submit(_store_payload, session, options, who, payload, only_look)
        found = _ground(session, options, story, together, who=who, image=image)
        bucket, url = stored.result()
        phase.detail = _best(found)
        return Survey(**vars(found), bucket=bucket, payload=payload.result(), payload_url=url)


def look_round(session: AwsSession, options: LaunchOptions, story: Story, *, find_image: Callable[[], Image]) -> Ground:
    """What any launch has to know, asked side by side; nothing is made.

    Args:
        find_image: says what is to be booted.

    Raises what :func:`survey` raises, and what ``find_image`` does.
    """
    with story.phase("pools") as phase, ThreadPoolExecutor(8, thread_name_prefix="survey") as together:
        who = together.submit(identity.whoami, session)
        found = _ground(session, options, story, together, who=who, image=together.submit(find_image))
        phase.detail = _best(found)
        return found


def interruptible(session: AwsSession, stop: Stop, ask: Callable[[], T]) -> T:
    """What ``ask`` answers, asked in a thread that an interrupt need not wait for. It must make nothing.

    Raises:
        InterruptedBySignal: a stop was requested; the session is given up.
    """
    asking = ThreadPoolExecutor(1, thread_name_prefix="ask")
    try:
        answer = asking.submit(ask)
        while not answer.done():
            wait([answer], timeout=_POLL_SECONDS)
            stop.check()
        return answer.result()
    except InterruptedBySignal:
        session.give_up()
        raise
    finally:
        asking.shutdown(wait=False, cancel_futures=True)


def _best(found: Ground) -> str:
    return f"{len(found.pools)} pools, best: {found.pools[0]}"


def _ground(
    session: AwsSession,
    options: LaunchOptions,
    story: Story,
    together: Executor,
    *,
    who: Future[identity.Identity],
    image: Future[Image],
) -> Ground:
    where = together.submit(network.find_network, session, options.subnet)
    cidrs = together.submit(lambda: options.cidrs or (identity.public_cidr(session),))
    offers = together.submit(
        pools.survey, session, types=options.instance_types, zones=options.zones, markets=options.markets
    )
    role = together.submit(schedule.find_role, session)
    who.result()  # first of all: without credentials every other answer is a less helpful error
    image.result()
    reachable = where.result().subnets
    ranked = tuple(pool for pool in offers.result().pools if pool.zone in reachable)
    if not ranked:
        raise ConfigurationError(
            f"no subnet is in a zone that offers {', '.join(options.instance_types)}",
            hint="choose another --subnet, --zone or --instance-type",
        )
    for note in offers.result().notes:
        story.note(note)
    if role.result() is None:
        story.note(f"no role {schedule.ROLE}: the account's own lock is off (gputx setup makes it); the others hold")
    return Ground(
        who=who.result(),
        image=image.result(),
        pools=ranked,
        on_demand=dict(offers.result().on_demand),
        network=where.result(),
        cidrs=cidrs.result(),
        schedule_role=role.result(),
    )


def _store_payload(
    session: AwsSession,
    options: CloudOptions,
    who: Future[identity.Identity],
    payload: Future[Payload],
    only_look: bool,
) -> tuple[str | None, str | None]:
    """Check the bucket and put the payload there. Returns (bucket, presigned address), or Nones for no S3."""
    if options.bucket == NO_BUCKET:
        return None, None
    bucket = options.bucket or f"transcription-{who.result().account}"
    storage.check_bucket(session, bucket)
    if only_look:
        return bucket, None
    code = payload.result()
    return bucket, storage.put_payload(
        session, bucket, name=code.name, data=code.data, valid_seconds=_PAYLOAD_URL_SECONDS
    )
