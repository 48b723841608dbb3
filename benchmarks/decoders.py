"""How fast each decoder is: the same windows, the same number of tokens, CPU seconds of fresh processes in turn.

    taskset -c 0 python benchmarks/decoders.py [--rounds 3] [--seconds 120] [--batch 4] [CONTESTANT ...]

A contestant is ``stock`` (transformers' speech pipeline with its default stride), ``generate`` (transformers without
overlap), ``torch-TYPE``, ``ctranslate2-TYPE`` or ``faster-whisper-TYPE`` (its batched pipeline), TYPE being what it
computes in; ``@8`` behind it sets its own batch size. The model has whisper-small's shape and random weights
(benchmarks/models.py); every window is 30 s and gets 96 tokens. What is timed begins with samples in memory and ends
with tokens: spectrogram, encoder and text decoder. Figures are medians, ratios those to the first contestant.

With ``--device cuda`` wall seconds are compared instead, after one warm-up.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import models
import numpy as np

ROOT = Path(__file__).resolve().parents[1]
RATE = 16_000
WINDOW = 30 * RATE
DEFAULT = ("stock", "generate", "torch-float32", "torch-bfloat16", "torch-int8", "ctranslate2-float32",
           "ctranslate2-int8", "faster-whisper-float32", "faster-whisper-int8")  # fmt: skip
SUPPRESSED = [*models.SUPPRESSED, models.END_OF_TEXT]

Run = Callable[[np.ndarray], tuple[int, int]]
"""Samples to (windows, tokens)."""


def windows(samples: np.ndarray) -> list[np.ndarray]:
    return [samples[start : start + WINDOW] for start in range(0, len(samples), WINDOW)]


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("contestants", nargs="*", default=list(DEFAULT))
    parser.add_argument("--models", type=Path, default=ROOT / "build" / "benchmarks")
    parser.add_argument("--size", choices=models.SHAPES, default="small")
    parser.add_argument("--audio", type=Path, default=ROOT / "examples" / "held-out" / "long20min.ogg")
    parser.add_argument("--seconds", type=int, default=120)
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu")
    parser.add_argument("--json", type=Path, help="write every measurement here")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(measure(arguments.contestants[0], arguments)))
        return 0
    models.path(arguments.models, arguments.size)
    results: dict[str, list[dict[str, float]]] = {name: [] for name in arguments.contestants}
    for number in range(arguments.rounds):
        for name in arguments.contestants:
            results[name].append(_in_a_process(name))
            print(f"round {number + 1}: {name} {json.dumps(results[name][-1])}", file=sys.stderr, flush=True)
    if arguments.json:
        arguments.json.write_text(json.dumps(results, indent=1))
    print(table(results, "wall_s" if arguments.device == "cuda" else "cpu_s"))
    return 0


def _in_a_process(name: str) -> dict[str, float]:
    # One thread unless told otherwise: on shared cores only a single thread's seconds compare.
    environment = {"OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", **os.environ}
    path = os.pathsep.join((str(ROOT / "remote"), environment.get("PYTHONPATH", "")))
    options = [word for word in sys.argv[1:] if word not in DEFAULT and not word.startswith(PREFIXES)]
    done = subprocess.run(
        [sys.executable, __file__, *options, "--one", name],
        env=environment | {"PYTHONPATH": path},
        capture_output=True,
        text=True,
        check=False,
    )
    if done.returncode:
        raise RuntimeError(f"{name} failed:\n{done.stderr[-2000:]}")
    measured: dict[str, float] = json.loads(done.stdout.splitlines()[-1])
    return measured


PREFIXES = ("stock", "generate", "torch-", "ctranslate2-", "faster-whisper-")


def table(results: dict[str, list[dict[str, float]]], compared: str) -> str:
    def median(name: str, key: str) -> float:
        return statistics.median(row[key] for row in results[name])

    first = next(iter(results))
    lines = ["| decoder | CPU s | wall s | of the first | speed | windows | tokens | load s | MB |", "|---" * 9 + "|"]
    for name in results:
        ratio = median(name, compared) / median(first, compared)
        lines.append(
            f"| {name} | {median(name, 'cpu_s'):.1f} | {median(name, 'wall_s'):.1f} | {ratio:.2f} | {1 / ratio:.2f}× "
            f"| {median(name, 'windows'):.0f} | {median(name, 'tokens'):.0f} | {median(name, 'load_s'):.1f} "
            f"| {median(name, 'rss_mb'):.0f} |"
        )
    return "\n".join(lines)


def measure(name: str, arguments: argparse.Namespace) -> dict[str, float]:
    """Load a contestant and let it run once."""
    from gputx_remote.audio import source  # noqa: F401, PLC0415 - compiled and loaded before the clock starts

    samples = _samples(arguments.audio, arguments.seconds)
    name, _, batch = name.partition("@")
    began = _clock()
    run = contestant(name, int(batch or arguments.batch), arguments)
    loaded = _clock()
    if arguments.device == "cuda":
        run(samples)
    else:
        # Workspaces and just-in-time kernels are made on first use, whatever the length.
        run(samples[: 2 * RATE])
    ready = _clock()
    count, tokens = run(samples)
    ended = _clock()
    return {
        "cpu_s": ended[0] - ready[0],
        "wall_s": ended[1] - ready[1],
        "load_s": loaded[0] - began[0],
        "windows": count,
        "tokens": tokens,
        "rss_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024,
    }


def _clock() -> tuple[float, float]:
    used = resource.getrusage(resource.RUSAGE_SELF)
    return used.ru_utime + used.ru_stime, time.perf_counter()


def _samples(path: Path, seconds: int) -> np.ndarray:
    import soundfile  # noqa: PLC0415 - not needed by the process that only drives
    import soxr  # noqa: PLC0415

    samples, rate = soundfile.read(path, dtype="float32", always_2d=True)
    mono = soxr.resample(samples.mean(axis=1), rate, RATE)
    repeats = -(-seconds * RATE // len(mono))
    return np.tile(mono, repeats)[: seconds * RATE].astype(np.float32)


def contestant(name: str, batch: int, arguments: argparse.Namespace) -> Run:
    """Load what a name stands for."""
    model = models.path(arguments.models, arguments.size)
    kind, _, compute_type = name.rpartition("-")
    if name in ("stock", "generate"):
        return _transformers(name, model, batch, arguments)
    if kind == "faster-whisper":
        return _faster_whisper(model, compute_type, batch, arguments)
    return _ours(kind, model, compute_type, batch, arguments)


def _ours(kind: str, model: Path, compute_type: str, batch: int, arguments: argparse.Namespace) -> Run:
    """A decoder behind gputx's port."""
    from gputx_remote.decoders.decoder import Request  # noqa: PLC0415 - each process loads its own contestant only

    decoder = _loaded(kind, model, compute_type, arguments)
    prompt = decoder.vocabulary.prompt("sv", "transcribe", timestamps=False)

    def run(samples: np.ndarray) -> tuple[int, int]:
        cuts, tokens = windows(samples), 0
        for start in range(0, len(cuts), batch):
            piece = cuts[start : start + batch]
            request = Request(prompt, max_tokens=arguments.tokens)
            done = decoder.decode(decoder.encode(piece), [request] * len(piece))
            tokens += sum(len(decoded.tokens) for decoded in done)
        return len(cuts), tokens

    return run


def _loaded(kind: str, model: Path, compute_type: str, arguments: argparse.Namespace) -> Any:
    from gputx_remote import weights  # noqa: PLC0415

    location = weights.resolve(str(model), "random", print)
    if kind == "torch":
        from gputx_remote.decoders import torch_decoder  # noqa: PLC0415

        return torch_decoder.load(location, device=arguments.device, compute_type=compute_type, note=print)
    from gputx_remote.decoders import ctranslate2_decoder  # noqa: PLC0415

    return ctranslate2_decoder.load(
        location,
        device=arguments.device,
        compute_type=compute_type,
        note=lambda line: print(line, file=sys.stderr),
        cache_directory=arguments.models / "converted",
    )


def _transformers(name: str, model: Path, batch: int, arguments: argparse.Namespace) -> Run:
    import torch  # noqa: PLC0415
    from transformers import WhisperForConditionalGeneration, WhisperProcessor, pipeline  # noqa: PLC0415

    torch.set_grad_enabled(False)
    dtype = torch.float16 if arguments.device == "cuda" else torch.float32
    whisper = WhisperForConditionalGeneration.from_pretrained(model, dtype=dtype, attn_implementation="sdpa").eval()
    whisper.to(arguments.device)
    processor = WhisperProcessor.from_pretrained(model)
    shapes: list[tuple[int, int]] = []
    plain = whisper.generate

    def counted(*args: Any, **options: Any) -> Any:
        result = plain(*args, **options)
        tokens = result["sequences"] if isinstance(result, dict) and "sequences" in result else result
        shapes.append(tuple(tokens.shape))
        return result

    whisper.generate = counted
    forced = {
        "min_new_tokens": arguments.tokens,
        "max_new_tokens": arguments.tokens,
        "num_beams": 1,
        "do_sample": False,
        "language": "sv",
        "task": "transcribe",
    }
    if name == "stock":
        speech = pipeline(
            "automatic-speech-recognition",
            model=whisper,
            tokenizer=processor.tokenizer,
            feature_extractor=processor.feature_extractor,
            chunk_length_s=30,
            batch_size=batch,
            device=arguments.device,
        )

    def run(samples: np.ndarray) -> tuple[int, int]:
        shapes.clear()
        if name == "stock":
            speech({"raw": samples, "sampling_rate": RATE}, generate_kwargs=dict(forced))
        else:
            cuts = windows(samples)
            for start in range(0, len(cuts), batch):
                piece = processor.feature_extractor(
                    cuts[start : start + batch], sampling_rate=RATE, return_tensors="pt"
                )["input_features"]
                whisper.generate(piece.to(arguments.device, dtype), **forced)
        return sum(rows for rows, _ in shapes), sum(rows * min(width, arguments.tokens) for rows, width in shapes)

    return run


def _faster_whisper(model: Path, compute_type: str, batch: int, arguments: argparse.Namespace) -> Run:
    """Its batched pipeline over the conversion gputx keeps, with the same windows and no search for speech."""
    import shutil  # noqa: PLC0415

    from faster_whisper import BatchedInferencePipeline, WhisperModel  # noqa: PLC0415

    # Once by gputx, for the conversion; that model is let go before the clock of loading matters.
    _loaded("ctranslate2", model, "float32", arguments)
    converted = next(path.parent for path in (arguments.models / "converted").rglob("model.bin"))
    for name in ("tokenizer.json", "preprocessor_config.json"):
        if not (converted / name).exists():
            shutil.copy(model / name, converted / name)
    threads = int(os.environ.get("OMP_NUM_THREADS", "1"))
    whisper = WhisperModel(str(converted), device=arguments.device, compute_type=compute_type, cpu_threads=threads)
    speech = BatchedInferencePipeline(whisper)

    def run(samples: np.ndarray) -> tuple[int, int]:
        clips = [
            {"start": start / RATE, "end": min(start + WINDOW, len(samples)) / RATE}
            for start in range(0, len(samples), WINDOW)
        ]
        segments, _ = speech.transcribe(
            samples,
            language="sv",
            batch_size=batch,
            beam_size=1,
            best_of=1,
            temperature=0.0,
            vad_filter=False,
            clip_timestamps=clips,
            without_timestamps=True,
            # CTranslate2 stops at half of the length it is given, and faster-whisper adds the prompt's four tokens.
            max_new_tokens=2 * arguments.tokens - 2,
            suppress_tokens=SUPPRESSED,
        )
        tokens = sum(len(segment.tokens) for segment in segments)
        return len(clips), tokens

    return run


if __name__ == "__main__":
    raise SystemExit(main())
