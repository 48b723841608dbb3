"""The rules in force, in the order they were given, and the questions the control plane asks of them."""

from __future__ import annotations

import fnmatch
import itertools
import threading
from typing import Any, TypeVar

from gputx.errors import InputError
from gputx.sandbox.grammar import parse
from gputx.sandbox.rules import Fault, Interruption, NoCapacity, NoUserData, Rule, Setting, Signal, Taken

_AtCall = TypeVar("_AtCall", Fault, Signal)


class RuleBook:
    """Thread safe; faults are asked for outside the control plane's lock, while other calls run."""

    def __init__(self, defaults: dict[str, float]) -> None:
        self._defaults = defaults
        self._rules: dict[str, Rule] = {}
        self._lock = threading.Lock()
        self._numbers = itertools.count(1)

    def add(self, text: str) -> Rule:
        """Put a rule in force.

        Raises:
            InputError: the text is no rule.
        """
        rule = parse(text)
        with self._lock:
            rule.id = f"r{next(self._numbers)}"
            self._rules[rule.id] = rule
        return rule

    def remove(self, rule_id: str) -> None:
        """Take a rule out of force.

        Raises:
            InputError: there is none of that id.
        """
        with self._lock:
            if self._rules.pop(rule_id, None) is None:
                raise InputError(f"there is no rule {rule_id!r}", hint="`gputx sandbox rule list` shows them")

    def clear(self) -> None:
        with self._lock:
            self._rules.clear()

    def as_dicts(self) -> list[dict[str, Any]]:
        with self._lock:
            return [rule.as_dict() for rule in self._rules.values()]

    def value(self, name: str) -> float:
        """A setting: the last rule that names it, else the account's default."""
        with self._lock:
            for rule in reversed(self._rules.values()):
                if isinstance(rule, Setting) and rule.name == name:
                    return rule.value
        return self._defaults[name]

    def fault(self, service: str, action: str, facets: dict[str, str]) -> Fault | None:
        """The first fault that takes effect on this call; counts as a hit."""
        return self._at_call(Fault, service, action, facets)

    def launch_fault(self, facets: dict[str, str]) -> Fault | None:
        """The first fault of RunInstances, by that name, that fails a launch within another call; counts as a hit."""
        with self._lock:
            for rule in self._rules.values():
                named = isinstance(rule, Fault) and rule.action == "RunInstances" and rule.error
                if isinstance(rule, Fault) and named and rule.fits(facets) and rule.claim():
                    return rule
        return None

    def signal(self, service: str, action: str, facets: dict[str, str]) -> Signal | None:
        """The first signal that is to be sent at this call; counts as a hit."""
        return self._at_call(Signal, service, action, facets)

    def _at_call(self, kind: type[_AtCall], service: str, action: str, facets: dict[str, str]) -> _AtCall | None:
        with self._lock:
            for rule in self._rules.values():
                if (
                    isinstance(rule, kind)
                    and fnmatch.fnmatchcase(action, rule.action)
                    and fnmatch.fnmatchcase(service, rule.service)
                    and rule.fits(facets)
                    and rule.claim()
                ):
                    return rule
        return None

    def withholds_user_data(self, facets: dict[str, str]) -> bool:
        """Whether an instance is to boot as if it had been given no user-data; counts as a hit."""
        with self._lock:
            return any(
                isinstance(rule, NoUserData) and rule.fits(facets) and rule.claim() for rule in self._rules.values()
            )

    def has_capacity(self, zone: str, instance_type: str, market: str, *, count_hit: bool = True) -> bool:
        """Whether no rule empties this pool."""
        facets = {"zone": zone, "type": instance_type, "market": market}
        with self._lock:
            for rule in self._rules.values():
                if isinstance(rule, NoCapacity) and rule.fits(facets):
                    spent = rule.times is not None and rule.hits >= rule.times
                    if rule.claim() if count_hit else not spent:
                        return False
        return True

    def is_taken(self, bucket: str) -> bool:
        """Whether another account has a bucket of this name."""
        with self._lock:
            return any(isinstance(rule, Taken) and rule.bucket == bucket for rule in self._rules.values())

    def interruptions(self) -> list[Interruption]:
        """Those not spent yet, in order."""
        with self._lock:
            return [
                rule
                for rule in self._rules.values()
                if isinstance(rule, Interruption) and (rule.times is None or rule.hits < rule.times)
            ]
