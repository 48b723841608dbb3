"""What packing costs and what it does to the text: windows, seconds sent to the model, WER, setting by setting.

    python benchmarks/packing.py [--model DIR] [--batch 8] [AUDIO REFERENCE]...

REFERENCE is a text file, or JSON with a "text". Without arguments: the held-out three and twenty minutes in
examples/held-out, with the tiny Swedish model of the sandbox. Decoded greedily with time tokens by transformers'
``generate``, each window padded to 30 s; "sequential" is its own long-form decoding, the yardstick; "fixed" is a cut
every 30 s. The plan's CPU seconds include the network's.
"""

from __future__ import annotations

import argparse
import json
import os
import re
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

os.environ.setdefault("OMP_NUM_THREADS", "1")

import jiwer
import numpy as np
import torch
import transformers

from gputx_remote import audio
from gputx_remote.speech.cut import windows
from gputx_remote.speech.plan import SAMPLE_RATE, SpeechOptions

ROOT = Path(__file__).parents[1]
HELD_OUT = ROOT / "examples" / "held-out"
DEFAULT = [HELD_OUT / name for name in ("long3min.flac", "long3min.json", "long20min.ogg", "long20min.json")]
SETTINGS = {
    "default": SpeechOptions(),
    "padding 100 + 100 ms": SpeechOptions(padding_before_ms=100, padding_after_ms=100),
    "padding 200 + 200 ms": SpeechOptions(padding_before_ms=200, padding_after_ms=200),
    "padding 500 + 500 ms": SpeechOptions(padding_before_ms=500, padding_after_ms=500),
    "padding 1 + 1 s": SpeechOptions(padding_before_ms=1000, padding_after_ms=1000),
    "silence at most 4 s": SpeechOptions(max_silence_seconds=4),
    "silence up to 30 s": SpeechOptions(max_silence_seconds=30),
    "windows up to 20 s": SpeechOptions(max_window_seconds=20),
    "energy": SpeechOptions(detector="energy"),
    "no detection": SpeechOptions(detector="none"),
}
LONGEST = 30 * SAMPLE_RATE


@dataclass
class Model:
    """A Whisper model behind transformers, with a memory of windows it has heard."""

    network: Any
    processor: Any
    batch: int
    language: str
    heard: dict[bytes, str]

    def texts(self, pieces: list[np.ndarray]) -> list[str]:
        """The text of each window."""
        new = list({piece.tobytes(): piece for piece in pieces if piece.tobytes() not in self.heard}.items())
        for start in range(0, len(new), self.batch):
            part = new[start : start + self.batch]
            heard = self.processor.feature_extractor(
                [piece for _, piece in part], sampling_rate=SAMPLE_RATE, return_tensors="pt"
            )
            for (key, _), tokens in zip(part, self._tokens(heard.input_features), strict=True):
                self.heard[key] = self.processor.decode(tokens, skip_special_tokens=True)
        return [self.heard[piece.tobytes()] for piece in pieces]

    def sequential(self, samples: np.ndarray) -> str:
        """Whisper's own long-form decoding of the whole."""
        heard = self.processor.feature_extractor(
            samples,
            sampling_rate=SAMPLE_RATE,
            return_tensors="pt",
            truncation=False,
            padding="longest",
            return_attention_mask=True,
        )
        segments = self._tokens(heard.input_features, attention_mask=heard.attention_mask, return_segments=True)
        return "".join(self.processor.decode(s["tokens"], skip_special_tokens=True) for s in segments["segments"][0])

    def _tokens(self, features: torch.Tensor, **more: Any) -> Any:
        with torch.inference_mode():
            return self.network.generate(
                features, language=self.language, task="transcribe", return_timestamps=True, **more
            )


def load(directory: Path, batch: int, language: str) -> Model:
    """A model directory of transformers, fp32 on the CPU."""
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    torch.set_num_threads(1)
    network = transformers.WhisperForConditionalGeneration.from_pretrained(directory, dtype=torch.float32).eval()
    return Model(network, transformers.WhisperProcessor.from_pretrained(directory), batch, language, {})


def reference(path: Path) -> str:
    text = path.read_text(encoding="utf-8")
    return str(json.loads(text)["text"]) if path.suffix == ".json" else text


def wer(wanted: str, found: str) -> float:
    """Word error rate in percent; lower case, no punctuation."""
    return 100 * float(jiwer.wer(*(re.sub(r"[.,!?]", "", text.lower()) for text in (wanted, found))))


def table(path: Path, wanted: str, model: Model) -> None:
    """One line for each setting."""
    samples = audio.read(path)
    print(f"\n{path.name}, {len(samples) / SAMPLE_RATE:.0f} s, {len(wanted.split())} words")
    print(f"{'':22s} windows  seconds   WER %  plan CPU s")
    fixed = [samples[start : start + LONGEST] for start in range(0, len(samples), LONGEST)]
    print(
        f"{'sequential':22s} {'':7s}  {len(samples) / SAMPLE_RATE:7.1f}  {wer(wanted, model.sequential(samples)):6.2f}"
    )
    print(line("fixed", fixed, wer(wanted, " ".join(model.texts(fixed)))), flush=True)
    for name, options in SETTINGS.items():
        start = time.process_time()
        pieces = [piece for _, piece in windows([samples], options)]
        took = time.process_time() - start
        print(line(name, pieces, wer(wanted, " ".join(model.texts(pieces)))), f"{took:9.2f}", flush=True)


def line(name: str, pieces: list[np.ndarray], errors: float) -> str:
    return f"{name:22s} {len(pieces):7d}  {sum(map(len, pieces)) / SAMPLE_RATE:7.1f}  {errors:6.2f}"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="*", type=Path, metavar="AUDIO REFERENCE", default=DEFAULT)
    parser.add_argument("--model", type=Path, default=ROOT / "gputx" / "sandbox" / "tiny_sv")
    parser.add_argument("--language", default="sv")
    parser.add_argument("--batch", type=int, default=8)
    arguments = parser.parse_args()
    if len(arguments.files) % 2:
        parser.error("each recording needs a reference after it")
    model = load(arguments.model, arguments.batch, arguments.language)
    for path, wanted in zip(arguments.files[::2], arguments.files[1::2], strict=True):
        table(path, reference(wanted), model)


if __name__ == "__main__":
    main()
