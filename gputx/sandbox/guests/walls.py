"""What a guest sees of this machine: its programs, read-only, and nothing else."""

from __future__ import annotations

import compileall
import os
import shutil
import sys
from pathlib import Path

_HERE = Path(__file__).parent
_SHIMS = {
    "power": ("shutdown", "poweroff", "reboot", "halt", "systemctl", "init", "telinit"),
    "sleep": ("sleep",),
    "date": ("date",),
    "id": ("id", "whoami"),
    "sudo": ("sudo", "su", "runuser"),
}
_SHIMMED = frozenset(name for names in _SHIMS.values() for name in names)
_LIBRARIES = ("/bin", "/lib", "/lib32", "/lib64", "/libx32", "/nix")
_SHARED_ETC = (
    "/etc/alternatives",
    "/etc/ssl",
    "/etc/pki",
    "/etc/ca-certificates",
    "/etc/ld.so.cache",
    "/etc/ld.so.conf",
    "/etc/ld.so.conf.d",
    "/etc/os-release",
    "/etc/mime.types",
    "/etc/services",
)
_DEVICES = ("null", "zero", "full", "random", "urandom", "tty")
TOOLS = Path("/.guest")


def lay_out_tools(tools: Path) -> None:
    """Write what every guest gets beside its disk: the machine's code and the stand-ins.

    ``bin`` holds the stand-ins, ``real`` the programs they stand before, ``machine`` the guest's system, and
    ``sbin`` this machine's ``/usr/sbin`` with the stand-ins among it.
    """
    shutil.rmtree(tools, ignore_errors=True)
    shutil.copytree(_HERE / "machine", tools / "machine", ignore=shutil.ignore_patterns("__pycache__"))
    compileall.compile_dir(tools / "machine", quiet=1)
    for folder in ("bin", "real", "sbin"):
        (tools / folder).mkdir()
    for source, names in _SHIMS.items():
        text = (_HERE / "shims" / source).read_bytes()
        for name in names:
            program = tools / "bin" / name
            program.write_bytes(text)
            program.chmod(0o755)
            (tools / "sbin" / name).symlink_to(TOOLS / "bin" / name)
    for name in ("sleep", "date", "id", "whoami"):
        found = shutil.which(name, path="/usr/bin:/bin")
        if found is None:
            continue
        if sys.platform == "linux":
            # A copy, because the stand-in is mounted over the original.
            shutil.copy(Path(found).resolve(), tools / "real" / name)
        else:
            (tools / "real" / name).symlink_to(found)
    system = Path("/usr/sbin")
    if system.is_dir():
        for entry in system.iterdir():
            if entry.name not in _SHIMMED:
                (tools / "sbin" / entry.name).symlink_to(entry)


def mounts(tools: Path) -> str:
    """The mounts of a guest, as ``enter.sh`` reads them.

    Args:
        tools: laid out by :func:`lay_out_tools`.

    Raises:
        ValueError: a path has a tab or a newline in it.
    """
    lines = [("ro", "/usr", "/usr")]
    for name in _LIBRARIES:
        path = Path(name)
        if path.is_symlink():
            lines.append(("link", str(path.readlink()), name))
        elif path.is_dir():
            lines.append(("ro", name, name))
    lines.append(("ro", str(tools / "sbin"), "/sbin") if Path("/sbin").is_symlink() else ("ro", "/sbin", "/sbin"))
    lines.append(("ro", str(tools), str(TOOLS)))
    lines += [("ro", name, name) for name in _SHARED_ETC if Path(name).exists()]
    lines += [("ro", str(tree), str(tree)) for tree in python_trees()]
    lines += _over_originals(tools)
    lines.append(("fs", "proc:nosuid,nodev,noexec", "/proc"))
    lines.append(("fs", "tmpfs:nosuid,mode=0755,size=1m", "/dev"))
    lines += [("device", f"/dev/{name}", f"/dev/{name}") for name in _DEVICES]
    lines.append(("fs", "devpts:nosuid,noexec,newinstance,ptmxmode=0666,mode=0620", "/dev/pts"))
    lines.append(("fs", "tmpfs:nosuid,nodev,mode=1777,size=256m", "/dev/shm"))  # noqa: S108 - the guest's own
    lines.append(("link", "pts/ptmx", "/dev/ptmx"))
    lines += [
        ("link", f"/proc/self/{target}", f"/dev/{name}")
        for name, target in (("fd", "fd"), ("stdin", "fd/0"), ("stdout", "fd/1"), ("stderr", "fd/2"))
    ]
    # The numeric libraries read from here how many cores there are.
    if Path("/sys/devices/system/cpu").is_dir():
        lines.append(("ro", "/sys/devices/system/cpu", "/sys/devices/system/cpu"))
    lines.append(("fs", "tmpfs:nosuid,nodev,mode=0755,size=16m", "/run"))
    for line in lines:
        if any("\t" in field or "\n" in field for field in line):
            raise ValueError(f"a path that can't be mounted: {line}")
    return "".join("\t".join(line) + "\n" for line in lines)


def python_trees() -> list[Path]:
    """The directories this interpreter needs beside /usr: its prefixes, under each name they are used by."""
    found = {Path(sys.prefix), Path(sys.base_prefix), Path(sys.exec_prefix)}
    program = Path(sys.executable)
    while program.is_symlink():
        # A venv's python may go through several links, and each has to be there.
        program = program.parent / program.readlink()
        found.add(Path(os.path.normpath(program)).parent.parent)
    found |= {path.resolve() for path in found}
    trees: list[Path] = []
    for path in sorted(found, key=lambda path: len(path.parts)):
        if not any(path.is_relative_to(outer) for outer in (Path("/usr"), Path("/nix"), *trees)):
            trees.append(path)
    return trees


def _over_originals(tools: Path) -> list[tuple[str, str, str]]:
    """Scripts that call programs by their absolute path must meet the stand-ins too."""
    lines = []
    for name in sorted(_SHIMMED):
        for folder in ("/usr/bin", "/usr/sbin"):
            original = (Path(folder) / name).resolve()
            # A multi-call binary answers to many names and must stay what it is.
            if original.is_file() and original.name in _SHIMMED and original.is_relative_to("/usr"):
                line = ("ro", str(tools / "bin" / original.name), str(original))
                if line not in lines:
                    lines.append(line)
    return lines
