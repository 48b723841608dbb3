"""What a form asks of the engine: its text fields, checked, as the options of a transcription."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence

from gputx_remote.engine.transcriber import TEMPERATURES, TranscribeOptions
from gputx_remote.languages import NAMES, code_of
from gputx_remote.server.errors import RefusedError
from gputx_remote.vocabulary import Vocabulary

Fields = Mapping[str, Sequence[str]]

_TRUE, _FALSE = ("true", "1", "yes", "on"), ("false", "0", "no", "off", "")
_SHOWN = 40


def one(fields: Fields, name: str) -> str | None:
    """The value of a field that may come once; None where it is missing or empty.

    Raises:
        RefusedError: it came several times.
    """
    values = fields.get(name, ())
    if len(values) > 1:
        raise _invalid(name, "it came more than once")
    return values[0] if values and values[0] else None


def known(fields: Fields, names: Collection[str]) -> None:
    """Refuse a field that nobody would look at: it may be misspelt.

    Raises:
        RefusedError: there is one.
    """
    for name in fields:
        if name not in names:
            raise RefusedError(
                400,
                "unknown_field",
                f"there is no field {name[:_SHOWN]!r}; there are {', '.join(names)}",
                param=name[:64],
            )


def flag(fields: Fields, name: str) -> bool:
    """A field that is true or false; false where it is missing."""
    text = (one(fields, name) or "").lower()
    if text not in _TRUE + _FALSE:
        raise _invalid(name, "true or false")
    return text in _TRUE


def word_of(fields: Fields, name: str, words: Sequence[str]) -> str:
    """A field that is one of some words; the first where it is missing."""
    text = one(fields, name) or words[0]
    if text not in words:
        raise _invalid(name, f"one of {', '.join(words)}")
    return text


def temperatures(fields: Fields) -> tuple[float, ...]:
    """The field ``temperature`` as the engine takes it: 0 is the series that goes up where a text can't be believed."""
    text = one(fields, "temperature")
    try:
        value = float(text or 0)
    except ValueError:
        value = math.nan
    if not 0 <= value <= 1:
        raise _invalid("temperature", "a number from 0 to 1")
    return (value,) if value else TEMPERATURES


def language(text: str | None, vocabulary: Vocabulary, default: str | None) -> str | None:
    """The language a request names, as a code; None to detect it.

    Raises:
        RefusedError: nobody, or not this model, knows it.
    """
    if not vocabulary.languages:
        if text and text.lower() != "auto" and code_of(text) != "en":
            raise _invalid("language", "this model knows English only")
        return "en"
    if text is None:
        return default if default in vocabulary.languages else None
    if text.lower() == "auto":
        return None
    code = code_of(text)
    if code is None or code not in vocabulary.languages:
        raise _invalid("language", "none that this model knows; a code such as sv, or an English name, or auto")
    return code


def task(wanted: str, vocabulary: Vocabulary) -> str:
    """``transcribe`` or ``translate``.

    Raises:
        RefusedError: this model can't translate.
    """
    if wanted == "translate" and not vocabulary.languages:
        raise _invalid("task", "this model knows English only and can't translate")
    return wanted


def words_before(text: str | None, name: str, vocabulary: Vocabulary, room: int) -> tuple[str | None, int]:
    """A prompt or hotwords, and the tokens left beside them.

    Raises:
        RefusedError: longer than the model can take, or characters that nobody writes.
    """
    if not text or not text.strip():
        return None, room
    if any(ord(character) < 32 and character not in "\t\n\r" for character in text):
        raise _invalid(name, "it has control characters in it")
    took = len(vocabulary.encode(text))
    if took > room:
        raise RefusedError(400, "prompt_too_long", f"{name} is {took} tokens long; {room} at most", param=name)
    return text, room - took


def options(
    fields: Fields, vocabulary: Vocabulary, *, wanted_task: str, words: bool, default: str | None
) -> TranscribeOptions:
    """All of it.

    Args:
        fields: the form's.
        vocabulary: the model's.
        wanted_task: "transcribe" or "translate".
        words: whether word times are asked for.
        default: the language where the form names none; None to detect it.

    Raises:
        RefusedError: a field can't be what it is.
    """
    room = vocabulary.context // 2 - 1
    hotwords, room = words_before(one(fields, "hotwords"), "hotwords", vocabulary, room)
    prompt, _ = words_before(one(fields, "prompt"), "prompt", vocabulary, room)
    return TranscribeOptions(
        language=language(one(fields, "language"), vocabulary, default),
        task=task(wanted_task, vocabulary),
        word_timestamps=words,
        initial_prompt=prompt,
        hotwords=hotwords,
        temperatures=temperatures(fields),
    )


def name_of(code: str) -> str:
    """A language as OpenAI's verbose_json names it: ``swedish``."""
    return NAMES.get(code, code)


def _invalid(name: str, what: str) -> RefusedError:
    return RefusedError(400, "invalid_value", f"{name} can't be that: {what}", param=name)
