"""The spectrogram of :mod:`gputx_remote.spectrogram` on a GPU, where numpy would take longer than the encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import torch

from gputx_remote.spectrogram import FLOOR, HOP, N_FFT, WINDOW_SAMPLES, mel_filters

if TYPE_CHECKING:
    from gputx_remote.decoders.decoder import Samples


def log_mel(windows: Sequence[Samples], bins: int, device: str) -> torch.Tensor:
    """float32 of shape (windows, bins, 3000), as :func:`gputx_remote.spectrogram.log_mel` but for rounding."""
    samples = torch.zeros(len(windows), WINDOW_SAMPLES)
    for row, window in zip(samples, windows, strict=True):
        if len(window) > WINDOW_SAMPLES:
            raise ValueError(f"a window of {len(window)} samples is longer than 30 s")
        row[: len(window)] = torch.from_numpy(window)
    hann = torch.hann_window(N_FFT, device=device)
    spectrum = torch.stft(samples.to(device), N_FFT, HOP, window=hann, return_complex=True)[..., :-1]
    power = spectrum.real.square() + spectrum.imag.square()
    mel = torch.from_numpy(mel_filters(bins)).to(device).T @ power
    features = mel.clamp_(min=FLOOR).log10_()
    features = torch.maximum(features, features.amax((1, 2), keepdim=True) - 8)
    return (features + 4) / 4
