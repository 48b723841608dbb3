"""Word error rates on held-out audio with stock transformers: pipeline in chunks, and sequential decoding."""

import argparse
import csv
import json
import re
import time
from pathlib import Path

import jiwer
import numpy as np
import soundfile
import torch
import transformers
from transformers import WhisperForConditionalGeneration, WhisperProcessor, pipeline

SWEDISH = {"language": "sv", "task": "transcribe"}


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("model")
    parser.add_argument("eval", type=Path, help="what make_eval.py wrote")
    options = parser.parse_args()
    transformers.logging.set_verbosity_error()
    model = WhisperForConditionalGeneration.from_pretrained(options.model, dtype=torch.float32).eval()
    processor = WhisperProcessor.from_pretrained(options.model)
    if (options.eval / "windows.npz").exists():
        windows(options.eval / "windows.npz", model, processor)
    clips(options.eval, options.model)
    for name in ("long3min.flac", "long20min.ogg"):
        if (options.eval / name).exists():
            recording(options.eval / name, options.model, model, processor)


def wer(references, hypotheses):
    """Word error rate in percent; lower case, no punctuation."""
    return 100 * jiwer.wer(
        *([re.sub(r"[.,!?]", "", t.lower()) for t in texts] for texts in (references, hypotheses))
    )


def windows(path, model, processor):
    """Each window by itself, greedily."""
    stored = np.load(path)
    audio, references = stored["samples"].astype(np.float32) / 32768, list(stored["text"])
    for timestamps in (True, False):
        heard = []
        for start in range(0, len(audio), 8):
            features = processor.feature_extractor(
                list(audio[start : start + 8]), sampling_rate=16_000, return_tensors="pt"
            ).input_features
            with torch.inference_mode():
                ids = model.generate(features, return_timestamps=timestamps, **SWEDISH)
            heard += processor.batch_decode(ids, skip_special_tokens=True)
        print(f"{len(audio)} windows, timestamps {timestamps}: {wer(references, heard):.1f} %", flush=True)


def chunked(directory, audio, timestamps=True):
    stock = pipeline("automatic-speech-recognition", model=directory, dtype=torch.float32)
    return stock(
        {"raw": audio.copy(), "sampling_rate": 16_000},
        chunk_length_s=30,
        batch_size=4,
        return_timestamps=timestamps,
        generate_kwargs=dict(SWEDISH),
    )


def clips(folder, directory):
    with (folder / "clips.tsv").open(encoding="utf-8", newline="") as file:
        rows = list(csv.DictReader(file, delimiter="\t"))
    heard = [
        chunked(directory, soundfile.read(folder / row["file"], dtype="float32")[0])["text"] for row in rows
    ]
    print(f"{len(rows)} clips, pipeline: {wer([row['text'] for row in rows], heard):.1f} %", flush=True)


def recording(path, directory, model, processor):
    document = json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))
    audio, _ = soundfile.read(path, dtype="float32")
    for timestamps in (True, False):
        begun = time.monotonic()
        rate = wer([document["text"]], [chunked(directory, audio, timestamps)["text"]])
        print(
            f"{path.name}, pipeline, timestamps {timestamps}: {rate:.1f} % in {time.monotonic() - begun:.0f} s"
        )
    features = processor.feature_extractor(
        audio,
        sampling_rate=16_000,
        return_tensors="pt",
        truncation=False,
        padding="longest",
        return_attention_mask=True,
    )
    begun = time.monotonic()
    with torch.inference_mode():
        output = model.generate(**features, return_timestamps=True, return_segments=True, **SWEDISH)
    found = output["segments"][0]
    text = "".join(processor.decode(segment["tokens"], skip_special_tokens=True) for segment in found)
    rate = wer([document["text"]], [text])
    print(
        f"{path.name}, sequential: {rate:.1f} % in {time.monotonic() - begun:.0f} s; {errors(found, document)}"
    )


def errors(found, document):
    """How far segment times lie from the true ones, to the nearest."""
    parts = []
    for edge in ("start", "end"):
        times = np.array([float(segment[edge]) for segment in found])
        true = np.array([segment[edge] for segment in document["segments"]])
        if len(times):
            off = np.abs(times[:, None] - true).min(0)
            parts.append(
                f"{edge} off by {np.median(off):.2f} s (median), {np.mean(off < 0.2):.0%} within 0.2 s"
            )
    return ", ".join(parts) or "no segments"


if __name__ == "__main__":
    main()
