"""Synthesise a bank of utterances: OUT.npy holds the samples, OUT.json where each lies and when its words are said."""

import argparse
import importlib
import json
import random
import time

import numpy as np

import espeak


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("seed", type=int)
    parser.add_argument("count", type=int)
    parser.add_argument("out", help="path without suffix")
    parser.add_argument("--exclude", help="a bank, or a list of sentences, that must not occur again")
    parser.add_argument("--grammar", choices=["grammar", "grammar_full"], default="grammar")
    options = parser.parse_args()

    begun = time.monotonic()
    excluded = sentences(options.exclude) if options.exclude else set()
    samples, utterances, unusable = make(options.seed, options.count, excluded, options.grammar)
    np.save(options.out + ".npy", samples)
    with open(options.out + ".json", "w", encoding="utf-8") as file:
        json.dump(utterances, file, ensure_ascii=False)
    hours, seconds = len(samples) / espeak.SAMPLE_RATE / 3600, time.monotonic() - begun
    print(
        f"{options.out}: {len(utterances)} utterances, {unusable} unusable, {hours:.2f} h, made in {seconds:.0f} s"
    )


def sentences(bank):
    """The texts of a bank."""
    with open(bank + ".json", encoding="utf-8") as file:
        return {utterance["text"] for utterance in json.load(file)}


def make(seed, count, excluded, grammar):
    """(int16 samples, utterances, how many were dropped for a word without a time)."""
    sentence = importlib.import_module(grammar).sentence
    random.seed(seed)  # the grammar draws from the module's own generator
    rng = random.Random(seed + 1000)
    pieces, utterances, offset, unusable = [], [], 0, 0
    while len(utterances) < count:
        text = sentence()
        if text in excluded:
            continue
        voice, speed = rng.choice(espeak.VARIANTS), rng.randint(130, 190)
        samples, starts, phones = espeak.synth(text, voice, speed, rng.randint(30, 75), rng.randint(30, 75))
        words = timed_words(text, dict(starts), phones, len(samples) / espeak.SAMPLE_RATE)
        if words is None:
            unusable += 1
            continue
        pieces.append((np.clip(samples, -1, 1) * 32767).astype(np.int16))
        utterances.append(
            {"text": text, "offset": offset, "samples": len(samples), "words": words, "phones": phones}
        )
        offset += len(samples)
    return np.concatenate(pieces), utterances, unusable


def timed_words(text, start_at, phones, duration):
    """[(word, start s, end s)], or None where espeak-ng gave a word no time.

    A word ends where the next one starts, less the pause after a comma.
    """
    words = text.split()
    positions, position = [], 0
    for word in words:
        positions.append(position)
        position += len(word) + 1
    if any(position not in start_at for position in positions):
        return None
    starts = [start_at[position] for position in positions]
    ends = [*starts[1:], duration]
    for i, word in enumerate(words[:-1]):
        if word.endswith(","):
            pauses = [at for name, at in phones if name.startswith("_") and starts[i] < at < ends[i]]
            if pauses:
                ends[i] = max(pauses[0], starts[i] + 0.05)
    return list(zip(words, starts, ends, strict=True))


if __name__ == "__main__":
    main()
