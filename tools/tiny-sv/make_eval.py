"""Held-out audio: 12 clips of 10-40 s, a 3-minute and a 20-minute recording, and 72 single windows (not shipped).

Besides, EVAL/sentences.json lists every sentence of more than three words in it, for `make_bank.py --exclude`.
"""

import argparse
import json
import random
import re
from pathlib import Path

import numpy as np
import soundfile

import espeak
import grammar
from make_bank import sentences

RATE = espeak.SAMPLE_RATE
WINDOW = 30 * RATE
rng = random.Random(4243)
noise_rng = np.random.default_rng(4244)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("out", type=Path)
    parser.add_argument("--exclude", required=True, help="the training bank: its sentences do not occur here")
    parser.add_argument(
        "--also-exclude", help="a bank whose sentences join sentences.json (the development set)"
    )
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    random.seed(4242)
    trained = sentences(options.exclude)
    texts = [*windows(options.out, trained), *clips(options.out, trained)]
    for name, seconds in (("long3min.flac", 180), ("long20min.ogg", 1200)):
        texts.append(recording(options.out / name, seconds, trained))
    used = {sentence for text in texts for sentence in re.findall(r"[^.]+\.", text.replace(". ", "."))}
    used |= sentences(options.also_exclude) if options.also_exclude else set()
    listed = [{"text": text} for text in sorted(used) if len(text.split()) > 3]
    (options.out / "sentences.json").write_text(json.dumps(listed, ensure_ascii=False), encoding="utf-8")
    print(f"{options.out}: {len(listed)} sentences to keep out of training")


def windows(out, trained):
    """Single windows, 8 a voice, half of them full."""
    samples, texts, voices = [], [], []
    for variant in espeak.VARIANTS:
        for number in range(8):
            seconds = 30 if number % 2 else rng.uniform(5, 28)
            audio, segments = clip(seconds, [variant], trained, gap=(0.5, rng.choice([3.0, 6.0, 9.0])))
            samples.append((np.pad(audio, (0, WINDOW - len(audio))) * 32767).astype(np.int16))
            texts.append(joined(segments))
            voices.append("sv" + variant)
    np.savez(out / "windows.npz", samples=np.stack(samples), text=np.array(texts), voice=np.array(voices))
    return texts


def clips(out, trained):
    """clip00.flac … clip11.flac and clips.tsv."""
    rows = ["file\tvoices\tduration_s\ttext"]
    texts = []
    for number in range(12):
        voices = [espeak.VARIANTS[(number * 5 + 1) % 9]]
        if number % 3 == 0:
            voices.append(rng.choice(espeak.VARIANTS))
        audio, segments = clip(10 + 30 * number / 11, voices, trained)
        name = f"clip{number:02d}.flac"
        soundfile.write(out / name, audio, RATE, subtype="PCM_16")
        texts.append(joined(segments))
        rows.append(f"{name}\t{','.join('sv' + v for v in voices)}\t{len(audio) / RATE:.1f}\t{texts[-1]}")
    (out / "clips.tsv").write_text("\n".join(rows) + "\n", encoding="utf-8")
    return texts


def recording(path, seconds, trained):
    """One long file in all voices, with its text and segment times as JSON beside it."""
    audio, segments = clip(seconds, espeak.VARIANTS, trained, gap=(1.0, 6.0))
    with soundfile.SoundFile(path, "w", RATE, 1) as file:
        for start in range(0, len(audio), 10 * RATE):  # libvorbis overflows its stack on one long write
            file.write(audio[start : start + 10 * RATE])
    document = {"duration": seconds, "text": joined(segments), "segments": segments}
    path.with_suffix(".json").write_text(json.dumps(document, ensure_ascii=False, indent=1), encoding="utf-8")
    return document["text"]


def clip(seconds, voices, trained, gap=(0.8, 4.0)):
    """(samples, segments): sentences with pauses between them, and a little noise under all of it."""
    audio = np.zeros(int(seconds * RATE), np.float32)
    now = rng.uniform(0.2, 1.5)
    segments = []
    while True:
        text, speech = utterance(rng.choice(voices), trained)
        end = now + len(speech) / RATE
        if end > seconds - 0.3:
            break
        start = int(now * RATE)
        audio[start : start + len(speech)] += speech * 0.8
        segments.append({"start": round(now, 2), "end": round(end, 2), "text": text})
        now = end + rng.uniform(*gap)
    level = 0.08 * 10 ** (-rng.uniform(20, 40) / 20)
    audio += noise_rng.standard_normal(len(audio)).astype(np.float32) * level
    return np.clip(audio * rng.uniform(0.3, 1), -1, 1), segments


def utterance(voice, trained):
    """A sentence that was not trained on; one as short as "Ja." can't be kept apart."""
    while True:
        text = grammar.sentence()
        if text not in trained or len(text.split()) <= 3:
            break
    samples, _, _ = espeak.synth(text, voice, rng.randint(135, 185), rng.randint(35, 70), 50)
    return text, samples


def joined(segments):
    return " ".join(segment["text"] for segment in segments)


if __name__ == "__main__":
    main()
