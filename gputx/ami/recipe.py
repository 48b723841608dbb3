"""The recipe of an image: ordered steps, the values they run with, what is uploaded for them, and a hash of it all.

The files are in ``ami/``. A builder puts :meth:`Recipe.files` into a directory of the instance, and runs
:meth:`Step.command` for each of :attr:`Recipe.steps` in order over SSH as the login user, who must be able to
``sudo`` without a password. A step prints progress on stdout, and what went wrong as the last line of stderr; it
needs no terminal and no stdin, does not mind its working directory, may be run again at any time, and ends with 0 or
with a status that :data:`FAILURES` explains.
"""

from __future__ import annotations

import hashlib
import re
import shlex
import tomllib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from gputx.ami.options import Options, Wish, refuse
from gputx.errors import ConfigurationError, InputError
from gputx.models import CONTRACT

DEFAULT_PROFILE = "t4"
PAYLOAD_NAME = "payload.pyz"
_STEP = re.compile(r"[0-9]{2}-[a-z0-9-]+\.sh")


class Failure(NamedTuple):
    """What an exit status of a step means."""

    what: str
    hint: str
    again: bool
    """Whether the same step may succeed if it is just run again."""


FAILURES: Mapping[int, Failure] = {
    10: Failure("a mirror, the hub or the network can't be reached", "try again: --resume", again=True),
    11: Failure("the disk is full", "give the builder a larger disk", again=False),
    12: Failure("a download is not what was pinned", "do not use it; look at what changed upstream", again=False),
    13: Failure("this machine is not what the profile is for", "choose another base or profile", again=False),
    14: Failure("something the step needs is missing", "the step's last line names it", again=False),
}
"""Any other status: the step's last line of stderr is all there is to say."""


@dataclass(frozen=True)
class Step:
    """One numbered script."""

    name: str
    """``30-python``."""

    path: Path
    """Where the script is on this machine."""

    applies: bool
    """Whether the profile has it; if not, ``replaced`` says why."""

    replaced: str = ""

    def command(self, root: str) -> str:
        """The shell words that run it as root on an instance.

        Args:
            root: the directory there that holds :meth:`Recipe.files`: an absolute path, not below /opt/transcribe.
        """
        quoted = shlex.quote(root)
        return f"sudo -n env AMI_ROOT={quoted} bash {quoted}/steps/{self.name}.sh"


@dataclass(frozen=True)
class Profile:
    """A machine that images are made for: ``ami/profiles/NAME.toml`` with the options over it."""

    name: str
    title: str
    architecture: str
    """As EC2 says it: ``x86_64``."""

    instance_types: tuple[str, ...]
    """To build on, the first that has capacity."""

    base: str
    """``ami-…``, or ``ssm:`` and the name of a parameter."""

    ssh_user: str
    disk_gib: int
    has_gpu: bool
    """Whether checks marked ``gpu`` apply."""

    model: str
    """The id that the image's tag and manifest give."""

    model_revision: str
    """A commit, or the SHA-256 of the weights of a model that is uploaded."""

    model_source: str
    """``hub``, or ``upload``: its files travel with the recipe."""

    lock: str
    """Name of the file in ``ami/lock``."""

    replaces: Mapping[str, str]
    """Name of a step → why this profile does without it."""

    environment: Mapping[str, str]
    """What steps and checks get beside the above."""


class File(NamedTuple):
    """To be uploaded, ``path`` relative with forward slashes."""

    path: str
    data: bytes
    executable: bool


@dataclass(frozen=True)
class Recipe:
    """A profile and the files that make an image of it."""

    root: Path
    profile: Profile
    options: Options
    all_steps: tuple[Step, ...]
    model_files: Mapping[str, Path] = field(default_factory=dict)
    """Of a model that is uploaded: name → file."""

    @property
    def steps(self) -> tuple[Step, ...]:
        """Those to run, in order."""
        return tuple(step for step in self.all_steps if step.applies)

    @property
    def replaced(self) -> tuple[Step, ...]:
        """Those that this profile declares it does without, and why."""
        return tuple(step for step in self.all_steps if not step.applies)

    @property
    def checks(self) -> Path:
        """The directory of the pytest-testinfra checks; ``ami/checks/conftest.py`` says how they are run."""
        return self.root / "checks"

    def environment(self) -> dict[str, str]:
        """What every step and every check reads: names are shell variables."""
        profile = self.profile
        return {
            "PROFILE": profile.name,
            "CONTRACT": str(CONTRACT),
            "RECIPE": self.digest(),
            "ARCHITECTURE": profile.architecture,
            "SSH_USER": profile.ssh_user,
            "HAS_GPU": "yes" if profile.has_gpu else "no",
            "MODEL": profile.model,
            "MODEL_REVISION": profile.model_revision,
            "MODEL_SOURCE": profile.model_source,
            "LOCK": profile.lock,
            **profile.environment,
        }

    def environment_file(self) -> str:
        """``profile.env``: :meth:`environment` as shell assignments."""
        return "".join(f"{name}={shlex.quote(value)}\n" for name, value in self.environment().items())

    def files(self, payload: bytes) -> tuple[File, ...]:
        """All that the steps need on the instance.

        Args:
            payload: ``gputx_remote`` as one zip (:func:`gputx.ssh.payload.build_payload`), which converts the model and
                transcribes during the bake. It stays beside the steps and does not get into the image.
        """
        uploaded = [File(path, file.read_bytes(), path.endswith(".sh")) for path, file in self._inputs()]
        uploaded.append(File("profile.env", self.environment_file().encode(), executable=False))
        uploaded.append(File(PAYLOAD_NAME, payload, executable=False))
        return tuple(uploaded)

    def digest(self, base: str = "") -> str:
        """A hash of all that goes into an image, hexadecimal: the same inputs give the same on any machine.

        The checks and the payload do not go in.

        Args:
            base: the id of the image that the base resolved to.
        """
        digest = hashlib.sha256(f"recipe 1\0{CONTRACT}\0{base}\0{self.profile!r}\0".encode())
        for path, file in self._inputs():
            data = file.read_bytes()
            digest.update(f"{path}\0{len(data)}\0".encode())
            digest.update(data)
        return digest.hexdigest()

    def tags(self) -> dict[str, str]:
        """The tags of image contract 1 that the recipe knows; ``gputx:ssh-port`` is the builder's to say."""
        return {
            "gputx:contract": str(CONTRACT),
            "gputx:model": self.profile.model,
            "gputx:model-revision": self.profile.model_revision,
            "gputx:ssh-user": self.profile.ssh_user,
        }

    def _inputs(self) -> Iterator[tuple[str, Path]]:
        """(path on the instance, file here), sorted by path."""
        found = {f"steps/{step.name}.sh": step.path for step in self.steps}
        found["lib.sh"] = self.root / "lib.sh"
        for folder in ("files", "units", "lock"):
            for file in sorted((self.root / folder).rglob("*")):
                path = file.relative_to(self.root).as_posix()
                if file.is_file() and not _is_litter(path) and (folder != "lock" or self._has_lock(file.name)):
                    found[path] = file
        found |= {f"model/{name}": file for name, file in self.model_files.items()}
        yield from sorted(found.items())

    def _has_lock(self, name: str) -> bool:
        return name in (self.profile.lock, "python.txt")


def load(profile: str = DEFAULT_PROFILE, options: Options | None = None, *, root: Path | None = None) -> Recipe:
    """The recipe of a profile.

    Args:
        profile: the name of a file in ``ami/profiles``.
        options: what is to be other than the profile says.
        root: another ``ami/``.

    Raises:
        InputError: no such profile, or options that can't go together: says why, and what can.
        ConfigurationError: ``root`` is no recipe.
    """
    options = options or Options()
    root = root or recipe_root()
    values = _read(root, profile)
    chosen = _with_options(profile, values, options, _locks(root))
    names = sorted(path for path in (root / "steps").iterdir() if _STEP.fullmatch(path.name))
    unknown = set(chosen.replaces) - {path.stem for path in names}
    if not names or unknown:
        missing = ", ".join(sorted(unknown)) or "steps"
        raise ConfigurationError(f"the recipe in {root} is not whole: {missing} missing", hint="install gputx again")
    steps = tuple(
        Step(path.stem, path, path.stem not in chosen.replaces, chosen.replaces.get(path.stem, "")) for path in names
    )
    return Recipe(root, chosen, options, steps, _model_files(chosen))


def profiles(root: Path | None = None) -> dict[str, str]:
    """Name → one line about it."""
    root = root or recipe_root()
    return {path.stem: _read(root, path.stem)["title"] for path in sorted((root / "profiles").glob("*.toml"))}


def recipe_root() -> Path:
    """The directory ``ami/``: in an installed gputx beside this file, in a checkout at its top.

    Raises:
        ConfigurationError: it is in neither place.
    """
    here = Path(__file__).parent
    for candidate in (here / "tree", here.parent.parent / "ami"):
        if (candidate / "lib.sh").is_file():
            return candidate
    raise ConfigurationError("gputx was installed without its recipe for images", hint="install gputx again")


def _read(root: Path, profile: str) -> dict[str, Any]:
    path = root / "profiles" / f"{profile}.toml"
    if not re.fullmatch(r"[a-z0-9-]+", profile) or not path.is_file():
        known = ", ".join(sorted(file.stem for file in (root / "profiles").glob("*.toml")))
        raise InputError(f"there is no profile {profile!r}", hint=f"profiles: {known}")
    return tomllib.loads(path.read_text(encoding="utf-8"))


def _with_options(name: str, values: dict[str, Any], options: Options, locks: tuple[str, ...]) -> Profile:
    environment = {key: str(value) for key, value in values["environment"].items()}
    model = values["model"]
    has_gpu = bool(values["gpu"])
    _refuse_strangers(name, options, has_gpu=has_gpu, hub=model["source"] == "hub")
    moved = options.model is not None and options.model != model["id"] and options.model_revision is None
    wish = Wish(
        driver=options.driver or environment.get("DRIVER_BRANCH", ""),
        cuda=options.cuda or environment.get("CUDA_BUILD", ""),
        python=options.python or environment["PYTHON_VERSION"],
        base=options.base or values["base"],
        model=options.model or model["id"],
        model_revision="" if moved else options.model_revision or model["revision"],
        has_gpu=has_gpu,
        hub=model["source"] == "hub",
        locks=locks,
    )
    refuse(wish)
    environment["PYTHON_VERSION"] = wish.python
    if has_gpu:
        environment |= {"DRIVER_BRANCH": wish.driver, "CUDA_BUILD": wish.cuda}
    own_model = (wish.model, wish.model_revision) == (model["id"], model["revision"])
    environment["MODEL_SHA256"] = model["sha256"] if own_model else ""
    return Profile(
        name=name,
        title=values["title"],
        architecture=values["architecture"],
        instance_types=tuple(values["instance_types"]),
        base=wish.base,
        ssh_user=values["ssh_user"],
        disk_gib=int(values["disk_gib"]),
        has_gpu=has_gpu,
        model=wish.model,
        model_revision=wish.model_revision,
        model_source=model["source"],
        lock=f"gpu-{wish.cuda}.txt" if has_gpu else values["lock"],
        replaces=dict(values.get("replaces", {})),
        environment=environment,
    )


def _refuse_strangers(name: str, options: Options, *, has_gpu: bool, hub: bool) -> None:
    """Options that a profile has no use for are no options."""
    strangers = {*(() if has_gpu else ("driver", "cuda", "python")), *(() if hub else ("model", "model_revision"))}
    for option in options.chosen():
        if option in strangers:
            flag = f"--{option.replace('_', '-')}"
            raise InputError(
                f"profile {name} has no {flag}", hint=f"leave {flag} out, or use --recipe {DEFAULT_PROFILE}"
            )


def _locks(root: Path) -> tuple[str, ...]:
    found = sorted((root / "lock").glob("gpu-*.txt"), reverse=True)
    return tuple(path.stem.removeprefix("gpu-") for path in found)


def _model_files(profile: Profile) -> dict[str, Path]:
    if profile.model_source != "upload":
        return {}
    # The one model that gputx carries.
    folder = Path(__file__).parent.parent / "sandbox" / "tiny_sv"
    return {file.name: file for file in sorted(folder.iterdir()) if file.is_file() and not _is_litter(file.name)}


def _is_litter(path: str) -> bool:
    return any(part.startswith(".") or part == "__pycache__" for part in path.split("/"))
