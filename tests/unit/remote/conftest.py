"""Speech, a loaded model and small makers of audio files, shared by the tests of the payload."""

from __future__ import annotations

import csv
import zipfile
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest
import soundfile
from material import HELD_OUT, ROOT, Clip, MakeFile

import gputx_remote.engine  # noqa: F401 - sets how torch's threads wait, before any test imports torch
from gputx_remote.vocabulary import Vocabulary

if TYPE_CHECKING:
    from gputx_remote.engine.reference import ReferenceTranscriber


@pytest.fixture(scope="session")
def clips() -> dict[str, Clip]:
    with (HELD_OUT / "clips.tsv").open(encoding="utf-8", newline="") as file:
        rows = csv.DictReader(file, delimiter="\t")
        return {Path(row["file"]).stem: Clip(HELD_OUT / row["file"], row["text"]) for row in rows}


@pytest.fixture(scope="session")
def model_path() -> Path:
    return ROOT / "gputx" / "sandbox" / "tiny_sv"


@pytest.fixture(scope="session")
def vocabulary(model_path: Path) -> Vocabulary:
    return Vocabulary.load(model_path)


@pytest.fixture(scope="session")
def notes() -> list[str]:
    return []


@pytest.fixture(scope="session")
def engine(model_path: Path, notes: list[str]) -> ReferenceTranscriber:
    # Seconds of imports, which the tests of audio and writers do without.
    from gputx_remote import weights  # noqa: PLC0415
    from gputx_remote.decoders import transformers_model  # noqa: PLC0415
    from gputx_remote.engine.reference import ReferenceTranscriber  # noqa: PLC0415

    location = weights.resolve(str(model_path), None, notes.append)
    checkpoint = transformers_model.load(location, device="cpu", dtype="float32", note=notes.append)
    return ReferenceTranscriber(checkpoint, None, notes.append)


@pytest.fixture(scope="session")
def payload(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package as one zip, as it is sent to an instance."""
    path = tmp_path_factory.mktemp("payload") / "payload.pyz"
    entry = "import sys\nfrom gputx_remote.__main__ import main\nsys.exit(main())\n"
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(zipfile.ZipInfo("__main__.py"), entry)
        files = (path for path in (ROOT / "remote" / "gputx_remote").rglob("*") if path.is_file())
        for file in sorted(path for path in files if path.suffix != ".pyc"):
            archive.writestr(zipfile.ZipInfo(str(file.relative_to(ROOT / "remote"))), file.read_bytes())
    return path


@pytest.fixture
def sound(tmp_path: Path) -> MakeFile:
    """Write samples with libsndfile: ``sound("a.wav", samples, rate, subtype="FLOAT")``."""

    def make(name: str, samples: np.ndarray, rate: int, **how: str) -> Path:
        path = tmp_path / name
        soundfile.write(path, samples, rate, **how)
        return path

    return make


@pytest.fixture
def movie(tmp_path: Path) -> MakeFile:
    """Write a container with FFmpeg: an audio track, a video track, or both."""

    def make(
        name: str,
        samples: np.ndarray | None,
        rate: int = 48_000,
        *,
        codec: str = "aac",
        video: bool = False,
        frames: int = 25,
    ) -> Path:
        path = tmp_path / name
        with av.open(str(path), "w") as container:
            # Every track has to be declared before the first packet is written.
            picture = _picture_track(container) if video else None
            voice = None if samples is None else container.add_stream(codec, rate=rate, layout=_layout(samples))
            if picture is not None:
                _draw(container, picture, frames)
            if voice is not None and samples is not None:
                _sing(container, voice, samples, rate)
        return path

    return make


def _layout(samples: np.ndarray) -> str:
    return {1: "mono", 2: "stereo", 6: "5.1", 8: "7.1"}[samples.shape[1]]


def _picture_track(container: av.container.OutputContainer) -> av.VideoStream:
    stream = container.add_stream("mpeg4", rate=25)
    stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
    return stream


def _draw(container: av.container.OutputContainer, stream: av.VideoStream, frames: int) -> None:
    for number in range(frames):
        picture = np.full((48, 64, 3), number % 255, dtype=np.uint8)
        container.mux(stream.encode(av.VideoFrame.from_ndarray(picture, format="rgb24")))
    container.mux(stream.encode(None))


def _sing(container: av.container.OutputContainer, stream: av.AudioStream, samples: np.ndarray, rate: int) -> None:
    if len(samples):
        # Interleaved: PyAV can't fill the planes of a planar frame of eight channels.
        frame = av.AudioFrame.from_ndarray(samples.reshape(1, -1), format="flt", layout=_layout(samples))
        frame.sample_rate, frame.pts, frame.time_base = rate, 0, Fraction(1, rate)
        container.mux(stream.encode(frame))
    container.mux(stream.encode(None))
