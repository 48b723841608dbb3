"""Whisper's language codes as the language tags that documents carry (BCP 47)."""

from __future__ import annotations

import re

_RENAMED = {"jw": "jv", "iw": "he"}
"""Whisper's code for Javanese was never ISO 639's."""


def language_tag(code: str) -> str:
    """The tag of a Whisper language; the empty string, which means that it is not known, for what can be none."""
    tag = _RENAMED.get(code, code)
    return tag if re.fullmatch(r"[a-z]{2,3}", tag) else ""
