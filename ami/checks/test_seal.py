"""Nothing of the bake, of its machine and of who made it is left: of the builder, after its last step."""

from __future__ import annotations

import pytest

pytestmark = pytest.mark.builder


def found(host, image, *patterns):
    """What is there of some shell patterns below the system's root."""
    words = " ".join(image.system + pattern for pattern in patterns)
    return host.check_output(f"ls -d {words} 2>/dev/null || true").split()


@pytest.mark.parametrize(
    "pattern",
    [
        "/etc/ssh/ssh_host_*",
        "/root/.ssh/authorized_keys",
        "/home/*/.ssh/authorized_keys",
        "/home/*/.ssh/id_*",
        "/home/*/.ssh/known_hosts",
        "/root/.aws",
        "/home/*/.aws",
    ],
)
def test_no_keys(host, image, pattern):
    assert found(host, image, pattern) == []


def test_no_private_keys_anywhere(host, image):
    folders = " ".join(f"{image.system}/{name}" for name in ("etc", "root", "home", "opt/transcribe/bin"))
    key = "'BEGIN (OPENSSH|RSA|EC|DSA) PRIVATE KEY'"
    # The certificate that Ubuntu makes for whoever needs one that nobody trusts.
    private = host.check_output(f"grep -rlsE {key} {folders} | grep -v ssl-cert-snakeoil || true").splitlines()
    assert not_mounted(host, private) == []


@pytest.mark.parametrize("name", [".bash_history", ".python_history", ".wget-hsts", ".cache"])
def test_no_history(host, image, name):
    assert found(host, image, f"/root/{name}", f"/home/*/{name}") == []


def test_no_logs(host, image):
    # Who logs in is noted by the checks' own connection; the agent of Systems Manager goes on writing.
    others = "! -name lastlog ! -name wtmp ! -name btmp ! -path '*/log/amazon/*'"
    written = host.check_output(f"find {image.system}/var/log -type f -size +0 {others} 2>/dev/null | head -n 5")
    assert written == ""


def test_no_cloud_init_state(host, image):
    assert (
        found(
            host,
            image,
            "/var/lib/cloud/instance",
            "/var/lib/cloud/instances",
            "/var/lib/cloud/sem",
            "/var/lib/cloud/data",
        )
        == []
    )


def test_no_deadline_of_the_builder(host, image):
    assert found(host, image, "/var/lib/gputx") == []


def test_no_machine_id(host, image):
    file = host.file(f"{image.system}/etc/machine-id")
    assert not file.exists or file.size == 0


def test_no_random_seed(host, image):
    assert found(host, image, "/var/lib/systemd/random-seed") == []


def test_no_package_lists(host, image):
    assert found(host, image, "/var/lib/apt/lists/*") == []


def test_no_package_archives(host, image):
    assert found(host, image, "/var/cache/apt/archives/*.deb") == []


def test_no_scratch(host, image):
    left = found(host, image, "/tmp/*", "/var/tmp/*")
    # Of services that run here; a boot begins without them.
    passing = ("/systemd-private-", "/snap-private-tmp")
    assert not_mounted(host, [path for path in left if not any(part in path for part in passing)]) == []


def test_no_leases(host, image):
    assert found(host, image, "/var/lib/dhcp/*.leases") == []


def not_mounted(host, paths):
    """Those that are on the disk itself: what is mounted on it, or holds something that is, is no part of an image."""
    points = [point for point in host.check_output("cut -d ' ' -f 5 /proc/self/mountinfo").splitlines() if point != "/"]
    return [
        path for path in paths if not any(f"{path}/".startswith(f"{it}/") or it.startswith(f"{path}/") for it in points)
    ]
