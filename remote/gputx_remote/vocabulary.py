"""Whisper's tokens: what they are called, how a prompt is put together, and what text a row of them is.

Every number is read from the checkpoint, because models differ: English-only ones have no language tokens, large-v3
has one language more than its elders, and a small vocabulary has numbers of its own.
"""

from __future__ import annotations

import codecs
import json
import string
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from tokenizers import Tokenizer

from gputx_remote.errors import EngineError, ModelUnavailableError
from gputx_remote.languages import NAMES

TIME_STEP = 0.02
"""Seconds from one time token to the next: two 10 ms frames of the spectrogram (the Whisper paper, section 2.3)."""

ENGLISH_ONLY_SIZE = 51864
"""Vocabulary of OpenAI's ``.en`` models; the multilingual ones have more (``is_multilingual`` in whisper/model.py)."""

WITHOUT_SPACES = frozenset({"zh", "ja", "th", "lo", "my", "yue"})
"""Languages whose words are not set apart by spaces, as whisper/tokenizer.py lists them."""

OPENING = "\"'“¿([{-"
"""Punctuation that belongs to the word behind it: ``prepend_punctuations`` of whisper/timing.py."""
CLOSING = "\"'.。,，!！?？:：”)]}、"
"""Punctuation that belongs to the word before it: ``append_punctuations`` of whisper/timing.py."""


@dataclass(frozen=True)
class Vocabulary:
    """The tokens of one checkpoint. Text tokens are those below ``end_of_text``, time tokens those from
    ``timestamp_begin`` on; special ones lie between."""

    size: int
    """Width of the model's logits."""
    context: int
    """Tokens the decoder can hold, prompt included."""
    end_of_text: int
    start_of_transcript: int
    no_timestamps: int
    no_speech: int | None
    start_of_previous: int | None
    start_of_lm: int | None
    transcribe: int | None
    """None in an English-only model, as ``translate``."""
    translate: int | None
    languages: dict[str, int]
    """Token by language code; empty in an English-only model."""
    _tokenizer: Tokenizer = field(repr=False, compare=False)
    _bytes: dict[int, bytes] = field(default_factory=dict, repr=False, compare=False)

    @classmethod
    def load(cls, directory: Path) -> Vocabulary:
        """Read tokenizer.json (or vocab.json and merges.txt), config.json and generation_config.json.

        Raises:
            ModelUnavailableError: one of them is missing or broken, or this is no Whisper vocabulary.
        """
        config = read_json(directory / "config.json")
        generation = read_json(directory / "generation_config.json", missing_ok=True)
        tokenizer = _tokenizer(directory)

        def token(name: str, *fallbacks: Any) -> int | None:
            numbers = (tokenizer.token_to_id(f"<|{name}|>"), *fallbacks)
            return next((number for number in numbers if isinstance(number, int)), None)

        def required(name: str, *fallbacks: Any) -> int:
            number = token(name, *fallbacks)
            if number is None:
                raise ModelUnavailableError(f"model {directory}: its vocabulary has no <|{name}|>")
            return number

        tasks = generation.get("task_to_id") or {}
        languages = _languages(tokenizer, generation) if _multilingual(config, generation) else {}
        return cls(
            size=int(config.get("vocab_size") or tokenizer.get_vocab_size()),
            context=int(config.get("max_target_positions") or 448),
            end_of_text=required("endoftext", config.get("eos_token_id")),
            start_of_transcript=required("startoftranscript", config.get("decoder_start_token_id")),
            no_timestamps=required("notimestamps", generation.get("no_timestamps_token_id")),
            no_speech=token("nospeech", tokenizer.token_to_id("<|nocaptions|>")),
            start_of_previous=token("startofprev", generation.get("prev_sot_token_id")),
            start_of_lm=token("startoflm"),
            transcribe=token("transcribe", tasks.get("transcribe")) if languages else None,
            translate=token("translate", tasks.get("translate")) if languages else None,
            languages=languages,
            _tokenizer=tokenizer,
        )

    @property
    def timestamp_begin(self) -> int:
        """The token of 0.00 s. In every Whisper the time tokens follow <|notimestamps|>."""
        return self.no_timestamps + 1

    def seconds(self, token: int) -> float:
        """What a time token says, from the start of its window."""
        return round((token - self.timestamp_begin) * TIME_STEP, 2)

    def prompt(
        self, language: str | None, task: str, *, timestamps: bool = True, previous: Sequence[int] = ()
    ) -> tuple[int, ...]:
        """What the decoder is given before it writes.

        Args:
            language: a code of ``languages``; an English-only model takes "en" or None and is not told.
            task: "transcribe", or "translate" (into English).
            timestamps: False asks for text without time tokens.
            previous: tokens of what was said before. Only the last half of the context less one are kept, as
                whisper/decoding.py does (223 of 448).

        Raises:
            EngineError: the model knows no such language or task.
            ValueError: a multilingual model needs a language: detect it first.
        """
        tokens = self._behind(previous)
        tokens.append(self.start_of_transcript)
        if self.languages:
            if language is None:
                raise ValueError("a multilingual model has to be told the language")
            if language not in self.languages:
                raise EngineError(f"this model has no token for the language {language!r}")
            number = {"transcribe": self.transcribe, "translate": self.translate}.get(task)
            if number is None:
                raise EngineError(f"this model can't {task}")
            tokens += (self.languages[language], number)
        elif language not in (None, "en") or task != "transcribe":
            raise EngineError(f"this model transcribes English only: it can't {task} {language or 'speech'}")
        if not timestamps:
            tokens.append(self.no_timestamps)
        return tuple(tokens)

    def _behind(self, previous: Sequence[int]) -> list[int]:
        if not previous or self.start_of_previous is None:
            return []
        return [self.start_of_previous, *previous[-(self.context // 2 - 1) :]]

    def encode(self, text: str) -> list[int]:
        """Tokens of plain text, with the leading space Whisper's prompts have. Special tokens spelled out in it are
        left out, so that nobody's text can end or steer a transcript. Nothing for blank text."""
        text = text.strip()
        if not text:
            return []
        tokens = self._tokenizer.encode(" " + text, add_special_tokens=False).ids
        return [token for token in tokens if token < self.end_of_text]

    def text(self, tokens: Sequence[int]) -> str:
        """The text of tokens; special and time tokens say nothing. Bytes that make no character are dropped."""
        return b"".join(self._piece(token) for token in tokens).decode("utf-8", "ignore")

    def words(self, tokens: Sequence[int], language: str | None = None) -> list[tuple[str, tuple[int, ...]]]:
        """Group tokens into words, as ``split_to_word_tokens`` and ``merge_punctuations`` of Whisper do.

        Args:
            tokens: of text; special and time tokens are left out.
            language: of the text; each character stands alone in those of :data:`WITHOUT_SPACES`.

        Returns:
            (word, its tokens): words with their leading space and their punctuation. Together they are
            :meth:`text` of the tokens, and together their tokens are the text tokens given.
        """
        pieces = self._characters(token for token in tokens if token < self.end_of_text)
        words: list[tuple[str, tuple[int, ...]]] = []
        for text, group in pieces:
            apart = text.startswith(" ") or text.strip() in string.punctuation or language in WITHOUT_SPACES
            # A space that is a token of its own belongs to what follows.
            if words and (not apart or words[-1][0] == " "):
                words[-1] = (words[-1][0] + text, words[-1][1] + group)
            else:
                words.append((text, group))
        return _with_punctuation(words)

    def names(self, size: int) -> list[str]:
        """What tokens 0 to ``size`` are called, in a vocabulary file; those without a name get one of their own."""
        return [self._name(token) for token in range(size)]

    def _name(self, token: int) -> str:
        known = self._tokenizer.id_to_token(token)
        if known is not None:  # one token of multilingual models is called ""
            return str(known)
        if self.timestamp_begin <= token < self.size:
            return f"<|{self.seconds(token):.2f}|>"
        return f"<|unused {token}|>"

    def _characters(self, tokens: Iterator[int]) -> Iterator[tuple[str, tuple[int, ...]]]:
        """The smallest groups of tokens that hold whole characters. A byte-level token may end inside one."""
        decoder = codecs.getincrementaldecoder("utf-8")("ignore")
        text, group = "", []
        for token in tokens:
            text += decoder.decode(self._piece(token))
            group.append(token)
            if not decoder.getstate()[0]:
                yield text, tuple(group)
                text, group = "", []
        if group:
            yield text, tuple(group)

    def _piece(self, token: int) -> bytes:
        """The bytes of a text token, none for others."""
        if not 0 <= token < self.end_of_text:
            return b""
        known = self._bytes.get(token)
        if known is None:
            known = self._bytes[token] = bytes(_BYTES[c] for c in self._tokenizer.id_to_token(token) or "")
        return known


def read_json(path: Path, *, missing_ok: bool = False) -> dict[str, Any]:
    """The object in one of a model's JSON files; empty if it is missing and may be.

    Raises:
        ModelUnavailableError: it is missing, unreadable or something else than an object.
    """
    try:
        value = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        if missing_ok:
            return {}
        raise ModelUnavailableError(f"model {path.parent}: it has no {path.name}") from None
    except (OSError, ValueError) as error:
        raise ModelUnavailableError(f"model {path.parent}: its {path.name} can't be read: {error}") from error
    if not isinstance(value, dict):
        raise ModelUnavailableError(f"model {path.parent}: its {path.name} is no JSON object")
    return value


def _tokenizer(directory: Path) -> Tokenizer:
    whole = directory / "tokenizer.json"
    try:
        return Tokenizer.from_file(str(whole)) if whole.is_file() else _older_tokenizer(directory)
    except ModelUnavailableError:
        raise
    except Exception as error:  # tokenizers raises nothing narrower for a broken file
        raise ModelUnavailableError(f"model {directory}: its vocabulary can't be read: {error}") from error


def _older_tokenizer(directory: Path) -> Tokenizer:
    """From the three files that checkpoints had before tokenizer.json."""
    from tokenizers import AddedToken  # noqa: PLC0415 - hardly any checkpoint comes this way
    from tokenizers.models import BPE  # noqa: PLC0415
    from tokenizers.pre_tokenizers import ByteLevel  # noqa: PLC0415

    vocabulary, merges = directory / "vocab.json", directory / "merges.txt"
    if not vocabulary.is_file() or not merges.is_file():
        raise ModelUnavailableError(f"model {directory}: it has neither tokenizer.json nor vocab.json and merges.txt")
    tokenizer = Tokenizer(BPE.from_file(str(vocabulary), str(merges)))
    tokenizer.pre_tokenizer = ByteLevel(add_prefix_space=False)
    added = read_json(directory / "added_tokens.json", missing_ok=True)
    tokenizer.add_tokens([AddedToken(name, normalized=False) for name in sorted(added, key=lambda name: added[name])])
    moved = [name for name, number in added.items() if tokenizer.token_to_id(name) != number]
    if moved:
        raise ModelUnavailableError(f"model {directory}: its added_tokens.json leaves gaps before {moved[0]}")
    return tokenizer


def _multilingual(config: dict[str, Any], generation: dict[str, Any]) -> bool:
    said = generation.get("is_multilingual")
    if isinstance(said, bool):
        return said
    return bool(generation.get("lang_to_id")) or config.get("vocab_size") != ENGLISH_ONLY_SIZE


def _languages(tokenizer: Tokenizer, generation: dict[str, Any]) -> dict[str, int]:
    said = generation.get("lang_to_id")
    if said:
        return {name.removeprefix("<|").removesuffix("|>"): int(number) for name, number in said.items()}
    found = {code: tokenizer.token_to_id(f"<|{code}|>") for code in NAMES}
    return {code: number for code, number in found.items() if number is not None}


def _with_punctuation(words: list[tuple[str, tuple[int, ...]]]) -> list[tuple[str, tuple[int, ...]]]:
    """Words with the marks that open them and those that close them."""
    opened: list[tuple[str, tuple[int, ...]]] = []
    for text, tokens in reversed(words):
        if opened and text.startswith(" ") and text.strip() and text.strip() in OPENING:
            opened[-1] = (text + opened[-1][0], tokens + opened[-1][1])
        else:
            opened.append((text, tokens))
    closed: list[tuple[str, tuple[int, ...]]] = []
    for text, tokens in reversed(opened):
        if closed and text and text in CLOSING and not closed[-1][0].endswith(" "):
            closed[-1] = (closed[-1][0] + text, closed[-1][1] + tokens)
        else:
            closed.append((text, tokens))
    return closed


def _byte_of_character() -> dict[str, int]:
    """The byte each character of a byte-level vocabulary stands for (GPT-2's table).

    Bytes that print as Latin-1 stand for themselves; the others, in order, for the characters from U+0100 on.
    """
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    return {chr(byte): byte for byte in printable} | {chr(256 + index): byte for index, byte in enumerate(others)}


_BYTES = _byte_of_character()
