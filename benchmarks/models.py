"""A Whisper of a real size with random weights, made without a model hub: for measuring speed, and nothing else.

    python benchmarks/models.py build/benchmarks [--size small]

The vocabulary has Whisper's numbers but made-up words. The logits of the end of text, of special and of time tokens
are 0, which noise always exceeds, so that every decoder writes as many tokens as it is allowed to.
"""

from __future__ import annotations

import argparse
from itertools import count, islice, product
from pathlib import Path
from typing import Any

from gputx_remote.languages import NAMES

SHAPES: dict[str, dict[str, int]] = {
    "base": {"d_model": 512, "layers": 6, "heads": 8},
    "small": {"d_model": 768, "layers": 12, "heads": 12},
    "medium": {"d_model": 1024, "layers": 24, "heads": 16},
}
"""As published (the Whisper paper, table 1)."""
END_OF_TEXT, START, NO_TIMESTAMPS, SIZE = 50257, 50258, 50363, 51865
TASKS = ("translate", "transcribe", "startoflm", "startofprev", "nospeech", "notimestamps")
LANGUAGES = START + 1
TIMES = 1501
SUPPRESSED = [1, 2, 7, 8, 9, 10]


def path(directory: Path, size: str) -> Path:
    """Where the checkpoint of a size is, made if it is not there yet."""
    target = directory / f"random-{size}"
    if not (target / "preprocessor_config.json").is_file():
        make(target, size)
    return target


def make(target: Path, size: str) -> None:
    """Write a checkpoint in float32 as transformers saves it. 970 MB for "small"."""
    # Imported here, because whoever only asks for a path would wait seconds for it.
    import torch  # noqa: PLC0415
    from transformers import (  # noqa: PLC0415
        GenerationConfig,
        WhisperConfig,
        WhisperFeatureExtractor,
        WhisperForConditionalGeneration,
    )

    torch.manual_seed(0)
    shape = SHAPES[size]
    sides: dict[str, Any] = {}
    for side in ("encoder", "decoder"):
        sides |= {f"{side}_layers": shape["layers"], f"{side}_attention_heads": shape["heads"]}
        sides |= {f"{side}_ffn_dim": 4 * shape["d_model"]}
    ends = {
        "bos_token_id": END_OF_TEXT,
        "eos_token_id": END_OF_TEXT,
        "pad_token_id": END_OF_TEXT,
        "decoder_start_token_id": START,
    }
    model = WhisperForConditionalGeneration(WhisperConfig(vocab_size=SIZE, d_model=shape["d_model"], **sides, **ends))
    with torch.no_grad():
        model.model.decoder.embed_tokens.weight[END_OF_TEXT:] = 0
    codes = list(islice(NAMES, 99))
    model.generation_config = GenerationConfig(
        max_length=448,
        is_multilingual=True,
        no_timestamps_token_id=NO_TIMESTAMPS,
        prev_sot_token_id=START + 1 + len(codes) + 3,
        max_initial_timestamp_index=50,
        begin_suppress_tokens=[220, END_OF_TEXT],
        suppress_tokens=SUPPRESSED,
        lang_to_id={f"<|{code}|>": LANGUAGES + index for index, code in enumerate(codes)},
        task_to_id={name: LANGUAGES + len(codes) + index for index, name in enumerate(TASKS[:2])},
        alignment_heads=[[shape["layers"] // 2, head] for head in range(4)],
        **ends,
    )
    target.mkdir(parents=True, exist_ok=True)
    model.save_pretrained(target)
    _tokenizer(codes).save_pretrained(target)
    WhisperFeatureExtractor(feature_size=80).save_pretrained(target)


def _tokenizer(codes: list[str]) -> Any:
    from tokenizers import AddedToken  # noqa: PLC0415
    from transformers import WhisperTokenizer  # noqa: PLC0415

    # GPT-2's letters for bytes: those of Latin-1 that print, and for the rest the ones from U+0100 on.
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    letters = [chr(byte) for byte in printable] + [chr(256 + index) for index in range(256 - len(printable))]
    vocabulary = {letter: index for index, letter in enumerate(letters)}
    words = ("Ġ" + "".join(word) for length in count(3) for word in product("abdefghiklmnoprstuvy", repeat=length))
    while len(vocabulary) < END_OF_TEXT:
        vocabulary.setdefault(next(words), len(vocabulary))
    tokenizer = WhisperTokenizer(
        vocab=vocabulary | {"<|endoftext|>": END_OF_TEXT}, merges=[], pad_token="<|endoftext|>"
    )
    special = ["<|endoftext|>", "<|startoftranscript|>", *(f"<|{name}|>" for name in (*codes, *TASKS))]
    tokenizer.add_tokens([AddedToken(name, special=True, normalized=False) for name in special])
    times = [AddedToken(f"<|{index * 0.02:.2f}|>", normalized=False) for index in range(TIMES)]
    tokenizer.add_tokens(times)
    for name, number in (("<|notimestamps|>", NO_TIMESTAMPS), ("<|0.00|>", NO_TIMESTAMPS + 1), ("<|30.00|>", SIZE - 1)):
        if tokenizer.convert_tokens_to_ids(name) != number:
            raise AssertionError(f"{name} is {tokenizer.convert_tokens_to_ids(name)}, not {number}")
    return tokenizer


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("directory", type=Path)
    parser.add_argument("--size", choices=SHAPES, default="small")
    arguments = parser.parse_args()
    print(path(arguments.directory, arguments.size))
