"""What may be chosen of an image, and which choices can't go together."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, fields

from gputx.errors import InputError

COMMIT = re.compile(r"[0-9a-f]{40}")


@dataclass(frozen=True)
class Options:
    """Choices that take the place of a profile's; None leaves the profile's."""

    base: str | None = None
    """An image id, ``ami-…``, or ``ssm:`` and the name of a Systems Manager parameter that holds one."""

    driver: str | None = None
    """NVIDIA's driver branch: ``580``."""

    cuda: str | None = None
    """The CUDA that torch is built for, which names the lock: ``cu130``."""

    python: str | None = None
    """``3.12``."""

    model: str | None = None
    """A Hugging Face id."""

    model_revision: str | None = None
    """Its commit, 40 hexadecimal digits."""

    def chosen(self) -> dict[str, str]:
        """Those that are set, by name."""
        pairs = ((field.name, getattr(self, field.name)) for field in fields(self))
        return {name: str(value) for name, value in pairs if value is not None}


OLDEST_DRIVER = 580
"""Of the branches that NVIDIA still mends, the oldest: for the long term, to June 2028. It runs every CUDA there is a
torch for. https://docs.nvidia.com/datacenter/tesla/drivers/615/supported-drivers-and-cuda-toolkit-versions.html"""

CUDA_BUILDS: dict[str, str | None] = {
    "cu118": "2.7",
    "cu121": "2.5",
    "cu124": "2.6",
    "cu126": None,
    "cu128": None,
    "cu129": None,
    "cu130": None,
    "cu132": None,
}
"""A CUDA that torch was built for → the last torch of which there is such a build, None where they go on.
https://pytorch.org/get-started/previous-versions/"""


@dataclass(frozen=True)
class Wish:
    """What an image would be made of: a profile's values with the options over them, and the locks there are."""

    driver: str
    cuda: str
    python: str
    base: str
    model: str
    model_revision: str
    has_gpu: bool
    hub: bool
    """Whether the model comes from the hub."""

    locks: tuple[str, ...]
    """The CUDA builds that there is a lock for."""


def refuse(wish: Wish) -> None:
    """End with the reason where no image can be made of it.

    Raises:
        InputError: says what can't be, why, and what can.
    """
    for rule in _RULES:
        for reason, instead in rule(wish):
            raise InputError(f"no image can be made like this: {reason}", hint=instead)


Reasons = Iterator[tuple[str, str]]


def _forms(wish: Wish) -> Reasons:
    if wish.has_gpu and not re.fullmatch(r"[0-9]{3}", wish.driver):
        yield f"{wish.driver!r} is no driver branch", "NVIDIA's branches are three digits: --driver 580"
    if wish.has_gpu and wish.cuda not in CUDA_BUILDS:
        yield f"torch has no build for {wish.cuda!r}", f"known: {', '.join(CUDA_BUILDS)}"
    if not re.fullmatch(r"3\.[0-9]{1,2}", wish.python):
        yield f"{wish.python!r} is no Python version", "say it like this: --python 3.12"
    if not re.fullmatch(r"ami-[0-9a-f]{8,17}|ssm:/[A-Za-z0-9_.\-/]+", wish.base):
        yield (
            f"{wish.base!r} names no base image",
            "an image id (--base ami-0123456789abcdef0) or a parameter (--base ssm:/aws/service/canonical/…)",
        )


def _pythons(wish: Wish) -> Reasons:
    minor = int(wish.python.split(".")[1])
    if minor < 11:
        yield f"Python {wish.python} is too old: gputx and transformers 5 need 3.11 or newer", "use --python 3.12"
    elif wish.has_gpu and wish.python != "3.12":
        yield (
            f"there is no lock for Python {wish.python}",
            "use --python 3.12, or make a lock for it as docs/ami.md says",
        )


def _drivers(wish: Wish) -> Reasons:
    if not wish.has_gpu:
        return
    known = " or ".join(f"--cuda {name}" for name in wish.locks)
    if last := CUDA_BUILDS[wish.cuda]:
        yield (
            f"the last torch built for {wish.cuda} is {last}, and transformers and the lock have a newer one",
            f"use {known} with --driver {OLDEST_DRIVER} or newer",
        )
    if int(wish.driver) < OLDEST_DRIVER:
        yield (
            f"NVIDIA mends driver {wish.driver} no longer; the oldest branch it does is {OLDEST_DRIVER}",
            f"use --driver {OLDEST_DRIVER}",
        )
    if wish.cuda.startswith("cu13"):
        yield (
            f"CTranslate2 is built for CUDA 12: with a torch for {wish.cuda} there would be two sets of CUDA libraries",
            f"use {known}",
        )
    if wish.cuda not in wish.locks:
        yield f"there is no lock for {wish.cuda}", f"use {known}, or make one as docs/ami.md says"


def _models(wish: Wish) -> Reasons:
    if not wish.hub:
        return
    if not re.fullmatch(r"[\w.\-]+/[\w.\-]+", wish.model):
        yield f"{wish.model!r} is no Hugging Face id", "say it like this: --model KBLab/kb-whisper-small"
    if not COMMIT.fullmatch(wish.model_revision):
        yield (
            f"revision {wish.model_revision!r} of the model can move: tomorrow's image would be another",
            "pin it by its 40-digit commit: --model-revision",
        )


_RULES: tuple[Callable[[Wish], Reasons], ...] = (_forms, _pythons, _drivers, _models)
