"""Where a guest's files are, and what environment its programs see."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

LOGIN_USER = "ubuntu"
_STANDARD_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"


@dataclass(frozen=True)
class System:
    """A guest's file system and the environment its programs start with.

    Args:
        root: ``/``, or the disk's directory on this machine where guests have no namespace of their own.
        tools: the directory with the stand-ins for ``shutdown`` and the like in ``bin``.
        instance_id: EC2's name of the instance.
        metadata_endpoint: URL of the IMDS stand-in.
        account: URL of what stands in for AWS's services; empty for nothing.
    """

    root: Path
    tools: Path
    instance_id: str
    metadata_endpoint: str
    account: str = ""

    @property
    def private_root(self) -> bool:
        """Whether ``/`` is the guest's own."""
        return self.root == Path("/")

    def path(self, absolute: str) -> Path:
        """A path as the guest's programs mean it, as this process has to open it."""
        return self.root / absolute.lstrip("/")

    @property
    def home(self) -> Path:
        return self.path(f"/home/{LOGIN_USER}")

    @property
    def run(self) -> Path:
        """Where init's pipe and the clock are."""
        return self.path("/run/guest")

    @property
    def shell(self) -> str:
        return shutil.which("bash", path=_STANDARD_PATH) or "/bin/sh"

    def environment(self, *, user: str) -> dict[str, str]:
        """The environment of a login of ``user``, who is the login user or the pretended root."""
        home = self.path("/root") if user == "root" else self.home
        environment = {
            "PATH": f"{self.tools}/bin:{_STANDARD_PATH}",
            "LANG": "C.UTF-8",
            "HOME": str(home),
            "USER": user,
            "LOGNAME": user,
            "SHELL": self.shell,
            # The SDKs' own variables: the real service's link-local address is not to be had on loopback.
            "AWS_EC2_METADATA_SERVICE_ENDPOINT": self.metadata_endpoint,
        }
        if self.account:
            environment["AWS_ENDPOINT_URL"] = self.account
        if not self.private_root:
            environment |= {
                "TRANSCRIBE_ROOT": str(self.path("/opt/transcribe")),
                "GUEST_RUN": str(self.run),
                "GUEST_TOOLS": str(self.tools),
                "TMPDIR": str(self.path("/tmp")),  # noqa: S108 - the guest's own
            }
        return environment

    def lay_out(self, address: str) -> None:
        """Write the files that any Linux has and no image of ours carries. Done at each boot."""
        uid, gid = os.getuid(), os.getgid()
        hostname = "ip-" + address.replace(".", "-")
        files: Mapping[str, str] = {
            "/etc/passwd": (
                "root:x:0:0:root:/root:/bin/bash\n"
                f"{LOGIN_USER}:x:{uid}:{gid}:Ubuntu:/home/{LOGIN_USER}:{self.shell}\n"
                "nobody:x:65534:65534:nobody:/nonexistent:/usr/sbin/nologin\n"
            ),
            "/etc/group": f"root:x:0:\n{LOGIN_USER}:x:{gid}:\nnogroup:x:65534:\n",
            "/etc/hostname": hostname + "\n",
            "/etc/hosts": f"127.0.0.1 localhost\n{address} {hostname}\n",
            "/etc/nsswitch.conf": "passwd: files\ngroup: files\nhosts: files dns\n",
            "/etc/profile": f"export PATH={self.tools}/bin:{_STANDARD_PATH}\n",
        }
        for name, text in files.items():
            path = self.path(name)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, encoding="utf-8")
        for name in ("/root", f"/home/{LOGIN_USER}", "/var/log", "/var/lib/cloud", "/tmp"):  # noqa: S108 - as above
            self.path(name).mkdir(parents=True, exist_ok=True)
        shutil.rmtree(self.run, ignore_errors=True)
        self.run.mkdir(parents=True)
