"""Which algorithm, decoder and arithmetic serve: what the person asked for, and the defaults for the rest.

Plain values only, so that a client can refuse what can't be before anything is launched.
"""

from __future__ import annotations

from collections.abc import Collection
from dataclasses import dataclass, replace

ALGORITHMS = ("auto", "vad", "chunked", "sequential")
DECODERS = ("auto", "transformers", "torch", "ctranslate2")
COMPUTE_TYPES = ("auto", "float32", "float16", "bfloat16", "int8", "int8_float16", "int8_float32")

SUPPORTED = {
    ("transformers", "cpu"): ("float32", "bfloat16"),
    ("transformers", "cuda"): ("float16", "bfloat16", "float32"),
    ("torch", "cpu"): ("bfloat16", "float32", "int8"),
    ("torch", "cuda"): ("float16", "bfloat16", "float32"),
    ("ctranslate2", "cpu"): ("int8", "float32", "int8_float32"),
    ("ctranslate2", "cuda"): ("float16", "int8_float16", "float32", "int8"),
}
"""Arithmetic by (decoder, device), the default first. Not bfloat16 by default for the reference on a CPU: it is the
yardstick, and compared in full precision."""

BY_SPEED = ("ctranslate2", "torch", "transformers")
"""The order in which decoders stand in for each other: the one that starts soonest first."""

DEFAULT = {"cpu": ("vad", "ctranslate2"), "cuda": ("chunked", "transformers")}
"""(algorithm, decoder) by device. On a CPU what starts soonest, unless :data:`FASTEST_ON_CPU` pays; on CUDA the stock
pipeline until a measurement on a GPU shows another ahead."""

FASTEST_ON_CPU = ("torch", "int8")
"""The default on a CPU where torch is installed, the processor multiplies bytes (AVX-512 VNNI) and the model is as wide
as :data:`WIDTH_WORTH_TORCH`: a third less CPU time than CTranslate2 in int8 (docs/performance.md)."""
WIDTH_WORTH_TORCH = 768
"""whisper-small's ``d_model``. Torch takes 3 CPU seconds more to start, which whisper-small has back after a minute of
audio, and whisper-base after four."""


ABLE = {
    "chunked": frozenset[str](),
    "sequential": frozenset(
        {
            "initial_prompt",
            "hotwords",
            "condition_on_previous_text",
            "temperatures",
            "compression_ratio_threshold",
            "logprob_threshold",
            "no_speech_threshold",
        }
    ),
}
"""What the two algorithms of transformers can do of what may be asked beyond language and task."""


@dataclass(frozen=True)
class Choice:
    """What is asked for; "auto" leaves it to the defaults."""

    algorithm: str = "auto"
    decoder: str = "auto"
    compute_type: str = "auto"

    def able(self, wishes: Collection[str]) -> Choice:
        """This choice for somebody who also asked for other things, by the names of their flags.

        The stock pipeline and Whisper's long-form know few of them, so where the algorithm was left open it is vad.

        Raises:
            ValueError: the algorithm that was chosen can't do one of them.
        """
        if not wishes or self.algorithm == "vad":
            return self
        if self.algorithm == "auto":
            return replace(self, algorithm="vad")
        if unable := sorted(set(wishes) - ABLE[self.algorithm]):
            flag = unable[0].replace("_", "-")
            raise ValueError(f"--{flag} can't be had with --algorithm {self.algorithm}; it can with --algorithm vad")
        return self

    def check(self) -> None:
        """Raises ValueError, with one clear line, for what no device can do."""
        if self.algorithm in ("chunked", "sequential") and self.decoder not in ("auto", "transformers"):
            raise ValueError(
                f"--algorithm {self.algorithm} is done by transformers itself: leave --decoder {self.decoder} away, "
                "or take --algorithm vad"
            )
        if self.compute_type == "auto" or self.decoder == "auto":
            return
        can = {kind for (name, _), kinds in SUPPORTED.items() if name == self.decoder for kind in kinds}
        if self.compute_type not in can:
            raise ValueError(
                f"--decoder {self.decoder} does not compute in {self.compute_type}; it does in {', '.join(sorted(can))}"
            )

    def on(self, device: str) -> Choice:
        """Every "auto" decided, for "cpu" or "cuda".

        Raises:
            ValueError: the combination can't be, or not on this device.
        """
        self.check()
        algorithm, decoder = DEFAULT[device]
        if self.algorithm in ("chunked", "sequential"):
            algorithm, decoder = self.algorithm, "transformers"
        elif self.decoder == "transformers" and self.algorithm == "auto":
            algorithm, decoder = "chunked", self.decoder
        elif self.algorithm != "auto" or self.decoder != "auto":
            algorithm = "vad"
            decoder = self._able(device, decoder) if self.decoder == "auto" else self.decoder
        elif self.compute_type != "auto":
            decoder = self._able(device, decoder)
            algorithm = algorithm if decoder == DEFAULT[device][1] else "vad"
        kinds = SUPPORTED[decoder, device]
        if self.compute_type not in ("auto", *kinds):
            where = "the CPU" if device == "cpu" else "CUDA"
            raise ValueError(
                f"{decoder} does not compute in {self.compute_type} on {where}; it does in {', '.join(kinds)}"
            )
        compute_type = kinds[0] if self.compute_type == "auto" else self.compute_type
        return Choice(algorithm, decoder, compute_type)

    def _able(self, device: str, first: str) -> str:
        """The default decoder, or the next that computes as asked."""
        return next((n for n in (first, *BY_SPEED) if self.compute_type in ("auto", *SUPPORTED[n, device])), first)
