"""Signals by rule: a client is struck at a call of its own, and what was in the account then is put down."""

from __future__ import annotations

import logging
import os
import threading
import time

from gputx.sandbox.plane.account import EmulatedAccount
from gputx.sandbox.plane.calllog import LoggedCall
from gputx.sandbox.plane.table import count_things
from gputx.sandbox.rules import Signal

log = logging.getLogger(__name__)

# What a client that survived the signal is given to take notice of it before its call goes on.
_NOTICE_SECONDS = 0.03


class Striker:
    """Sends what :class:`~gputx.sandbox.rules.Signal` rules ask for."""

    def __init__(self, account: EmulatedAccount) -> None:
        self._account = account

    def strike(self, rule: Signal, entry: LoggedCall) -> None:
        """Send the first signal now and the others in the background; return when the client had time to notice."""
        account = self._account
        # Under the lock, so that nothing begins or ends between the count and the signal.
        with account.lock:
            account.timers.run_due()
            reached = {
                "service": entry.service,
                "action": entry.action,
                "number": entry.number,
                "time": account.timers.now(),
                "at": rule.at,
                **self._census(entry, doomed=rule.at == "before" and rule.kills),
            }
            reached["sent"] = _send(rule.pid, rule.signals[0])
            rule.reached.append(reached)
        log.info("%s to %d %s %s %s", rule.signals[0].name, rule.pid, rule.at, entry.service, entry.action)
        if len(rule.signals) > 1:
            threading.Thread(target=_send_more, args=(rule,), name=f"signals-{rule.pid}", daemon=True).start()
        if not rule.kills and rule.at != "response":
            time.sleep(_NOTICE_SECONDS)

    def _census(self, entry: LoggedCall, *, doomed: bool) -> dict[str, int]:
        """What there is to leave behind. A launch on its way counts, unless it is this one and is dropped."""
        account = self._account
        alive = sum(machine.state in ("pending", "running") for machine in account.machines.all())
        on_the_way = [call for call in account.calls.in_flight() if call.launching and not (doomed and call is entry)]
        return {"alive": alive, "things": count_things(account) + len(on_the_way)}


def _send(pid: int, signum: int) -> bool:
    """Whether there was a process of ours to get it."""
    try:
        os.kill(pid, signum)
    except (ProcessLookupError, PermissionError):
        return False
    return True


def _send_more(rule: Signal) -> None:
    for signum in rule.signals[1:]:
        time.sleep(rule.gap)
        if not _send(rule.pid, signum):
            return
