"""The server as a process: how it starts, what it says, and how it ends."""

from __future__ import annotations

import datetime
import ipaddress
import json
import os
import signal
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import httpx
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from surface import CLIP, CLIP_TEXT, MODEL, TOKEN

from gputx_remote.__main__ import parser
from gputx_remote.server import logs, run
from gputx_remote.server.seized import seized
from gputx_remote.worker import ModelOptions

LONG = CLIP.with_name("long3min.flac")


@dataclass
class Process:
    """A server, and what it has written."""

    running: subprocess.Popen[str]
    lines: list[str] = field(default_factory=list)

    def until(self, event: str) -> dict[str, Any]:
        """The log's line with this event."""
        assert self.running.stderr is not None
        for line in self.running.stderr:
            self.lines.append(line)
            if line.startswith("{") and json.loads(line)["event"] == event:
                found: dict[str, Any] = json.loads(line)
                return found
        raise AssertionError(f"it ended before {event!r}: {''.join(self.lines)}")

    def end(self) -> int:
        """Its exit status, and the rest of what it says."""
        assert self.running.stderr is not None
        self.lines += self.running.stderr.readlines()
        return self.running.wait(timeout=60)


@contextmanager
def _process(*arguments: str, **environment: str) -> Iterator[Process]:
    command = [sys.executable, "-m", "gputx_remote", "api", "--port", "0", "--device", "cpu", *arguments]
    running = subprocess.Popen(
        command,
        stderr=subprocess.PIPE,
        text=True,
        env={name: value for name, value in os.environ.items() if name != "GPUTX_TOKEN"} | environment,
    )
    try:
        yield Process(running)
    finally:
        running.kill()
        running.communicate()


def _client(url: str, **options: Any) -> httpx.Client:
    return httpx.Client(
        base_url=url, headers={"Authorization": f"Bearer {TOKEN}"}, timeout=60, trust_env=False, **options
    )


def _ready(process: Process) -> str:
    url = str(process.until("listening")["url"])
    process.until("ready")
    return url


def test_a_job_outlives_its_process(tmp_path: Path) -> None:
    """TERM while it is transcribed: refused for now, left on disk, and done by the next process."""
    state = tmp_path / "state"
    used = tmp_path / "used"
    model = ("--model", str(MODEL), "--model-name", "tiny", "--state", str(state), "--idle-file", str(used))
    with _process(*model, "--drain", "5.2", GPUTX_TOKEN=TOKEN) as first:
        with _client(_ready(first)) as client:
            assert client.get("/jobs").status_code == httpx.codes.OK
            assert not used.exists()
            addresses = [
                client.post("/transcribe?async=1", files={"audio": path.read_bytes()}).headers["location"]
                for path in (LONG, CLIP)
            ]
            assert used.exists()
            first.running.send_signal(signal.SIGTERM)
            first.until("draining")
            refused = client.post("/transcribe", files={"audio": CLIP.read_bytes()})
            assert (refused.status_code, refused.json()["error"]["code"]) == (503, "draining")
            assert int(refused.headers["retry-after"]) >= 1
        began = time.monotonic()
        assert first.end() == 0
        assert time.monotonic() - began < 15
    with _process(*model, GPUTX_TOKEN=TOKEN) as second, _client(_ready(second)) as client:
        for address in addresses:
            with client.stream("GET", f"{address}/events") as events:
                text = "".join(events.iter_text())
            assert text.rstrip().rpartition("event: ")[2].startswith("end")
            assert client.get(address).json()["state"] == "done"
        texts = [client.get(f"{address}/result").text for address in addresses]
        assert len(texts[0].split()) > 100
        assert texts[1].lower().startswith(CLIP_TEXT)
        second.running.send_signal(signal.SIGTERM)
        assert second.end() == 0


def test_a_state_directory_is_one_servers(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "configure", lambda: None)
    state = tmp_path / "state"
    upload = state / "incoming" / "upload-of-the-first"
    with seized(state):
        upload.parent.mkdir()
        upload.touch()
        assert _started("--model", str(MODEL), "--state", str(state)) == 3
        written = capsys.readouterr().err
        assert written.splitlines() == [
            f"error: another server keeps its jobs in {state}: end it, or use another directory"
        ]
        assert upload.exists()
    with seized(state):  # it was let go of
        pass


def test_a_token_is_made_and_said_once(tmp_path: Path) -> None:
    with _process("--model", str(MODEL), "--state", str(tmp_path)) as process:
        url = _ready(process)
        said = [line for line in process.lines if line.startswith("token: ")]
        assert len(said) == 1
        token = said[0].split()[1]
        with httpx.Client(base_url=url, trust_env=False, headers={"Authorization": f"Bearer {token}"}) as client:
            answer = client.post("/transcribe", files={"audio": CLIP.read_bytes()}, timeout=60)
        assert answer.json()["transcription"].lower().startswith(CLIP_TEXT)
        # Nobody else on this machine reads what lies there.
        assert all(path.stat().st_mode & 0o077 == 0 for path in tmp_path.rglob("*"))
        process.running.send_signal(signal.SIGINT)
        assert process.end() == 0
        assert token not in "".join(line for line in process.lines if line not in said)


def test_tls(tmp_path: Path) -> None:
    cert, key = _certificate(tmp_path)
    arguments = ("--model", str(MODEL), "--state", str(tmp_path), "--tls-cert", str(cert), "--tls-key", str(key))
    with _process(*arguments, GPUTX_TOKEN=TOKEN) as process:
        url = _ready(process)
        assert url.startswith("https://")
        with _client(url, verify=ssl.create_default_context(cafile=cert)) as client:
            answer = client.get("/v1/models")
            assert answer.status_code == httpx.codes.OK
            assert "strict-transport-security" in answer.headers
        with pytest.raises(httpx.ConnectError), _client(url) as stranger:
            stranger.get("/health")


def _certificate(directory: Path) -> tuple[Path, Path]:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    now = datetime.datetime.now(datetime.UTC)
    address = x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address("127.0.0.1"))])
    authority = x509.BasicConstraints(ca=True, path_length=0)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(minutes=1))
        .not_valid_after(now + datetime.timedelta(hours=1))
        .add_extension(address, critical=False)
        .add_extension(authority, critical=True)
        .sign(key, hashes.SHA256())
    )
    cert_path, key_path = directory / "cert.pem", directory / "key.pem"
    cert_path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    cert_path.chmod(0o600)
    key_path.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    key_path.chmod(0o600)
    return cert_path, key_path


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (("--model", "no/such/directory"), 3, "no/such/directory"),
        (("--model", str(MODEL), "--tokens", "/no/such/file"), 2, "No such file"),
        (("--model", str(MODEL), "--language", "klingon"), 2, "klingon"),
        (("--model", str(MODEL), "--tls-cert", "cert.pem"), 2, "go together"),
        (("--model", str(MODEL), "--tls-cert", __file__, "--tls-key", __file__), 2, "certificate"),
        (("--model", str(MODEL), "--host", "192.0.2.1"), 2, "assign"),
        (("--model", str(MODEL), "--drain", "3"), 2, "--drain"),
        (("--model", str(MODEL), "--port", "70000"), 2, "65535"),
    ],
)
def test_what_it_cannot_start_with(
    tmp_path: Path,
    arguments: tuple[str, ...],
    status: int,
    said: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(logs, "configure", lambda: None)
    monkeypatch.setenv("GPUTX_TOKEN", TOKEN)
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    assert _started(*arguments, "--state", str(tmp_path)) == status
    written = capsys.readouterr().err
    errors = [line for line in written.splitlines() if "error: " in line]
    assert len(errors) == 1
    assert said in errors[0]
    assert "Traceback" not in written


def test_a_short_token_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(logs, "configure", lambda: None)
    monkeypatch.setenv("GPUTX_TOKEN", "hemlig")
    assert _started("--model", str(MODEL), "--state", str(tmp_path)) == 2
    written = capsys.readouterr().err
    assert "too short" in written
    assert "hemlig" not in written


def _started(*arguments: str) -> int:
    """The exit status of a server that can't start, in this process."""
    try:
        options = parser().parse_args(["api", "--port", "0", "--device", "cpu", *arguments])
    except SystemExit as end:
        return int(end.code or 0)
    return run.run(ModelOptions(options.model, device="cpu"), options)
