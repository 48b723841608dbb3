"""Word error rate, as speech recognition benchmarks count it: lower case, punctuation dropped."""

from __future__ import annotations

import unicodedata
from pathlib import Path

import numpy as np

from gputx.errors import InputError


def words(text: str) -> tuple[str, ...]:
    """A text's words in lower case. Whatever is no letter, digit or combining mark parts words."""
    plain = unicodedata.normalize("NFC", text).lower()
    return tuple("".join(c if c.isalnum() or unicodedata.category(c)[0] == "M" else " " for c in plain).split())


def error_rate(said: tuple[str, ...], heard: tuple[str, ...]) -> float:
    """Substitutions, deletions and insertions over the words that were said, the fewest that turn one into the other.

    Levenshtein's distance over words, a row of its table at a time: three thousand words take a tenth of a second.

    Args:
        said: the reference, one word at least.
        heard: the transcript.

    Returns:
        0 for no error; more than 1 where more was invented than said.
    """
    numbers = {word: number for number, word in enumerate(dict.fromkeys(said + heard))}
    across = np.array([numbers[word] for word in heard], dtype=np.int32)
    steps = np.arange(len(heard) + 1, dtype=np.int32)
    row = steps
    for done, word in enumerate(said, 1):
        best = np.empty_like(row)
        best[0] = done
        np.minimum(row[:-1] + (across != numbers[word]), row[1:] + 1, out=best[1:])
        # An insertion costs one more than its left neighbour: less the steps to there, a running minimum.
        row = np.minimum.accumulate(best - steps) + steps
    return float(row[-1]) / len(said)


def read_reference(file: Path) -> tuple[str, ...]:
    """The words of what was said, from a text file.

    Raises:
        InputError: there is no such file, it can't be read, it is no UTF-8 text, or it holds no word.
    """
    try:
        text = file.read_bytes().decode("utf-8-sig")
    except FileNotFoundError:
        raise InputError(f"reference {file}: there is no such file") from None
    except OSError as error:
        raise InputError(f"reference {file}: it can't be read: {error.strerror}") from None
    except UnicodeDecodeError:
        text = "\0"
    if "\0" in text:
        raise InputError(f"reference {file}: it is not text", hint="a UTF-8 text file with what is said, and no more")
    if not (found := words(text)):
        raise InputError(f"reference {file}: it holds no words", hint="a UTF-8 text file with what is said")
    return found
