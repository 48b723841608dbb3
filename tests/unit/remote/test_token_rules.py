"""The rules of what may come next, held against transformers' own and against what no transcript may look like."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from gputx_remote.rules import TokenRules
from gputx_remote.vocabulary import Vocabulary


@pytest.fixture(scope="module")
def vocabulary(model_path: Path) -> Vocabulary:
    return Vocabulary.load(model_path)


@pytest.fixture(scope="module")
def rules(model_path: Path, vocabulary: Vocabulary) -> TokenRules:
    return TokenRules.load(model_path, vocabulary)


def written_at_random(rules: TokenRules, rng: np.random.Generator, length: int, bias: float) -> list[int]:
    """Tokens drawn from noise under the rules; ``bias`` makes time tokens likelier."""
    written: list[int] = []
    while len(written) < length:
        logits = rng.standard_normal(rules.size).astype(np.float32)
        logits[rules.timestamp_begin :] += bias
        logits[rules.end_of_text] = -20
        written.append(int(rules.allowed(logits, written).argmax()))
    return written


def test_they_come_from_the_checkpoint(rules: TokenRules) -> None:
    assert rules.suppress == (901, 1001, 1002, 1003, 1004, 1005)
    assert rules.begin_suppress == (220,)
    assert rules.max_initial_timestamp_index == 1500
    assert rules.timestamps


def test_special_tokens_are_never_written_even_if_the_checkpoint_forgets_them(
    model_path: Path, tmp_path: Path, vocabulary: Vocabulary
) -> None:
    shutil.copy(model_path / "config.json", tmp_path)
    bare = TokenRules.load(tmp_path, vocabulary)
    assert bare.suppress == (901, 1001, 1002, 1003, 1004, 1005)
    assert bare.max_initial_timestamp_index == 50


def test_config_json_stands_in_for_what_generation_config_lacks(
    model_path: Path, tmp_path: Path, vocabulary: Vocabulary
) -> None:
    config = json.loads((model_path / "config.json").read_text()) | {"suppress_tokens": [7, 99_999]}
    (tmp_path / "config.json").write_text(json.dumps(config))
    (tmp_path / "generation_config.json").write_text(json.dumps({"max_initial_timestamp_index": None}))
    rules = TokenRules.load(tmp_path, vocabulary)
    assert rules.suppress == (7, 901, 1001, 1002, 1003, 1004, 1005)
    assert rules.max_initial_timestamp_index is None


@pytest.mark.parametrize("limit", [None, 50])
def test_the_same_tokens_are_allowed_as_by_transformers(rules: TokenRules, limit: int | None) -> None:
    import torch  # noqa: PLC0415 - seconds of imports for this test alone
    from transformers import GenerationConfig, LogitsProcessorList  # noqa: PLC0415
    from transformers.generation import logits_process as theirs  # noqa: PLC0415

    config = GenerationConfig(eos_token_id=rules.end_of_text)
    config.no_timestamps_token_id = rules.no_timestamps
    config.max_initial_timestamp_index = limit
    begin = 3
    processors = LogitsProcessorList(
        [
            theirs.SuppressTokensAtBeginLogitsProcessor(list(rules.begin_suppress), begin),
            theirs.SuppressTokensLogitsProcessor(list(rules.suppress)),
            theirs.WhisperTimeStampLogitsProcessor(config, begin_index=begin),
        ]
    )
    rules = TokenRules(**{**vars(rules), "max_initial_timestamp_index": limit})
    rng = np.random.default_rng(4)
    for case in range(60):
        written = written_at_random(rules, rng, case % 9, bias=float(rng.choice([-1.0, 0.0, 4.0])))
        logits = (rng.standard_normal(rules.size) * 3).astype(np.float32)
        logits[rules.timestamp_begin :] -= rng.choice([0.0, 6.0])
        ours = rules.allowed(logits, written)
        prompt = torch.tensor([[901, 916, 1002, *written]])
        other = processors(prompt, torch.from_numpy(logits[None]))[0].numpy()
        np.testing.assert_array_equal(ours, other)


def test_without_time_stamps_only_the_suppressions_hold(rules: TokenRules) -> None:
    plain = rules.for_prompt((901, 916, 1002, rules.no_timestamps))
    assert not plain.timestamps
    assert rules.for_prompt((901, 916, 1002)).timestamps
    logits = np.zeros(rules.size, np.float32)
    first, second = plain.allowed(logits, []), plain.allowed(logits, [5])
    assert set(np.flatnonzero(np.isinf(first))) == {220, *rules.suppress}
    assert set(np.flatnonzero(np.isinf(second))) == set(rules.suppress)
    assert not np.isinf(logits).any()  # a copy


def test_times_come_in_pairs_and_never_go_back(rules: TokenRules) -> None:
    rng = np.random.default_rng(11)
    for bias in (-1.0, 0.0, 3.0):
        tokens = written_at_random(rules, rng, 60, bias)
        assert tokens[0] >= rules.timestamp_begin
        times = [(place, token) for place, token in enumerate(tokens) if token >= rules.timestamp_begin]
        assert len(times) > 2
        for (place, start), (after, end) in zip(times[::2], times[1::2], strict=False):
            assert end > start
            assert after > place + 1  # text between them
        assert all(start >= end for (_, end), (_, start) in zip(times[1::2], times[2::2], strict=False))
