"""gputx as a process of its own, without the second that Python takes to import what it needs.

A *nursery*, one for each test process, has imported everything once. It makes a command's process by the system call
behind fork, with the test as its parent: a process as any other, with its own pid, signals, streams, directory and
environment, that begins where ``python -m gputx`` begins. Tests about that beginning, or about terminals, take a fresh
Python (:func:`start`); so do all where ``GPUTX_TESTS_FRESH`` is set, and on systems other than Linux on x86-64 and arm.
"""

from __future__ import annotations

import array
import ctypes
import gc
import importlib
import io
import json
import os
import platform
import runpy
import signal
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Mapping
from functools import cache
from typing import Any

FRESH = "GPUTX_TESTS_FRESH"

PRELOADED = (
    "boto3",
    "gputx.cli.ami",
    "gputx.cli.build_ami",
    "gputx.cli.doctor",
    "gputx.cli.group",
    "gputx.cli.ps",
    "gputx.cli.reap",
    "gputx.cli.render.live",
    "gputx.cli.run",
    "gputx.cli.setup",
    "gputx.ssh.connection",
    "gputx.workflows.ami",
    "gputx.workflows.build_ami",
    "gputx.workflows.doctor",
    "gputx.workflows.ps",
    "gputx.workflows.reap",
    "gputx.workflows.run",
    "gputx.workflows.setup",
    "gputx.workflows.teardown",
    "soundfile",
    "soxr",
)

SERVICES = ("budgets", "ec2", "iam", "logs", "pricing", "s3", "scheduler", "service-quotas", "sqs", "sts")

_CLONE = {"x86_64": 56, "aarch64": 220}
_CLONE_PARENT = 0x8000
_STREAMS = 3


def start(command: list[str], *, env: Mapping[str, str], cwd: Any, **options: Any) -> subprocess.Popen[str]:
    """``python ARGUMENT…``: from the nursery where that makes no difference, else fresh. Options as of Popen."""
    pipes = {subprocess.PIPE, subprocess.DEVNULL, None}
    plain = all(options.get(name) in pipes for name in ("stdin", "stdout", "stderr"))
    known = not options.keys() - {"stdin", "stdout", "stderr", "text"}
    own = any(name.startswith(("PYTHON", "LC_")) for name in env) or env.get("LANG") != "C.UTF-8"
    made = subprocess.Popen if own or not (plain and known and _possible()) else _Forked
    return made([sys.executable, *command], cwd=cwd, env=dict(env), **options)


def _possible() -> bool:
    return sys.platform == "linux" and platform.machine() in _CLONE and FRESH not in os.environ


class _Forked(subprocess.Popen[str]):
    """A Popen whose process the nursery makes; everything else is Popen's own."""

    def _execute_child(self, args: list[str], *rest: Any) -> None:
        """CPython's own hook, in the order of its arguments since 3.3."""
        _, _, _, _, cwd, env, _, _, _, theirs_in, ours_in, ours_out, theirs_out, ours_err, theirs_err, *_ = rest
        streams = [end if end >= 0 else own for own, end in enumerate((theirs_in, theirs_out, theirs_err))]
        self.pid = _nursery().make(args[1:], str(cwd), env, streams)
        self._child_created = True
        self._close_pipe_fds(theirs_in, ours_in, ours_out, theirs_out, ours_err, theirs_err)


class _Nursery:
    """The test's end of it."""

    def __init__(self) -> None:
        self._ours, theirs = socket.socketpair()
        with theirs:
            # One thread: a process with more can't be copied. numpy's own would be started as it is imported.
            environ = {**os.environ, "OPENBLAS_NUM_THREADS": "1", "OMP_NUM_THREADS": "1"}
            command = [sys.executable, __file__, str(theirs.fileno())]
            self._process = subprocess.Popen(command, pass_fds=[theirs.fileno()], env=environ)
        self._lock = threading.Lock()

    def make(self, arguments: list[str], cwd: str, env: Mapping[str, str], streams: list[int]) -> int:
        """The pid of a new child of this process."""
        order = json.dumps({"arguments": arguments, "cwd": cwd, "env": env}).encode()
        with self._lock:
            socket.send_fds(self._ours, [len(order).to_bytes(4, "big")], streams)
            self._ours.sendall(order)
            pid = int.from_bytes(_exactly(self._ours, 4), "big")
        assert pid, "the nursery made no process"
        return pid

    def close(self) -> None:
        """It ends where nobody asks it for anything more."""
        self._ours.close()
        self._process.wait()


@cache
def _nursery() -> _Nursery:
    import atexit  # noqa: PLC0415 - only where there is one

    nursery = _Nursery()
    atexit.register(nursery.close)
    return nursery


def _exactly(source: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        more = source.recv(size - len(data))
        assert more, "the nursery has ended"
        data += more
    return data


# In the nursery


def serve(orders: socket.socket) -> None:
    """Make a process for each order, until the other end closes. In such a process it returns, into its own life."""
    for name in PRELOADED:
        importlib.import_module(name)
    _warm_up_boto()
    clone = _clone()
    gc.collect()
    gc.freeze()
    while True:
        head, streams, _, _ = socket.recv_fds(orders, 4, _STREAMS)
        if not head:
            os._exit(0)
        order = json.loads(_exactly(orders, int.from_bytes(head, "big")))
        assert threading.active_count() == 1, threading.enumerate()
        pid = clone()
        if pid == 0:
            orders.close()
            _live(order, streams)
        for stream in streams:
            os.close(stream)
        orders.sendall(pid.to_bytes(4, "big"))


def _warm_up_boto() -> None:
    """AWS's descriptions of its services are megabytes of JSON, which every session reads anew."""
    import boto3  # noqa: PLC0415 - the test's end of it needs none of this
    from botocore.loaders import JSONFileLoader  # noqa: PLC0415

    read, known = JSONFileLoader.load_file, {}

    def load_file(self: JSONFileLoader, path: str) -> Any:
        if path not in known:
            known[path] = read(self, path)
        return known[path]

    JSONFileLoader.load_file = load_file
    for service in SERVICES:
        boto3.Session("nobody", "nothing", region_name="eu-north-1").client(service)


def _clone() -> Callable[[], int]:
    """fork(2), but for a sister: so the test may wait for it. Python's own preparations for a fork are made."""
    call = ctypes.CDLL(None, use_errno=True).syscall
    call.restype = ctypes.c_long
    number, api = _CLONE[platform.machine()], ctypes.pythonapi

    def clone() -> int:
        api.PyOS_BeforeFork()
        pid = int(call(number, _CLONE_PARENT | signal.SIGCHLD, 0, 0, 0, 0))
        if pid == 0:
            api.PyOS_AfterFork_Child()
        else:
            api.PyOS_AfterFork_Parent()
        return max(pid, 0)

    return clone


def _live(order: Mapping[str, Any], streams: array.array[int]) -> None:
    """What a fresh Python would do with these arguments, this environment and these streams. Ends the process."""
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(order["cwd"])
    os.environ.clear()
    os.environ.update(order["env"])
    signal.signal(signal.SIGINT, signal.default_int_handler)
    sys.stdin = io.TextIOWrapper(io.BufferedReader(io.FileIO(0, "r", closefd=False)), "utf-8", "surrogateescape")
    sys.stdout = io.TextIOWrapper(io.BufferedWriter(io.FileIO(1, "w", closefd=False)), "utf-8", "surrogateescape")
    sys.stderr = io.TextIOWrapper(
        io.BufferedWriter(io.FileIO(2, "w", closefd=False)), "utf-8", "backslashreplace", line_buffering=True
    )
    sys.__stdin__, sys.__stdout__, sys.__stderr__ = sys.stdin, sys.stdout, sys.stderr
    first, *rest = order["arguments"]
    if first == "-m":
        sys.argv = ["-m", *rest[1:]]
        runpy.run_module(rest[0], run_name="__main__", alter_sys=True)
    else:
        sys.argv = [first, *rest]
        sys.path[0] = os.path.dirname(first)  # noqa: PTH120 - as Python spells it
        runpy.run_path(first, run_name="__main__")
    sys.exit(0)


if __name__ == "__main__":
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    serve(socket.socket(fileno=int(sys.argv[1])))
