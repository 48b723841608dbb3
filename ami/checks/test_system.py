"""The base system and its units."""

from __future__ import annotations

import pytest

MASKED = (
    "apt-daily.timer",
    "apt-daily-upgrade.timer",
    "unattended-upgrades.service",
    "man-db.timer",
    "fstrim.timer",
    "motd-news.timer",
    "rsyslog.service",
    "logrotate.timer",
    "pollinate.service",
)
UNITS = ("gputx-preread.service", "gputx-unarmed.service", "gputx-unarmed.timer")
ENABLED = (("gputx-preread.service", "sysinit.target"), ("gputx-unarmed.timer", "timers.target"))


@pytest.mark.parametrize("unit", MASKED)
def test_no_work_behind_a_run(host, image, unit):
    link = host.file(f"{image.system}/etc/systemd/system/{unit}")
    assert link.is_symlink
    assert link.linked_to == "/dev/null"


def test_logs_stay_in_memory(host, image):
    settings = host.file(f"{image.system}/etc/systemd/journald.conf.d/10-gputx.conf")
    assert "Storage=volatile" in settings.content_string


@pytest.mark.parametrize("unit", UNITS)
def test_unit_is_the_recipe_s(host, image, unit):
    there = host.file(f"{image.system}/etc/systemd/system/{unit}")
    assert there.content == (image.recipe / "units" / unit).read_bytes()
    assert there.mode == 0o644


@pytest.mark.parametrize("unit", UNITS)
def test_systemd_understands_unit(host, image, unit):
    if host.run("command -v systemd-analyze").rc or image.system:
        pytest.skip("there is no systemd here")
    checked = host.run("systemd-analyze verify --man=no %s 2>&1", f"/etc/systemd/system/{unit}")
    complaints = [line for line in checked.stdout.splitlines() if "gputx" in line]
    assert complaints == []


@pytest.mark.parametrize(("unit", "target"), ENABLED)
def test_unit_is_enabled(host, image, unit, target):
    folder = f"{image.system}/etc/systemd/system"
    assert host.check_output("readlink %s", f"{folder}/{target}.wants/{unit}") == f"../{unit}"


@pytest.mark.parametrize("name", ["preread", "unarmed"])
def test_program_is_the_recipe_s(host, image, name):
    sources = {"preread": "preread.py", "unarmed": "unarmed.sh"}
    there = host.file(f"{image.root}/bin/{name}")
    assert there.content == (image.recipe / "files" / sources[name]).read_bytes()


def test_architecture(host, image):
    assert host.check_output("uname -m") == image.values["ARCHITECTURE"]


def test_certificates(host):
    assert host.file("/etc/ssl/certs/ca-certificates.crt").exists


@pytest.fixture
def booted(host, image):
    """Skips in a guest of the sandbox, in which no init runs. A machine with a GPU is a real one."""
    if host.run("test -d /run/systemd/system").rc:
        assert image.values["HAS_GPU"] == "no"
        pytest.skip("no systemd runs here")


@pytest.mark.fresh
@pytest.mark.usefixtures("booted")
def test_nothing_failed_at_boot(host):
    assert host.check_output("systemctl list-units --failed --plain --no-legend 'gputx-*'") == ""


@pytest.mark.fresh
@pytest.mark.usefixtures("booted")
def test_preread_ran(host):
    said = host.check_output("journalctl --unit gputx-preread.service --boot --output cat")
    assert "read ahead" in said
    assert "; 0 parts could not be read" in said
