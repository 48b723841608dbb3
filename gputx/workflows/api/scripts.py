"""What runs a server on an instance, as text: started again when it ends, told apart from idle, ended when it is.

Three programs of the login user's. ``start`` becomes the server. ``keeper`` stands in for a client: it gives the signs
of life that the watchdog of the user-data wants (:mod:`gputx.aws.userdata`), for as long as the server is used; so the
watchdog ends the instance when the keeper says so, and also when the keeper dies. ``control`` installs both and starts
them: as units of systemd, or, on a machine without it, as loops. It counts its own sleeps, as the watchdog does.
"""

from __future__ import annotations

import shlex
from dataclasses import dataclass

from gputx.aws.userdata import BEAT_FILE, DONE_FILE
from gputx.workflows.hosts.instance import PYTHON, spelled
from gputx.workflows.model import ModelChoice

HOME = "gputx/api"
"""Everything of the server's, under the login user's home; the payload lies beside it."""

TOKENS, CERTIFICATE, KEY = f"{HOME}/tokens", f"{HOME}/tls.crt", f"{HOME}/tls.key"
START, KEEPER, CONTROL, LOG = f"{HOME}/start", f"{HOME}/keeper", f"{HOME}/control", f"{HOME}/log"
STARTS = f"{HOME}/starts"
"""A line for each time that the server was started since it was told to."""
USE_FILE = "/run/gputx/use"
"""Touched by the server while it is used; in memory, as the beat."""

INTERRUPTED_FILE = "/run/gputx/interrupted"
"""There once EC2 has announced that it will take the machine away."""

KEEPER_SECONDS = 20

_START = """\
#!/bin/sh
# Becomes the server. Written by `gputx api up`.
cd "$HOME"
umask 077
mkdir -p {home}/state
echo $$ > {home}/start.pid
date >> {starts}
# A machine that is about to be taken away begins nothing new.
while [ -e {interrupted} ]; do sleep 60; done
exec {python} {command}
"""

_KEEPER = """\
#!/bin/sh
# Signs of life in place of a client, while the server is used or was within {idle} s, until {until}.
cd "$HOME" && echo $$ > {home}/keeper.pid
idle=0 seen=nothing
while :; do
  use=$(stat -c %y {use} 2>/dev/null)
  if [ "$use" = "$seen" ]; then idle=$(( idle + {every} )); else idle=0 seen=$use; fi
  now=$(date +%s)
  if [ "$idle" -ge {idle} ] || [ "$now" -ge {until} ]; then : > {done}; exit; fi
  echo "serving $now" > {beat}
{notice}  sleep {every}
done
"""

_WHERE_SPOT = """\
  if [ ! -e {interrupted} ] && {python} {home}/notice.py; then
    # EC2 takes the machine in two minutes: the server finishes or puts down what it has, and refuses the rest.
    : > {interrupted}
    kill -TERM "$(cat {home}/start.pid)"
  fi
"""

_NOTICE = """\
# Whether EC2 has said that this spot instance is to be taken away: exit status 0.
import os, sys, urllib.request

base = os.environ.get("AWS_EC2_METADATA_SERVICE_ENDPOINT") or "http://169.254.169.254"
opener = urllib.request.build_opener(urllib.request.ProxyHandler({}))


def ask(path, method, headers):
    request = urllib.request.Request(base.rstrip("/") + path, method=method, headers=headers)
    return opener.open(request, timeout=2).read().decode()


try:
    token = ask("/latest/api/token", "PUT", {"X-aws-ec2-metadata-token-ttl-seconds": "60"})
    ask("/latest/meta-data/spot/instance-action", "GET", {"X-aws-ec2-metadata-token": token})
except OSError:  # 404: nothing of the kind
    sys.exit(1)
"""

_CONTROL = """\
#!/bin/sh
# install: have the server run, from now on and whenever it ends. keep: the same for the keeper.
set -eu
cd "$HOME"
systemd() {{ [ -d /run/systemd/system ]; }}
loop() {{  # NAME: run a program again and again, whatever becomes of this shell
  setsid sh -c 'cd "$HOME"; echo $$ > {home}/'"$1"'.loop
    while :; do
      sh {home}/'"$1"' >> {log} 2>&1
      echo "$(date) {home}/'"$1"' has ended, status $?" >> {log}
      sleep 2
    done' </dev/null >/dev/null 2>&1 &
}}
runs() {{ [ -s "$1" ] && kill -0 "$(cat "$1")" 2>/dev/null; }}
unit() {{  # NAME: run a program as a unit, anew where it runs
  sed -e "s|@HOME@|$HOME|g" -e "s|@USER@|$(id -un)|g" {home}/$1.service |
    sudo tee /etc/systemd/system/$1.service >/dev/null
  sudo systemctl daemon-reload
  sudo systemctl enable $1
  sudo systemctl restart $1
}}
anew() {{  # NAME: the same by a loop; what runs first puts down what it has, and its loop starts the new one
  if runs {home}/$1.loop; then
    old=$(cat {home}/$1.pid) && kill -TERM "$old" && while kill -0 "$old" 2>/dev/null; do sleep 0.2; done
  else
    loop $1
  fi
}}
case $1 in
install)
  : > {starts}
  if systemd; then unit gputx-api; else anew start; fi
  ;;
keep)
  if systemd; then unit gputx-api-keeper; else anew keeper; fi
  ;;
log)
  shift
  if systemd; then exec sudo journalctl -u gputx-api --no-pager -o cat "$@"; else exec tail "$@" {log}; fi
  ;;
esac
"""

_UNIT = """\
[Unit]
Description=gputx transcription API
After=network-online.target
StartLimitIntervalSec=0

[Service]
User=@USER@
WorkingDirectory=@HOME@
Environment=HOME=@HOME@
# CUDA makes a device's nodes by a program that is setuid root, which NoNewPrivileges forbids below.
ExecStartPre=-+/usr/bin/nvidia-modprobe -c 0 -u
ExecStart=/bin/sh @HOME@/{start}
Restart=always
RestartSec=2
# It drains within this: what runs is finished or put down.
TimeoutStopSec={stop}
KillMode=mixed
LimitNOFILE=65536
LimitCORE=0
TasksMax=1024
MemoryMax=90%
NoNewPrivileges=yes
PrivateTmp=yes
ProtectSystem=strict
ReadWritePaths=@HOME@ -/run/gputx
ProtectKernelTunables=yes
ProtectControlGroups=yes
RestrictSUIDSGID=yes

[Install]
WantedBy=multi-user.target
"""

_KEEPER_UNIT = """\
[Unit]
Description=Signs of life for the watchdog while the gputx API is used

[Service]
User=@USER@
WorkingDirectory=@HOME@
Environment=HOME=@HOME@
ExecStart=/bin/sh @HOME@/{keeper}
Restart=on-failure
RestartSec=5
NoNewPrivileges=yes

[Install]
WantedBy=multi-user.target
"""

STOP_SECONDS = 75
"""How long a server that is told to end may take. EC2 gives two minutes' notice of a spot interruption."""


@dataclass(frozen=True)
class ServerPlan:
    """How a server is to run on an instance. Times are seconds since the epoch, durations seconds."""

    payload: str
    """The payload's file name."""
    model: ModelChoice
    port: int
    public: bool
    until: float
    idle_timeout: float
    spot: bool
    """EC2 may take the machine away."""
    results: str | None = None
    """``s3://BUCKET/PREFIX`` for the texts of its jobs, which the machine's role may write; and the bucket's region."""
    results_region: str | None = None


def files(plan: ServerPlan) -> dict[str, bytes]:
    """The programs and units, by their path under the login user's home."""
    start = _START.format(home=HOME, starts=STARTS, python=PYTHON, command=command(plan), interrupted=INTERRUPTED_FILE)
    keeper = _KEEPER.format(
        home=HOME,
        idle=max(round(plan.idle_timeout), KEEPER_SECONDS),
        until=int(plan.until),
        every=KEEPER_SECONDS,
        use=USE_FILE,
        beat=BEAT_FILE,
        done=DONE_FILE,
        notice=_WHERE_SPOT.format(home=HOME, python=PYTHON, interrupted=INTERRUPTED_FILE) if plan.spot else "",
    )
    texts = {
        START: start,
        KEEPER: keeper,
        f"{HOME}/notice.py": _NOTICE,
        CONTROL: _CONTROL.format(home=HOME, starts=STARTS, log=LOG),
        f"{HOME}/gputx-api.service": _UNIT.format(start=START, stop=STOP_SECONDS + 15),
        f"{HOME}/gputx-api-keeper.service": _KEEPER_UNIT.format(keeper=KEEPER),
    }
    return {path: text.encode() for path, text in texts.items()}


def command(plan: ServerPlan) -> str:
    """Shell words after Python's own, run in the login user's home."""
    host = "0.0.0.0" if plan.public else "127.0.0.1"  # noqa: S104 - behind TLS, and a group that lets few in
    words = ["api", *plan.model.arguments, "--host", host, "--port", str(plan.port)]
    words += ["--tokens", TOKENS, "--state", f"{HOME}/state", "--idle-file", USE_FILE]
    if plan.results and plan.results_region:
        words += ["--results", plan.results, "--region", plan.results_region]
    if plan.public:
        words += ["--tls-cert", CERTIFICATE, "--tls-key", KEY]
    return " ".join([shlex.quote(f"gputx/{plan.payload}"), *(spelled(word) for word in words)])
