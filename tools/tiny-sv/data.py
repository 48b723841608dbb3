"""From a bank of utterances to examples: windows of audio, their tokens, and where each token is heard."""

import bisect
import json
import random

import numpy as np
import torch
from transformers import WhisperFeatureExtractor, WhisperTokenizer

RATE = 16_000
FRAMES_A_SECOND = 50  # of the encoder's output
PHONES = 64
NO_INTERVAL = (-1, -1)


class Tokens:
    """The ids that matter, and words as tokens."""

    def __init__(self, directory):
        self.tokenizer = WhisperTokenizer.from_pretrained(directory)
        self.tokenizer.pad_token = "<|endoftext|>"
        number = self.tokenizer.convert_tokens_to_ids
        self.end, self.start = number("<|endoftext|>"), number("<|startoftranscript|>")
        self.swedish, self.transcribe = number("<|sv|>"), number("<|transcribe|>")
        self.no_timestamps, self.no_speech = number("<|notimestamps|>"), number("<|nospeech|>")
        self.previous, self.time_zero = number("<|startofprev|>"), number("<|0.00|>")
        self._words = {}

    def word(self, word):
        """(token ids, letters in each; 0 for punctuation, which takes no time)."""
        if word not in self._words:
            ids = self.tokenizer(" " + word, add_special_tokens=False).input_ids
            names = self.tokenizer.convert_ids_to_tokens(ids)
            letters = [
                0 if name in (".", ",") else max(1, len(self.tokenizer.decode([number]).strip()))
                for number, name in zip(ids, names, strict=True)
            ]
            self._words[word] = (ids, letters)
        return self._words[word]


class Bank:
    """What make_bank.py wrote."""

    def __init__(self, prefix):
        self._samples = np.load(prefix + ".npy")
        with open(prefix + ".json", encoding="utf-8") as file:
            self.utterances = json.load(file)
        self._by_length = sorted(range(len(self.utterances)), key=lambda i: self.utterances[i]["samples"])
        self._seconds = [self.utterances[i]["samples"] / RATE for i in self._by_length]

    def audio(self, index):
        utterance = self.utterances[index]
        start = utterance["offset"]
        return self._samples[start : start + utterance["samples"]].astype(np.float32) / 32768

    def seconds(self, index):
        return self.utterances[index]["samples"] / RATE

    def pick(self, rng, longest=None):
        if longest is None:
            return rng.randrange(len(self.utterances))
        return self._by_length[rng.randrange(max(bisect.bisect(self._seconds, longest), 1))]


_filters = np.asarray(WhisperFeatureExtractor(feature_size=80).mel_filters)
MEL = torch.tensor(_filters, dtype=torch.float32).T.contiguous()  # (80, 201)
HANN = torch.hann_window(400)


def log_mel(audio):
    """(batch, samples) to (batch, 80, samples / 160), as WhisperFeatureExtractor computes it."""
    spectrum = torch.stft(audio, 400, 160, window=HANN, return_complex=True)
    level = torch.clamp(MEL @ (spectrum[..., :-1].abs() ** 2), min=1e-10).log10()
    return (torch.maximum(level, level.amax(dim=(1, 2), keepdim=True) - 8.0) + 4.0) / 4.0


phone_numbers = {"_": 0}
"""espeak-ng's phonemes, numbered as they are met. Saved with the weights, because the phone head depends on it."""


def phone_number(name):
    return 0 if name.startswith("_") else phone_numbers.setdefault(name, len(phone_numbers)) % PHONES


_white = np.random.default_rng(0).standard_normal(96 * RATE).astype(np.float32)
_low_passed = np.convolve(_white, np.ones(8, np.float32) / 8**0.5, "same").astype(np.float32)
_hum = (_white + 2 * np.sin(2 * np.pi * 50 * np.arange(len(_white)) / RATE)).astype(np.float32)
NOISES = (_white, _white, _low_passed, _hum)


def noise(rng, length, level):
    """White, low-passed or with a 50 Hz hum, cut from a fixed pool because that is cheap."""
    pool = rng.choice(NOISES)
    start = rng.randrange(len(pool) - length)
    return pool[start : start + length] * np.float32(level)


def window(bank, rng, seconds, single=False, p_empty=0.05):
    """(audio, segments, phone per frame). Speech may be cut at either end, as in a chunk of a long recording."""
    audio = np.zeros(int(seconds * RATE), np.float32)
    phones = np.zeros(int(seconds * FRAMES_A_SECOND), np.int64)
    segments, last_sample = [], 0
    plan = [] if rng.random() < p_empty else _plan(bank, rng, seconds, single)
    for index, at in plan:
        duration = bank.seconds(index)
        if at + duration <= 0.02 or at >= seconds - 0.02:
            continue
        speech = bank.audio(index) * 10 ** (rng.uniform(-4, 4) / 20)
        start = int(at * RATE)
        low, high = max(start, 0), min(start + len(speech), len(audio))
        audio[low:high] += speech[low - start : high - start]
        last_sample = max(last_sample, high)
        _mark_phones(phones, bank.utterances[index]["phones"], at, duration)
        if segment := _segment(bank.utterances[index]["words"], at, duration, seconds):
            segments.append(segment)
    gain = 10 ** (rng.uniform(-22, 3) / 20)
    if rng.random() < 0.6:
        background = noise(rng, len(audio), 0.08 * 10 ** (-rng.uniform(20, 50) / 20))
        if rng.random() < 0.25 and last_sample / RATE < seconds - 0.3:
            background[last_sample + RATE // 10 :] = 0
        audio = audio + background
    return np.clip(audio * gain, -1, 1), segments, phones


def _plan(bank, rng, seconds, single):
    """[(utterance, start in s)]"""
    if single:
        index = bank.pick(rng, seconds - 0.3)
        return [(index, rng.uniform(0.05, seconds - bank.seconds(index) - 0.05))]
    short = seconds < 20
    pause = rng.choice([0.3, 0.8, 1.5] if short else [0.8, 2.0, 4.0])
    now = -rng.uniform(0, 5) if rng.random() < 0.3 else rng.uniform(0, 2.5)
    stop = seconds if rng.random() < 0.8 else rng.uniform(1, seconds)  # sometimes nothing in the tail
    whole = short and rng.random() < 0.6
    plan = []
    while now < stop:
        index = bank.pick(rng)
        end = now + bank.seconds(index)
        if not (whole and end > seconds - 0.05):
            plan.append((index, now))
        now = end + (0.25 if short else 0.4) + min(rng.expovariate(1 / pause), 9)
    return plan


def _mark_phones(frames, phones, at, duration):
    ends = [start for _, start in phones[1:]] + [duration]
    for (name, start), end in zip(phones, ends, strict=True):
        if number := phone_number(name):
            first, last = (max(0, int((time + at) * FRAMES_A_SECOND)) for time in (start, end))
            frames[first:last] = number


def _segment(words, at, duration, seconds):
    """The words of an utterance that fall inside the window, or None."""
    heard = [
        (word, start + at, end + at)
        for word, start, end in words
        if start + at >= -0.03 and end + at <= seconds + 0.03
    ]
    if not heard:
        return None
    whole_start = heard[0][0] == words[0][0] and at >= 0
    return {
        "start": max(0.0, at if whole_start else heard[0][1]),
        "end": min(at + duration, seconds),
        "cut": len(heard) < len(words) and at + duration > seconds,
        "words": heard,
    }


def labels(tokens, segments, seconds, offset, timestamps, prompt):
    """(tokens, for each the frames where it is heard, length of the head, length of the prompt)."""
    frames = int(seconds * FRAMES_A_SECOND)
    before = [tokens.previous, *prompt] if prompt else []
    sequence = [*before, tokens.start, tokens.swedish, tokens.transcribe]
    if not timestamps:
        sequence.append(tokens.no_timestamps)
    head = len(sequence)
    intervals = [NO_INTERVAL] * head
    for segment in segments:
        start = min(max(round(segment["start"] * FRAMES_A_SECOND), 0), frames)
        end = min(round(segment["end"] * FRAMES_A_SECOND), frames)
        if timestamps:
            sequence.append(tokens.time_zero + min(start + offset, 1500))
            intervals.append((start - 2, start + 6))
        for word, said, finished in segment["words"]:
            ids, letters = tokens.word(word)
            total, done = sum(letters) or 1, 0
            for number, length in zip(ids, letters, strict=True):
                first = said + (finished - said) * done / total
                done += length
                last = said + (finished - said) * done / total
                if length == 0:
                    first = last = finished
                sequence.append(number)
                intervals.append((int(first * FRAMES_A_SECOND) - 2, int(last * FRAMES_A_SECOND) + 2))
        if timestamps and not segment["cut"]:
            sequence.append(tokens.time_zero + min(end + offset, 1500))
            intervals.append((end - 6, end + 2))
    if timestamps and not segments:
        sequence.append(tokens.time_zero + offset)
        intervals.append(NO_INTERVAL)
    return [*sequence, tokens.end], [*intervals, NO_INTERVAL], head, len(before)


def make_prompt(bank, tokens, rng):
    """One to three sentences that went before, as tokens."""
    texts = [bank.utterances[bank.pick(rng)]["text"] for _ in range(rng.randint(1, 3))]
    return [number for text in texts for word in text.split() for number in tokens.word(word)[0]]


def collate(bank, tokens, rng, items, seconds, p_prompt):
    """[(segments, offset in frames)] to decoder inputs, targets and intervals, each (batch, longest)."""
    made = []
    for segments, offset in items:
        timestamps = rng.random() < 0.5
        prompt = make_prompt(bank, tokens, rng) if rng.random() < p_prompt else None
        made.append(labels(tokens, segments, seconds, offset, timestamps, prompt))
    longest = max(len(sequence) for sequence, *_ in made) - 1
    inputs = torch.full((len(made), longest), tokens.end)
    targets = torch.full((len(made), longest), -100)
    intervals = torch.full((len(made), longest, 2), -1)
    for row, ((sequence, heard, head, before), (segments, offset)) in enumerate(
        zip(made, items, strict=True)
    ):
        length = len(sequence) - 1
        inputs[row, :length] = torch.tensor(sequence[:-1])
        target = torch.tensor(sequence[1:])
        target[: head - 1] = -100
        target[before] = tokens.swedish if segments else tokens.no_speech
        targets[row, :length] = target
        intervals[row, :length] = torch.tensor(heard[1:])
        # Some decoders force the first time stamp to at most 1.00: learn to bear it.
        if length > head and inputs[row, head] >= tokens.time_zero and offset == 0 and rng.random() < 0.1:
            inputs[row, head] = min(int(inputs[row, head]), tokens.time_zero + 50)
    return inputs, targets, intervals


def batch(bank, tokens, rng, size, seconds, single=False, p_empty=0.05, offset=True, p_prompt=0.0):
    """(mel, inputs, targets, intervals, phones, offsets): a short crop stands at a random place of the 30 s."""
    audios, phones, items = [], [], []
    latest = 1500 - int(seconds * FRAMES_A_SECOND)
    for _ in range(size):
        place = rng.randrange(0, latest + 1) if offset else 0
        if offset and rng.random() < 0.15:
            place = 0
        audio, segments, spoken = window(bank, rng, seconds, single, p_empty)
        audios.append(audio)
        phones.append(spoken)
        items.append((segments, place))
    return (
        log_mel(torch.from_numpy(np.stack(audios))),
        *collate(bank, tokens, rng, items, seconds, p_prompt),
        torch.from_numpy(np.stack(phones)),
        torch.tensor([place for _, place in items]),
    )


def generator(seed):
    """A generator of its own for each use, so that one does not disturb another."""
    return random.Random(seed)
