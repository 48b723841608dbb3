"""What an instance does by itself from its first second: built here as text, run by cloud-init.

Three parts. A boothook (cloud-init runs these first, and at every boot) arms the deadline before anything else
can go wrong, and starts a watchdog that ends the instance when its client falls silent. A cloud-config gives sshd
the run's own host key, so that the client knows whom it talks to. A second boothook fetches the payload by a
presigned address and starts the worker, in the background, so that the model is loading before SSH answers: a plain
script would run only after sshd is up. EC2 takes 16 KB of user-data.
"""

from __future__ import annotations

import math
import shlex
from dataclasses import dataclass
from email.mime.multipart import MIMEMultipart
from email.mime.text import MIMEText

LIMIT_BYTES = 16 * 1024

WATCH_SECONDS = 15
"""How often the watchdog looks. It counts its own sleeps, so that a clock that is set can't shorten the grace."""

BEAT_FILE = "/run/gputx/beat"
"""The client writes something new here while it lives."""

DONE_FILE = "/run/gputx/done"
"""The client makes this once it has fetched everything. Both are in memory: an image can't inherit them."""

_BOOTHOOK = """\
#cloud-boothook
#!/bin/sh
# Arm the end of this instance before anything else, at every boot. Power-off means terminate, and needs no
# credentials. The deadline is kept beside the instance id: an image made of this disk does not inherit it. It is
# an absolute time, or {ttl} s from the first boot where this machine's clock is behind.
kept=/var/lib/gputx/deadline-${{INSTANCE_ID:-unknown}}
mkdir -p /var/lib/gputx
now=$(date +%s)
left=$(( {deadline} - now ))
[ "$left" -le {ttl} ] || left={ttl}
[ -s "$kept" ] || echo $(( now + left )) > "$kept"
end=$(cat "$kept")
left=$(( end - now ))
if [ "$left" -le 0 ]; then
  shutdown -P now
elif [ -d /run/systemd/system ]; then
  # This early in the boot there is no logind, without which `shutdown -P +N` powers off at once. A timer of
  # systemd's own needs neither logind nor D-Bus. Neither it nor what it starts must wait for the boot: that is
  # waiting for us, and may be stuck when the time comes.
  systemd-run --no-block --unit=gputx-deadline --on-active="${{left}}s" --timer-property=AccuracySec=1s \\
    --timer-property=DefaultDependencies=no --property=DefaultDependencies=no systemctl poweroff ||
    {{ setsid sh -c "sleep $left; systemctl poweroff || poweroff -f" </dev/null >/dev/null 2>&1 & }}
else
  shutdown -P +$(( (left + 59) / 60 ))
fi
# The watchdog: no sign of life from the client for {grace} s, or the client is done, or the deadline has passed.
mkdir -p /run/gputx
chmod 1777 /run/gputx
cat > /run/gputx-watchdog <<'END'
idle=0 seen=
while sleep {watch}; do
  {{ [ ! -e {done} ] && [ "$(date +%s)" -lt "$1" ]; }} || break
  beat=$(cat {beat} 2>/dev/null)
  if [ "$beat" = "$seen" ]; then idle=$(( idle + {watch} )); else idle=0 seen=$beat; fi
  [ "$idle" -lt {grace} ] || break
done
systemctl poweroff || poweroff
# A shutdown that hangs is cut short: there is nothing here to save.
sleep 90
poweroff -f
echo o > /proc/sysrq-trigger
END
{{ [ -d /run/systemd/system ] && systemd-run --no-block --unit=gputx-watchdog --property=DefaultDependencies=no \\
  --property=Restart=always --property=OOMScoreAdjust=-1000 sh /run/gputx-watchdog "$end"; }} ||
  {{ setsid sh /run/gputx-watchdog "$end" </dev/null >/dev/null 2>&1 & }}
"""

_CLOUD_CONFIG = """\
#cloud-config
ssh_deletekeys: true
ssh_keys:
  ed25519_private: |
{private}
  ed25519_public: {public}
"""

_EARLY_WORKER = """\
#cloud-boothook
#!/bin/sh
# Fetch the payload and begin to load the model before SSH answers, once. If any of it fails, or the client is
# there first, the client sends the payload itself and starts the worker over SSH: this only saves time.
once=/var/lib/gputx/early-${{INSTANCE_ID:-unknown}}
[ ! -e "$once" ] || exit 0
: > "$once"
setsid runuser -l {user} -c "$(cat <<'END'
set -eu
mkdir -p gputx/in
[ ! -e gputx/{name} ] || exit 0
trap '[ $? = 0 ] || rm -f gputx/worker.sock.starting' EXIT
: > gputx/worker.sock.starting
"${{TRANSCRIBE_ROOT:-/opt/transcribe}}/venv/bin/python" - {url} gputx/{name} {sha256} <<'PYTHON'
import hashlib, os, sys, urllib.request
url, path, wanted = sys.argv[1:]
data = urllib.request.urlopen(url, timeout=30).read()
if hashlib.sha256(data).hexdigest() != wanted:
    sys.exit("the payload's hash is not the one the client sent")
with open(path + ".early", "wb") as file:
    file.write(data)
os.replace(path + ".early", path)
PYTHON
exec {command} >>gputx/worker.log 2>&1
END
)" </dev/null >>/var/log/gputx-early.log 2>&1 &
"""


@dataclass(frozen=True)
class EarlyWorker:
    """What the instance needs to begin before the client is there."""

    url: str
    name: str
    sha256: str
    command: str
    """Shell words that start the worker's server; run in the login user's home."""


def build(
    *,
    ttl: float,
    deadline: float,
    grace: float,
    host_private: str,
    host_public: str,
    user: str,
    early: EarlyWorker | None,
) -> str:
    """The user-data of one launch.

    Args:
        ttl: the longest time from first boot until the instance powers itself off, in seconds.
        deadline: when it powers itself off, in seconds since the epoch.
        grace: seconds without a sign of life from the client, from boot on, after which it powers itself off.
        host_private: the run's ed25519 host key, OpenSSH PEM.
        host_public: its public line.
        user: the image's login name.

    Raises:
        ValueError: it would pass EC2's limit.
    """
    parts = MIMEMultipart(boundary="==gputx==")
    boothook = _BOOTHOOK.format(
        ttl=round(ttl),
        deadline=math.ceil(deadline),
        grace=round(grace),
        watch=WATCH_SECONDS,
        beat=BEAT_FILE,
        done=DONE_FILE,
    )
    parts.attach(_part(boothook, "cloud-boothook"))
    private = "\n".join(f"    {line}" for line in host_private.strip().splitlines())
    parts.attach(_part(_CLOUD_CONFIG.format(private=private, public=host_public.strip()), "cloud-config"))
    if early:
        script = _EARLY_WORKER.format(
            user=shlex.quote(user),
            url=shlex.quote(early.url),
            name=early.name,
            sha256=early.sha256,
            command=early.command,
        )
        parts.attach(_part(script, "cloud-boothook"))
    text = parts.as_string()
    if len(text.encode()) > LIMIT_BYTES:
        raise ValueError(f"user-data of {len(text.encode())} bytes passes EC2's limit of {LIMIT_BYTES}")
    return text


def _part(text: str, subtype: str) -> MIMEText:
    # Plain where it can be: base64, which UTF-8 parts get, takes a third more of the 16 KB.
    return MIMEText(text, subtype, "us-ascii" if text.isascii() else "utf-8")
