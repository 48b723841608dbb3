"""A small byte-level BPE with the special tokens of Whisper: tokenizer and feature extractor in a directory."""

import argparse
import json
import random

import grammar_full
from tokenizers import AddedToken, Tokenizer, models, pre_tokenizers, trainers
from transformers import WhisperFeatureExtractor, WhisperProcessor, WhisperTokenizer
from transformers.models.whisper.tokenization_whisper import LANGUAGES

# As in whisper-small: 99 languages, and their order counts.
LANGUAGE_TOKENS = [f"<|{code}|>" for code in list(LANGUAGES)[:99]]
TASK_TOKENS = [
    "<|translate|>",
    "<|transcribe|>",
    "<|startoflm|>",
    "<|startofprev|>",
    "<|nospeech|>",
    "<|notimestamps|>",
]
TIMESTAMPS = [f"<|{index * 0.02:.2f}|>" for index in range(1501)]


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out")
    parser.add_argument("--size", type=int, default=900, help="text tokens")
    options = parser.parse_args()

    random.seed(7)
    corpus = [" " + grammar_full.sentence() for _ in range(20_000)]
    vocabulary, merges = train_bpe(corpus, options.size)
    vocabulary["<|endoftext|>"] = len(vocabulary)
    special = ["<|startoftranscript|>", *LANGUAGE_TOKENS, *TASK_TOKENS]
    tokenizer = WhisperTokenizer(vocab=vocabulary, merges=merges, extra_special_tokens=special)
    tokenizer.add_tokens(
        [
            AddedToken(stamp, special=False, normalized=False, lstrip=False, rstrip=False)
            for stamp in TIMESTAMPS
        ]
    )
    features = WhisperFeatureExtractor(feature_size=80)
    WhisperProcessor(feature_extractor=features, tokenizer=tokenizer).save_pretrained(options.out)
    tokenizer.save_pretrained(options.out)
    features.save_pretrained(options.out)
    print(f"{options.out}: {len(WhisperTokenizer.from_pretrained(options.out))} tokens")


def train_bpe(corpus, size):
    tokenizer = Tokenizer(models.BPE())
    tokenizer.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    trainer = trainers.BpeTrainer(
        vocab_size=size, initial_alphabet=alphabet, special_tokens=[], show_progress=False
    )
    tokenizer.train_from_iterator(corpus, trainer)
    model = json.loads(tokenizer.to_str())["model"]
    return dict(model["vocab"]), [
        tuple(merge) if isinstance(merge, list) else tuple(merge.split(" ")) for merge in model["merges"]
    ]


if __name__ == "__main__":
    main()
