"""Prompts, text and words from tokens, for the tiny model and for vocabularies built here."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from tokenizers import AddedToken, Tokenizer
from tokenizers.models import BPE
from tokenizers.pre_tokenizers import ByteLevel

from gputx_remote.errors import EngineError, ModelUnavailableError
from gputx_remote.vocabulary import Vocabulary

SPECIAL = ("endoftext", "startoftranscript", "translate", "transcribe", "startoflm", "startofprev")


@pytest.fixture(scope="module")
def tiny(model_path: Path) -> Vocabulary:
    return Vocabulary.load(model_path)


def make(directory: Path, *languages: str, no_speech: str = "nospeech", config: dict | None = None) -> Path:
    """A vocabulary of single bytes, so that every character beyond ASCII is split between tokens."""
    characters = sorted(ByteLevel.alphabet())
    tokenizer = Tokenizer(BPE({character: number for number, character in enumerate(characters)}, []))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    names = [*SPECIAL[:2], *languages, *SPECIAL[2:], no_speech, "notimestamps"]
    tokenizer.add_tokens([AddedToken(f"<|{name}|>", normalized=False) for name in names])
    tokenizer.save(str(directory / "tokenizer.json"))
    size = 256 + len(names) + 1501
    (directory / "config.json").write_text(json.dumps({"vocab_size": size, **(config or {})}))
    return directory


def spelled(text: str, vocabulary: Vocabulary) -> list[int]:
    tokens = vocabulary.encode(text)
    assert len(tokens) == len(text.encode()) + 1  # one for each byte, and the leading space
    return tokens


def test_every_number_comes_from_the_checkpoint(tiny: Vocabulary) -> None:
    assert (tiny.size, tiny.end_of_text, tiny.start_of_transcript, tiny.no_speech) == (2508, 900, 901, 1005)
    assert (tiny.translate, tiny.transcribe, tiny.start_of_previous) == (1001, 1002, 1004)
    assert (tiny.no_timestamps, tiny.timestamp_begin) == (1006, 1007)
    assert len(tiny.languages) == 99
    assert (tiny.languages["en"], tiny.languages["sv"], tiny.languages["haw"]) == (902, 916, 995)


def test_seconds_of_time_tokens(tiny: Vocabulary) -> None:
    assert [tiny.seconds(tiny.timestamp_begin + step) for step in (0, 1, 7, 1500)] == [0.0, 0.02, 0.14, 30.0]


def test_a_prompt(tiny: Vocabulary) -> None:
    assert tiny.prompt("sv", "transcribe") == (901, 916, 1002)
    assert tiny.prompt("de", "translate", timestamps=False) == (901, 904, 1001, 1006)


def test_what_was_said_before_is_cut_from_the_left(tiny: Vocabulary) -> None:
    before = list(range(300))
    assert tiny.prompt("sv", "transcribe", previous=before) == (1004, *before[-223:], 901, 916, 1002)
    assert tiny.prompt("sv", "transcribe", previous=[5, 6]) == (1004, 5, 6, 901, 916, 1002)


def test_what_a_model_does_not_know(tiny: Vocabulary) -> None:
    with pytest.raises(EngineError, match="no token for the language 'yue'"):
        tiny.prompt("yue", "transcribe")
    with pytest.raises(EngineError, match="can't summarise"):
        tiny.prompt("sv", "summarise")
    with pytest.raises(ValueError, match="language"):
        tiny.prompt(None, "transcribe")


def test_an_english_only_model_is_told_no_language(tmp_path: Path) -> None:
    make(tmp_path, "en", "sv")
    (tmp_path / "generation_config.json").write_text(json.dumps({"is_multilingual": False}))
    english = Vocabulary.load(tmp_path)
    assert english.languages == {}
    start = (english.start_of_transcript,)
    assert english.prompt(None, "transcribe") == english.prompt("en", "transcribe") == start
    assert english.prompt("en", "transcribe", timestamps=False) == (*start, english.no_timestamps)
    for language, task in (("sv", "transcribe"), ("en", "translate")):
        with pytest.raises(EngineError, match="English only"):
            english.prompt(language, task)


def test_an_english_only_model_without_generation_config_is_known_by_its_size(tmp_path: Path) -> None:
    make(tmp_path, "en", "sv", config={"vocab_size": 51864})
    assert Vocabulary.load(tmp_path).languages == {}


def test_a_multilingual_model_without_generation_config(tmp_path: Path) -> None:
    vocabulary = Vocabulary.load(make(tmp_path, "en", "sv", "yue", no_speech="nocaptions"))
    assert vocabulary.languages == {"en": 258, "sv": 259, "yue": 260}
    assert vocabulary.no_speech == 265
    assert vocabulary.context == 448


def test_text_survives_the_way_there_and_back(tiny: Vocabulary, tmp_path: Path) -> None:
    text = "Räksmörgås, “日本” — 👩‍🔬 klockan 7!"
    for vocabulary in (tiny, Vocabulary.load(make(tmp_path, "sv"))):
        assert vocabulary.text(vocabulary.encode(f"  {text} ")) == f" {text}"
    assert tiny.encode("  ") == []


def test_special_and_time_tokens_have_no_text(tiny: Vocabulary) -> None:
    hello = tiny.encode("Hej.")
    assert tiny.text([901, 916, 1002, 1007, *hello, 1060, 900]) == " Hej."


def test_special_tokens_in_somebodys_prompt_are_only_words(tiny: Vocabulary) -> None:
    tokens = tiny.encode("Hej <|endoftext|> då <|1.00|>")
    assert tokens
    assert max(tokens) < tiny.end_of_text


def test_half_a_character_is_dropped(tmp_path: Path) -> None:
    vocabulary = Vocabulary.load(make(tmp_path, "sv"))
    tokens = spelled("å på", vocabulary)
    assert vocabulary.text(tokens[:-1]) == " å p"
    assert vocabulary.text(tokens[2:]) == " på"


def test_words_keep_their_spaces_and_their_punctuation(tiny: Vocabulary) -> None:
    tokens = tiny.encode('Han sa: "Hej, (du)!" och gick -5 m.')
    words = tiny.words([1007, *tokens, 1080])
    assert [text for text, _ in words] == [" Han", " sa:", ' "Hej,', ' (du)!"', " och", " gick", " -5", " m."]
    assert [token for _, group in words for token in group] == tokens
    assert all(tiny.text(group) == text for text, group in words)


def test_words_are_never_cut_inside_a_character(tmp_path: Path) -> None:
    vocabulary = Vocabulary.load(make(tmp_path, "sv"))
    tokens = spelled("Åå är ö", vocabulary)
    assert [text for text, _ in vocabulary.words(tokens)] == [" Åå", " är", " ö"]
    # A row that ends inside a character: nothing is lost, and nothing is shown as �.
    words = vocabulary.words(tokens[:-1])
    assert "".join(text for text, _ in words) == " Åå är "
    assert [token for _, group in words for token in group] == tokens[:-1]


@pytest.mark.parametrize("language", ["zh", "ja", "yue"])
def test_where_no_spaces_are_written_each_character_stands_alone(tmp_path: Path, language: str) -> None:
    vocabulary = Vocabulary.load(make(tmp_path, language))
    tokens = spelled("日本語。", vocabulary)[1:]
    assert [text for text, _ in vocabulary.words(tokens, language)] == ["日", "本", "語。"]
    assert [text for text, _ in vocabulary.words(tokens, "sv")] == ["日本語。"]


def test_the_older_three_files_do_as_well(tiny: Vocabulary, model_path: Path, tmp_path: Path) -> None:
    whole = json.loads((model_path / "tokenizer.json").read_text(encoding="utf-8"))
    (tmp_path / "vocab.json").write_text(json.dumps(whole["model"]["vocab"]))
    merges = "\n".join(" ".join(pair) for pair in whole["model"]["merges"])
    (tmp_path / "merges.txt").write_text(f"#version: 0.2\n{merges}\n", encoding="utf-8")
    added = {token["content"]: token["id"] for token in whole["added_tokens"]}
    (tmp_path / "added_tokens.json").write_text(json.dumps(added))
    for name in ("config.json", "generation_config.json"):
        shutil.copy(model_path / name, tmp_path)
    older = Vocabulary.load(tmp_path)
    assert older == tiny
    assert older.encode("Hej, på dig!") == tiny.encode("Hej, på dig!")


def test_names_cover_every_row_of_the_logits(tiny: Vocabulary, tmp_path: Path) -> None:
    names = tiny.names(tiny.size + 2)
    assert len(names) == len(set(names)) == tiny.size + 2
    assert names[916] == "<|sv|>"
    # An old tokenizer.json stops before the time tokens.
    vocabulary = Vocabulary.load(make(tmp_path, "sv"))
    assert vocabulary.names(vocabulary.size)[-1] == "<|30.00|>"


@pytest.mark.parametrize(
    ("name", "content", "complaint"),
    [
        ("tokenizer.json", None, "neither tokenizer.json nor"),
        ("tokenizer.json", "{}", "vocabulary can't be read"),
        ("config.json", None, "no config.json"),
        ("config.json", "[]", "no JSON object"),
        ("generation_config.json", "{", "can't be read"),
    ],
)
def test_a_broken_checkpoint(tmp_path: Path, name: str, content: str | None, complaint: str) -> None:
    make(tmp_path, "sv")
    if content is None:
        (tmp_path / name).unlink()
    else:
        (tmp_path / name).write_text(content)
    with pytest.raises(ModelUnavailableError, match=complaint):
        Vocabulary.load(tmp_path)
