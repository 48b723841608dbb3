"""The least time Whisper can take on one GPU, from its operations and bytes alone.

    python benchmarks/roofline.py [--tflops 65] [--gbs 320] [--windows 40] [--tokens 96] [--step-overhead-ms 0]

The defaults are an NVIDIA T4 (its datasheet: 65 TFLOPS in fp16 with tensor cores, 320 GB/s), whisper-small's shape and
20 minutes as 40 windows of 30 s. A part's bound is the larger of operations / peak and bytes / bandwidth; parts add up,
because on one stream they do not overlap. A step reads the decoder's weights once for the batch, and for each window
the keys and values of its audio and of the text so far. ``--efficiency`` scales both peaks to what real kernels reach.
"""

from __future__ import annotations

import argparse
from dataclasses import dataclass

POSITIONS = 1500
"""Of the encoder's output."""


@dataclass(frozen=True)
class Shape:
    """A Whisper in fp16. The feed-forward layer is four times as wide as the model."""

    width: int
    encoder_layers: int
    decoder_layers: int
    vocabulary: int
    mels: int = 80
    bytes_each: int = 2

    @property
    def encoder_flop(self) -> float:
        """Operations of the encoder for one window: two convolutions, 12 × width² weights and attention per layer."""
        convolutions = 2 * 3 * (self.mels * self.width * 2 * POSITIONS + self.width**2 * POSITIONS)
        linear = 2 * 12 * self.width**2 * POSITIONS
        attention = 4 * POSITIONS**2 * self.width
        return convolutions + self.encoder_layers * (linear + attention)

    @property
    def cross_flop(self) -> float:
        """Operations that make keys and values of a window's audio."""
        return self.decoder_layers * 2 * 2 * self.width**2 * POSITIONS

    @property
    def step_weights(self) -> float:
        """Weights that a step reads: per layer 4 squares for the text, 2 for the audio, 8 feed-forward; the output."""
        return self.decoder_layers * 14 * self.width**2 + self.vocabulary * self.width

    @property
    def step_flop(self) -> float:
        """Operations of a step for one window, attention to the audio included."""
        return 2 * self.step_weights + self.decoder_layers * 4 * POSITIONS * self.width

    @property
    def cross_bytes(self) -> float:
        """Keys and values of one window's audio, read in each step."""
        return self.decoder_layers * 2 * POSITIONS * self.width * self.bytes_each

    @property
    def own_bytes(self) -> float:
        """Keys and values of one token."""
        return self.decoder_layers * 2 * self.width * self.bytes_each


SHAPES = {
    "small": Shape(768, 12, 12, 51865),
    "medium": Shape(1024, 24, 24, 51865),
    "large-v3": Shape(1280, 32, 32, 51866, mels=128),
}


@dataclass(frozen=True)
class Machine:
    flops: float
    """Per second."""
    bandwidth: float
    """Bytes per second."""
    step_overhead: float
    """Seconds a step takes beside its arithmetic: the launching of kernels."""


@dataclass(frozen=True)
class Bound:
    """Seconds for all windows."""

    encoder: float
    cross: float
    decoder: float

    @property
    def total(self) -> float:
        return self.encoder + self.cross + self.decoder


def bound(shape: Shape, machine: Machine, *, windows: int, batch: int, steps: int) -> Bound:
    """The least time for ``windows`` in batches of ``batch``, with ``steps`` tokens each, the prompt's included."""
    decoder = 0.0
    for start in range(0, windows, batch):
        rows = min(batch, windows - start)
        for step in range(steps):
            read = shape.step_weights * shape.bytes_each + rows * (shape.cross_bytes + shape.own_bytes * (step + 1))
            decoder += max(read / machine.bandwidth, rows * shape.step_flop / machine.flops) + machine.step_overhead
    encoder, cross = (windows * flop / machine.flops for flop in (shape.encoder_flop, shape.cross_flop))
    return Bound(encoder, cross, decoder)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=SHAPES, default="small")
    parser.add_argument("--tflops", type=float, default=65)
    parser.add_argument("--gbs", type=float, default=320)
    parser.add_argument("--efficiency", type=float, default=1.0)
    parser.add_argument("--windows", type=int, default=40)
    parser.add_argument("--tokens", type=int, default=96)
    parser.add_argument("--prompt", type=int, default=4)
    parser.add_argument("--batch", type=int, nargs="*", default=[1, 6, 16, 40])
    parser.add_argument("--step-overhead-ms", type=float, default=0.0)
    arguments = parser.parse_args()
    shape = SHAPES[arguments.size]
    machine = Machine(
        arguments.tflops * 1e12 * arguments.efficiency,
        arguments.gbs * 1e9 * arguments.efficiency,
        arguments.step_overhead_ms / 1000,
    )
    weights, cross = shape.step_weights * shape.bytes_each, shape.cross_bytes
    print(f"per window: encoder {shape.encoder_flop / 1e9:.0f} GFLOP, cross-KV {shape.cross_flop / 1e9:.1f} GFLOP")
    print(f"per step: weights {weights / 1e6:.0f} MB; for each window cross-KV {cross / 1e6:.0f} MB,", end=" ")
    print(f"{shape.step_flop / 1e9:.2f} GFLOP\n")
    print("| batch | encoder s | cross-KV s | steps s | total s | ms a step | times real time |\n" + "|---" * 7 + "|")
    for batch in arguments.batch:
        steps = arguments.prompt + arguments.tokens
        least = bound(shape, machine, windows=arguments.windows, batch=batch, steps=steps)
        each = least.decoder / (steps * -(-arguments.windows // batch)) * 1000
        speed = arguments.windows * 30 / least.total
        parts = f"{least.encoder:.2f} | {least.cross:.2f} | {least.decoder:.2f} | {least.total:.2f}"
        print(f"| {batch} | {parts} | {each:.2f} | {speed:.0f} |")


if __name__ == "__main__":
    main()
