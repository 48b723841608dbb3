"""A system to run the recipe in as root: a debootstrapped one, with namespaces of its own, on an overlay.

The distribution's own apt, dpkg, sudo and systemd are there for real; what is missing is a boot: nothing is started.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from urllib.parse import unquote, urlsplit

CACHE = Path("/var/cache/gputx-ami")
UBUNTU_KEYS = Path("/usr/share/keyrings/ubuntu-archive-keyring.gpg")
CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
MIRRORS = {
    "bookworm": "http://deb.debian.org/debian",
    "jammy": "http://archive.ubuntu.com/ubuntu",
}
# What a cloud image has and a bare system does not. Ubuntu's for EC2 have its kernel for them, and restart services
# and update themselves unasked.
INCLUDED = {
    "bookworm": "ca-certificates systemd sudo dbus",
    "jammy": "ca-certificates systemd sudo dbus cloud-init openssh-server kmod cpio linux-image-aws needrestart "
    "rsyslog unattended-upgrades man-db",
}
_ENTER = """
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$1,upperdir=$2/upper,workdir=$2/work" "$2/root"
cd "$2/root"
mount -t proc proc proc
mount -t sysfs -o ro sysfs sys
mount --rbind /dev dev
mount --bind "$2/run" run
for folder in "${@:4}"; do
    mkdir -p ".$folder" && mount -o bind,ro "$folder" ".$folder"
done
cat /etc/resolv.conf > run/resolv.conf
hostname room && echo "127.0.0.1 localhost room" > etc/hosts
rm -f etc/resolv.conf && ln -s /run/resolv.conf etc/resolv.conf
path=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
exec chroot . /usr/bin/env -i PATH=$path HOME=/root LANG=C.UTF-8 bash -c "$3"
"""


@dataclass
class Room:
    """An overlay over a base system; ``run`` uses it as one machine after another, ``/run`` stays between them."""

    base: Path
    place: Path

    @classmethod
    def make(cls, base: Path, place: Path) -> Room:
        for folder in ("upper", "work", "root", "run"):
            (place / folder).mkdir(parents=True)
        (place / "upper" / "etc").mkdir()
        (place / "upper" / "etc" / "pip.conf").write_text(pip_settings(), encoding="utf-8")
        return cls(base, place)

    def copy(self, place: Path) -> Room:
        """As it is now."""
        place.mkdir(parents=True)
        for folder in ("upper", "run"):
            subprocess.run(["cp", "-a", "--reflink=auto", str(self.place / folder), str(place / folder)], check=True)
        for folder in ("work", "root"):
            (place / folder).mkdir()
        return Room(self.base, place)

    def run(self, command: str, *, live: bool = False) -> subprocess.CompletedProcess[bytes]:
        """A shell command as root in there."""
        enter = [
            "unshare",
            "--mount",
            "--pid",
            "--uts",
            "--ipc",
            "--fork",
            "--kill-child",
            "bash",
            "-c",
            _ENTER,
            "enter",
        ]
        whole = [*enter, str(self.base), str(self.place), command, *pip_folders()]
        return subprocess.run(whole, check=False, capture_output=not live, stdin=subprocess.DEVNULL)

    def put(self, path: str, data: bytes, *, executable: bool = False) -> None:
        """Write a file below /run."""
        target = self.place / "run" / path.removeprefix("/run/")
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(data)
        target.chmod(0o755 if executable else 0o644)

    def discard(self) -> None:
        shutil.rmtree(self.place, ignore_errors=True)


def base(name: str) -> Path:
    """The directory of a debootstrapped system, made where there is none yet."""
    directory = CACHE / name
    if directory.exists():
        return directory
    CACHE.mkdir(parents=True, exist_ok=True)
    making = directory.with_name(f"{name}.making")
    shutil.rmtree(making, ignore_errors=True)
    command = ["debootstrap", "--variant=minbase"]
    if name == "jammy" and not UBUNTU_KEYS.exists():
        print(f"{UBUNTU_KEYS} is not here: what comes of Ubuntu's archive is not checked", file=sys.stderr)
        command.append("--no-check-gpg")
    subprocess.run([*command, name, str(making), MIRRORS[name]], check=True, stdout=subprocess.DEVNULL)
    _fill_in(making, name)
    making.rename(directory)
    return directory


_CHROOT = """
mount --make-rprivate /
mount -t proc proc "$1/proc"
mount -t sysfs -o ro sysfs "$1/sys"
mount --rbind /dev "$1/dev"
exec chroot "$1" /usr/bin/env -i PATH=/usr/sbin:/usr/bin:/sbin:/bin HOME=/root LC_ALL=C.UTF-8 \\
    DEBIAN_FRONTEND=noninteractive bash -ec "$2"
"""


def _fill_in(directory: Path, name: str) -> None:
    """What a cloud image has, and what this machine needs to reach indexes."""
    if name == "jammy":
        mirror = MIRRORS[name]
        lines = [f"deb {mirror} jammy{pocket} main restricted universe" for pocket in ("", "-updates", "-security")]
        (directory / "etc/apt/sources.list").write_text("\n".join(lines) + "\n", encoding="utf-8")
    shutil.copyfile("/etc/resolv.conf", directory / "etc/resolv.conf")
    furnish = f"""
        printf '#!/bin/sh\\nexit 101\\n' >/usr/sbin/policy-rc.d && chmod 755 /usr/sbin/policy-rc.d
        apt-get -q update && apt-get -q -y --no-install-recommends install {INCLUDED[name]}
        rm -rf /usr/sbin/policy-rc.d /var/lib/apt/lists/* /var/cache/apt/archives/*.deb
        id ubuntu >/dev/null 2>&1 || useradd --create-home --shell /bin/bash ubuntu
    """
    enter = ["unshare", "--mount", "--pid", "--fork", "bash", "-ec", _CHROOT, "enter", str(directory), furnish]
    subprocess.run(enter, check=True, stdout=subprocess.DEVNULL, stdin=subprocess.DEVNULL)
    # pip's own where it has been told of one: a mirror between this machine and the index may have another root.
    certificates = Path(pip_setting("cert") or CERTIFICATES)
    if certificates.is_file():
        (directory / CERTIFICATES.lstrip("/")).write_bytes(certificates.read_bytes())
    sudoers = directory / "etc/sudoers.d/90-cloud-init-users"
    sudoers.write_text("ubuntu ALL=(ALL) NOPASSWD:ALL\n", encoding="utf-8")
    sudoers.chmod(0o440)


PIP_SETTINGS = ("cert", "index-url", "extra-index-url", "find-links")


@cache
def pip_setting(name: str) -> str:
    """What this machine's pip has been told, empty where it has not: a mirror, an index, a folder of wheels."""
    if said := os.environ.get(f"PIP_{name.upper().replace('-', '_')}"):
        return said
    command = [sys.executable, "-m", "pip", "config", "get", f"global.{name}"]
    return subprocess.run(command, check=False, capture_output=True, text=True).stdout.strip()


def pip_settings() -> str:
    """The same for pip in a room, as its configuration file."""
    told = {name: pip_setting(name) for name in PIP_SETTINGS}
    if told["cert"]:
        told["cert"] = CERTIFICATES  # copied there when the base was made
    return "[global]\n" + "".join(f"{name} = {' '.join(value.split())}\n" for name, value in told.items() if value)


@cache
def pip_folders() -> tuple[str, ...]:
    """Folders of this machine that pip's settings name. An index keeps its files beside its pages, so it is taken
    with the folder above it."""
    found = {}
    for name in ("find-links", "index-url", "extra-index-url"):
        for word in pip_setting(name).split():
            path = Path(unquote(urlsplit(word).path) if word.startswith("file://") else word)
            if path.is_absolute() and path.is_dir():
                found[str(path.parent if name != "find-links" else path)] = None
    return tuple(found)


def as_user(command: str) -> str:
    """The shell words that run a command as the login user, as SSH would."""
    return f"runuser -l ubuntu -c {shlex.quote(command)}"


quoted = shlex.quote
