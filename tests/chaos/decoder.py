"""The declared test decoder: an engine that sleeps and says one sentence, put into an image in place of the model.

What the campaign interrupts is the life of an instance; the model itself would only cost time. No production code
knows of it: the image's interpreter is wrapped so that ``sitecustomize`` puts a module of the engine's name where
``import`` finds it, and one of the server's.
"""

from __future__ import annotations

from pathlib import Path

WORK_SECONDS = 0.3
"""How long the decoder takes for a file, in real time."""

_SITECUSTOMIZE = f'''\
"""A decoder that only sleeps, in place of the engines."""

import sys
import time
import types


class SleepingTranscriber:
    device = "cpu"
    compute_type = "float32"

    def transcribe(self, recording, options, *, progress=None):
        from gputx_remote.engine.transcriber import TranscriptionInfo

        info = TranscriptionInfo(options.language or "sv", recording.duration_ms)
        return self._segments(recording.duration_ms / 1000, info, progress), info

    def _segments(self, seconds, info, progress):
        from gputx_remote.transcript import Segment

        time.sleep({WORK_SECONDS})
        info.windows = 1
        if progress:
            progress(seconds, seconds)
        yield Segment(0, info.duration_ms, "det var en gång")


def serve(options, arguments):
    """A server that answers /health and knows of no jobs, in place of the one that would load a model."""
    import http.server
    import json

    class Handler(http.server.BaseHTTPRequestHandler):
        def do_GET(self):
            said = {{"/health": {{"model_loaded": True}}, "/jobs": {{"jobs": []}}}}.get(self.path)
            self.send_response(404 if said is None else 200)
            self.end_headers()
            self.wfile.write(json.dumps(said).encode())

        def log_message(self, *words):
            pass

    http.server.ThreadingHTTPServer((arguments.host, arguments.port), Handler).serve_forever()


server = types.ModuleType("gputx_remote.server.run")
server.run = serve
sys.modules[server.__name__] = server

engine = types.ModuleType("gputx_remote.engine.loading")
engine.load = lambda location, choice, *, device, batch_size, note: SleepingTranscriber()
sys.modules[engine.__name__] = engine
'''


def install(images: Path) -> None:
    """Give every image that has an interpreter the decoder in place of its model.

    Args:
        images: the sandbox's directory of images.

    Raises:
        FileNotFoundError: no image there has an interpreter.
    """
    interpreters = list(images.glob("*/opt/transcribe/venv/bin/python"))
    if not interpreters:
        raise FileNotFoundError(f"no image with an interpreter in {images}")
    for interpreter in interpreters:
        decoder = interpreter.parents[2] / "decoder"
        decoder.mkdir(exist_ok=True)
        (decoder / "sitecustomize.py").write_text(_SITECUSTOMIZE, encoding="utf-8")
        lines = interpreter.read_text(encoding="utf-8").splitlines()
        path = 'export PYTHONPATH="${TRANSCRIBE_ROOT:-/opt/transcribe}/decoder"'
        if path not in lines:
            interpreter.write_text("\n".join([*lines[:-1], path, lines[-1]]) + "\n", encoding="utf-8")
