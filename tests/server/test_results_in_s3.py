"""Texts put into a bucket with a machine's role: signatures as botocore makes them, and a round trip over a double."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import boto3
import httpx
import pytest
from botocore.auth import S3SigV4QueryAuth, SigV4Auth
from botocore.awsrequest import AWSRequest
from botocore.credentials import Credentials
from moto.server import ThreadedMotoServer
from surface import CLIP, CLIP_TEXT, Surface, serving

from gputx_remote.server import s3
from gputx_remote.server.engine import SharedEngine
from gputx_remote.server.s3 import Signer
from gputx_remote.server.storing import FORMATS, Results

NOW = datetime(2026, 11, 21, 14, 15, 3, tzinfo=UTC)
KEYS = {"AWS_ACCESS_KEY_ID": "AKIDEXAMPLE", "AWS_SECRET_ACCESS_KEY": "wJalrX/K7MDENG", "AWS_SESSION_TOKEN": "a/b+c=="}
TESTING = {"AWS_ACCESS_KEY_ID": "testing", "AWS_SECRET_ACCESS_KEY": "testing"}
REGION = "eu-north-1"


@pytest.mark.parametrize("method", ["GET", "PUT"])
@pytest.mark.parametrize(
    ("key", "query"), [("results/20261121/AROA:i-0abc/x y/å.txt", {}), ("a", {}), ("b~c", {"x-id": "Put Object"})]
)
def test_s3_addresses_are_signed_as_botocore_signs_them(
    monkeypatch: pytest.MonkeyPatch, method: str, key: str, query: dict[str, str]
) -> None:
    signer = Signer(REGION, KEYS)
    url = signer.url("a-bucket", key)
    ours = signer.signed(method, url, seconds=600, now=NOW.timestamp(), **query)
    _at(monkeypatch)
    request = AWSRequest(method, url, params=query)
    S3SigV4QueryAuth(_botocore(), "s3", REGION, expires=600).add_auth(request)
    assert _parts(ours) == _parts(request.url)


def test_sts_is_asked_as_botocore_asks(monkeypatch: pytest.MonkeyPatch) -> None:
    address = f"https://sts.{REGION}.amazonaws.com"
    ours = Signer(REGION, KEYS).asking_who(address, NOW.timestamp())
    _at(monkeypatch)
    body = b"Action=GetCallerIdentity&Version=2011-06-15"
    request = AWSRequest("POST", f"{address}/", {"Content-Type": ours["content-type"]}, body)
    SigV4Auth(_botocore(), "sts", REGION).add_auth(request)
    assert ours["Authorization"] == request.headers["Authorization"]


def _botocore() -> Credentials:
    return Credentials(KEYS["AWS_ACCESS_KEY_ID"], KEYS["AWS_SECRET_ACCESS_KEY"], KEYS["AWS_SESSION_TOKEN"])


def _at(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let botocore believe that it is NOW."""
    monkeypatch.setattr("botocore.auth.get_current_datetime", lambda *_: NOW.replace(tzinfo=None))


def _parts(url: str) -> tuple[str, dict[str, list[str]]]:
    return urlsplit(url).path, parse_qs(urlsplit(url).query, keep_blank_values=True)


class _Metadata(BaseHTTPRequestHandler):
    """An instance's metadata service, version 2 only."""

    asked = 0
    ends = NOW

    def do_PUT(self) -> None:
        assert self.headers["X-aws-ec2-metadata-token-ttl-seconds"]
        self._answer(200, "a-session")

    def do_GET(self) -> None:
        if self.headers["X-aws-ec2-metadata-token"] != "a-session":
            self._answer(401, "")
        elif self.path.endswith("/security-credentials/"):
            self._answer(200, "a-role\n")
        else:
            type(self).asked += 1
            ends = self.ends.strftime("%Y-%m-%dT%H:%M:%SZ")
            said = {"AccessKeyId": "ASIA", "SecretAccessKey": "s", "Token": f"t{self.asked}", "Expiration": ends}
            self._answer(200, json.dumps(said))

    def _answer(self, status: int, text: str) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(text)))
        self.end_headers()
        self.wfile.write(text.encode())

    def log_message(self, format: str, *_: object) -> None:  # noqa: A002 - as http.server has it
        """Nothing: what it was asked is asserted."""


@pytest.fixture
def metadata() -> Iterator[str]:
    _Metadata.asked = 0
    server = ThreadingHTTPServer(("127.0.0.1", 0), _Metadata)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def test_a_role_is_asked_for_again_before_its_credentials_end(metadata: str) -> None:
    signer = Signer(REGION, {"AWS_EC2_METADATA_SERVICE_ENDPOINT": metadata})
    _Metadata.ends = NOW + timedelta(hours=1)

    def token(seconds: float) -> str:
        at = (NOW + timedelta(seconds=seconds)).timestamp()
        return _parts(signer.signed("GET", "https://b.s3.amazonaws.com/k", now=at))[1]["X-Amz-Security-Token"][0]

    assert token(0) == token(3000) == "t1"
    _Metadata.ends = NOW + timedelta(hours=7)
    assert token(3400) == "t2"
    # No address is valid for longer than who signed it.
    long = signer.signed("GET", "https://b.s3.amazonaws.com/k", seconds=10**9, now=NOW.timestamp())
    assert _parts(long)[1]["X-Amz-Expires"] == ["25200"]


def test_no_role_and_no_keys() -> None:
    assert Signer(REGION, {}).url("b", "å b/k") == f"https://b.s3.{REGION}.amazonaws.com/%C3%A5%20b/k"
    with pytest.raises(OSError, match="refused"):
        s3.credentials({"AWS_EC2_METADATA_SERVICE_ENDPOINT": "http://127.0.0.1:9"})


@pytest.mark.parametrize("address", ["bucket/results", "https://bucket/", "s3://", "s3:///results", "s3://b/c?d"])
def test_what_is_no_place_for_results(address: str) -> None:
    with pytest.raises(ValueError, match="--results"):
        Results(address, Signer(REGION, KEYS), "tiny")


@pytest.fixture(scope="module")
def cloud() -> Iterator[str]:
    server = ThreadedMotoServer("127.0.0.1", 0, verbose=False)
    server.start()
    host, port = server.get_host_and_port()
    yield f"http://{host}:{port}"
    server.stop()


@pytest.fixture(scope="module")
def bucket(cloud: str) -> Any:
    keys = {"aws_access_key_id": "testing", "aws_secret_access_key": "testing"}
    client = boto3.client("s3", REGION, endpoint_url=cloud, **keys)
    client.create_bucket(Bucket="a-bucket", CreateBucketConfiguration={"LocationConstraint": REGION})
    return client


@pytest.fixture(scope="module")
def storing(
    engine: SharedEngine, cloud: str, bucket: Any, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Surface]:
    signer = Signer(REGION, TESTING | {"AWS_ENDPOINT_URL": cloud})
    results = Results("s3://a-bucket/results/", signer, "tiny")
    with serving(engine, tmp_path_factory.mktemp("storing"), results=results) as surface:
        yield surface


def test_the_text_of_a_job_is_put_there_and_returned_as_an_address(storing: Surface, bucket: Any) -> None:
    with storing.client() as client:
        address = client.post("/transcribe?async=1", files={"audio": CLIP.read_bytes()}).headers["location"]
        deadline = time.monotonic() + 30
        while not (job := client.get(address).json())["stored"] and time.monotonic() < deadline:
            time.sleep(0.05)
        local = {name: client.get(job["results"][name]) for name in FORMATS}
    assert job["state"] == "done"
    assert set(job["stored"]) == set(FORMATS)
    moment = datetime.fromtimestamp(job["created"], UTC).strftime("%Y%m%d_%H%M%S")
    for name, url in job["stored"].items():
        path = urlsplit(url).path
        assert path.startswith(f"/a-bucket/results/{moment}/")
        assert path.endswith(f"/{job['id']}/transcription.{name}")
        # Whoever has the address needs nothing else.
        stored = httpx.get(url, trust_env=False)
        assert stored.status_code == httpx.codes.OK
        assert stored.content == local[name].content
    assert local["txt"].text.lower().startswith(CLIP_TEXT)
    key = path.removeprefix("/a-bucket/").rpartition("/")[0] + "/metadata.json"
    metadata = json.loads(bucket.get_object(Bucket="a-bucket", Key=unquote(key))["Body"].read())
    assert (metadata["job"], metadata["model"], metadata["language"]) == (job["id"], "tiny", "sv")


def test_what_somebody_waited_for_is_not_stored(storing: Surface, bucket: Any) -> None:
    before = bucket.list_objects_v2(Bucket="a-bucket").get("KeyCount")
    with storing.client() as asking:
        assert asking.post("/transcribe", files={"audio": CLIP.read_bytes()}).status_code == httpx.codes.OK
    assert bucket.list_objects_v2(Bucket="a-bucket").get("KeyCount") == before


def test_a_text_is_to_be_had_where_it_could_not_be_stored(engine: SharedEngine, tmp_path: Path) -> None:
    nowhere = Results("s3://b/results", Signer(REGION, TESTING | {"AWS_ENDPOINT_URL": "http://127.0.0.1:9"}), "tiny")
    with serving(engine, tmp_path, results=nowhere) as surface, surface.client() as client:
        address = client.post("/transcribe?async=1", files={"audio": CLIP.read_bytes()}).headers["location"]
        with client.stream("GET", f"{address}/events") as events:
            assert "event: end" in "".join(events.iter_text())
        job = client.get(address).json()
        assert (job["state"], job["stored"]) == ("done", {})
        assert client.get(job["results"]["txt"]).text.lower().startswith(CLIP_TEXT)
