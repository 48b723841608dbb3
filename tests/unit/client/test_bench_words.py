"""Word error rates, held against jiwer; references that are none."""

from __future__ import annotations

import random
import unicodedata
from pathlib import Path

import jiwer
import pytest

from gputx.errors import InputError
from gputx.workflows.word_errors import error_rate, read_reference, words


def test_it_counts_as_jiwer_does() -> None:
    chance = random.Random(4)
    vocabulary = ["ja", "nej", "hej", "tack", "läkaren"]
    for _ in range(300):
        said = tuple(chance.choices(vocabulary, k=chance.randint(1, 12)))
        heard = tuple(chance.choices(vocabulary, k=chance.randint(0, 14)))
        assert error_rate(said, heard) == pytest.approx(jiwer.wer(" ".join(said), " ".join(heard)))


def test_a_long_text_is_counted_whole() -> None:
    said = tuple(f"ord{number}" for number in range(2000))
    heard = (*said[:500], "extra", *said[500:1500], *said[1510:])
    assert error_rate(said, heard) == 11 / 2000


def test_case_and_punctuation_are_no_errors() -> None:
    assert words("Hej,  då! (Åsa – kl. 9.)\n") == ("hej", "då", "åsa", "kl", "9")
    assert words(unicodedata.normalize("NFD", "Läkaren")) == words("läkaren")
    assert words("… !") == ()


def test_a_reference_may_be_written_on_windows(tmp_path: Path) -> None:
    file = tmp_path / "ref.txt"
    file.write_bytes("\ufeffHej då.\r\nTack.".encode())
    assert read_reference(file) == ("hej", "då", "tack")


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (None, "no such file"),
        (b"", "no words"),
        (b" \n...\n", "no words"),
        (b"ID3\x00\x00\xff\xfb", "not text"),
        (b"hej\x00d\x00", "not text"),
        ("hej då".encode("utf-16"), "not text"),
        ("då".encode("latin-1"), "not text"),
    ],
)
def test_a_reference_that_is_none(tmp_path: Path, content: bytes | None, why: str) -> None:
    file = tmp_path / "ref.txt"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(InputError, match=why) as caught:
        read_reference(file)
    assert "\n" not in caught.value.message


def test_a_directory_is_no_reference(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="can't be read"):
        read_reference(tmp_path)
