"""Durations, sizes and money as people write and read them."""

from __future__ import annotations

import re

from gputx.errors import InputError

_DURATION_PART = re.compile(r"(\d+(?:\.\d+)?)(ms|s|m|h|d)")
_SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}


def parse_duration(text: str) -> float:
    """Seconds from ``90``, ``90s``, ``15m``, ``2h``, ``1h30m``, ``1d`` or ``250ms``.

    Raises:
        InputError: for anything else.
    """
    compact = text.strip().lower().replace(" ", "")
    if re.fullmatch(r"\d+(\.\d+)?", compact):
        return float(compact)
    parts = _DURATION_PART.findall(compact)
    if not parts or "".join(number + unit for number, unit in parts) != compact:
        raise InputError(f"{text!r} is not a duration", hint="write it like 90s, 15m, 2h or 1h30m")
    return sum(float(number) * _SECONDS[unit] for number, unit in parts)


def duration(seconds: float) -> str:
    """``7.0 s`` under a minute, then ``20 min 04 s``, then ``3 h 02 min``."""
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60:02d} s"
    return f"{whole // 3600} h {whole % 3600 // 60:02d} min"


def position(seconds: float) -> str:
    """A place in a recording: ``13:39``, or ``1:02:03`` past an hour."""
    whole = int(seconds)
    if whole < 3600:
        return f"{whole // 60}:{whole % 60:02d}"
    return f"{whole // 3600}:{whole % 3600 // 60:02d}:{whole % 60:02d}"


def money(dollars: float) -> str:
    """US dollars, to the hundredth of a cent where the sum is small."""
    if dollars < 0.1:
        return f"${dollars:.4f}"
    return f"${dollars:.3f}" if dollars < 10 else f"${dollars:.2f}"


def size(count: float) -> str:
    """Bytes in decimal units, as disks and networks count: ``14.2 MB``."""
    for unit in ("B", "kB", "MB", "GB"):
        if count < 1000 or unit == "GB":
            return f"{count:.0f} {unit}" if unit == "B" else f"{count:.1f} {unit}"
        count /= 1000
    raise AssertionError("unreachable: GB ends the loop")
