"""The page with real files against the real server: from the drop to the corrected download, by mouse and by keys."""

from __future__ import annotations

import json
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest
import srt
from line import laid
from page_material import ROOT, SHOWN, TOKEN, WORK, Recording, Server, ended, enter, wer
from tab import Page, PageError

_AT = "document.querySelector('#sound').currentTime"
_START = "document.querySelector('#segments li:nth-child({}) .time').textContent"


def test_a_file_becomes_text_that_arrives_live(server: Server, opened: Page, interview: Recording) -> None:
    opened.js(
        """(() => { window.seen = []; new MutationObserver(() => {
          const row = document.querySelector('#queue li');
          window.seen.push([row?.dataset.state, document.querySelectorAll('#segments li').length]);
        }).observe(document.body, {subtree: true, childList: true, attributes: true}) })()"""
    )
    opened.files("#files", [interview.path])
    ended(opened)

    assert wer(interview.text, opened.js(SHOWN)) <= 0.1
    states = [state for state, _ in opened.js("window.seen") if state]
    assert [*dict.fromkeys(states)][-1] == "done"
    assert {"uploading", "running"} <= set(states)
    # The first text stood there while the rest was still being written.
    assert any(state == "running" and count for state, count in opened.js("window.seen"))
    assert "Swedish" in opened.text("#facts")
    assert "0:31 long" in opened.text("#facts")
    assert "Done" in opened.js("document.querySelector('#status').textContent")
    # Nothing from elsewhere, and the token in no address.
    assert {urlsplit(url).netloc for url in opened.addresses() if urlsplit(url).scheme in ("http", "https", "ws")} == {
        urlsplit(server.url).netloc
    }
    assert not [url for url in opened.addresses() if TOKEN in url]
    assert opened.js("JSON.stringify({...localStorage})").count(TOKEN) == 0


def test_clicking_a_segment_plays_it(filled: Page) -> None:
    filled.click("#segments li:nth-child(3) .time")
    filled.until("!document.querySelector('#sound').paused")
    minutes, seconds = filled.js(_START.format(3)).split(":")
    assert int(minutes) * 60 + int(seconds) <= filled.js(_AT) < int(minutes) * 60 + int(seconds) + 3
    filled.until("document.querySelector('#segments li:nth-child(3)').classList.contains('heard')")
    # In the text itself it plays from the word that was clicked, which is later than the segment's start.
    filled.click("#segments li:nth-child(3) p", at=(0.25, 0.5))
    assert filled.js(_AT) > int(minutes) * 60 + int(seconds)
    filled.until("CSS.highlights.has('word')")
    filled.click("#play")
    filled.until("document.querySelector('#sound').paused")


def test_a_corrected_word_is_in_every_download(filled: Page, tmp_path: Path) -> None:
    filled.downloads(tmp_path)
    first = filled.js("document.querySelector('#segments p').textContent")
    word = first.split()[0]
    filled.click("#segments li:first-child p", times=2, at=(0.02, 0.5))
    filled.until("document.activeElement.matches('#segments textarea')")
    selected = "(({value, selectionStart: from, selectionEnd: to}) => value.slice(from, to))(document.activeElement)"
    assert filled.js(selected) == word
    filled.write("Vårdcentralschefen")
    filled.press("Enter")
    expected = first.replace(word, "Vårdcentralschefen", 1)
    assert filled.js("document.querySelector('#segments p').textContent") == expected
    assert "1 correction" in filled.text("#facts")

    got = {name: _downloaded(filled, tmp_path, name) for name in ("txt", "srt", "vtt", "json")}
    assert got["txt"].splitlines()[0] == expected
    assert next(cue.content for cue in srt.parse(got["srt"])) == expected
    assert expected in got["vtt"]
    document = json.loads(got["json"])
    assert document["segments"][0]["text"] == expected
    assert document["segments"][0]["corrected"]
    assert document["segments"][0]["words"][0]["word"] == " Vårdcentralschefen"
    assert document["text"].startswith(expected)

    # And it can be taken back.
    filled.click("#segments li:first-child .restore")
    assert filled.js("document.querySelector('#segments p').textContent") == first


def test_downloads_without_corrections_are_what_the_server_writes(server: Server, filled: Page, tmp_path: Path) -> None:
    filled.downloads(tmp_path)
    number = filled.js(f"{WORK}[0].id")
    for name in ("txt", "srt", "vtt"):
        written = server.get(f"/jobs/{number}/result?format={name}").decode()
        assert _downloaded(filled, tmp_path, name) == written
    ours = json.loads(_downloaded(filled, tmp_path, "json"))
    theirs = json.loads(server.get(f"/jobs/{number}/result?format=json"))
    assert {name: ours[name] for name in ("text", "language", "duration")} == {
        name: theirs[name] for name in ("text", "language", "duration")
    }
    for mine, its in zip(ours["segments"], theirs["segments"], strict=True):
        assert (mine["start"], mine["end"], mine["text"]) == (its["start"], its["end"], its["text"])
        assert [word["word"] for word in mine["words"]] == [word["word"] for word in its["words"]]


def test_everything_by_keys(server: Server, page: Page, short: Recording) -> None:
    enter(page, server.url + "/")
    page.js("document.activeElement.blur()")
    focused = []
    for _ in range(12):
        page.press("Tab")
        focused.append(page.js("(({id, tagName}) => id || tagName)(document.activeElement)"))
        if focused[-1] != "BODY":
            ring = "getComputedStyle(document.activeElement).outlineStyle"
            assert page.js(ring) != "none", f"no visible focus on {focused[-1]}"
    order = ["key", "language", "theme", "choose", "record", "SUMMARY"]
    assert [name for name in dict.fromkeys(focused) if name in order] == order

    page.files("#files", [short.path])  # the system's own dialog stands between the key and the files
    ended(page)
    page.js("document.querySelector('#copy').focus()")
    page.press("Tab")
    assert page.js("document.activeElement.className") == "time"
    before = page.js(SHOWN)
    page.press("Enter")
    page.until("!document.querySelector('#sound').paused")
    page.press(" ")
    page.until("document.querySelector('#sound').paused")
    page.press("End")
    assert page.js("document.activeElement.closest('li') === document.querySelector('#segments').lastElementChild")
    page.press("Home", "e")
    page.until("document.activeElement.matches('textarea')")
    page.write(" tillagt")
    page.press("Escape")
    assert page.js(SHOWN) == before
    page.press("e")
    page.write(" tillagt")
    page.press("Enter")
    page.until("document.querySelector('#segments p').textContent.endsWith(' tillagt')")
    assert page.js("document.activeElement.className") == "time"


def test_several_files_wait_for_each_other_and_a_bad_one_says_why(
    opened: Page, short: Recording, tmp_path: Path
) -> None:
    nasty = tmp_path / "<img src=x onerror=alert(1)>.wav"
    nasty.write_bytes(b"this is no sound at all" * 100)
    empty = tmp_path / "empty.wav"
    empty.touch()
    opened.files("#files", [short.path, nasty, empty])
    ended(opened, "done", "failed", "failed")
    assert opened.js("document.querySelectorAll('#queue img').length") == 0
    assert opened.text("#queue li:nth-child(2) .name") == nasty.name
    opened.click("#queue li:nth-child(2) .show")
    assert opened.text("#trouble")
    assert str(tmp_path) not in opened.text("#trouble")
    opened.click("#queue li:nth-child(3) .show")
    assert opened.text("#trouble") == "empty.wav is empty"
    opened.click("#queue li:nth-child(1) .show")
    assert wer(short.text, opened.js(SHOWN)) <= 0.3
    opened.click("#queue li:nth-child(2) .remove")
    assert opened.js("document.querySelectorAll('#queue li').length") == 2
    opened.forgive("status of 4")


def test_a_reload_takes_up_jobs_and_corrections(opened: Page, short: Recording) -> None:
    opened.files("#files", [short.path])
    ended(opened)
    opened.click("#segments li:first-child .edit")
    opened.write(" och mer")
    opened.press("Enter")
    corrected = opened.js(SHOWN)
    # A correction that was not downloaded is worth a question.
    assert opened.reload() == ["beforeunload"]
    ended(opened)
    assert opened.js(SHOWN) == corrected
    assert opened.js("document.querySelector('#player').hidden")
    assert "Drop the file here again" in opened.text("#trouble")
    opened.files("#files", [short.path])
    opened.until("!document.querySelector('#player').hidden")
    assert opened.js("document.querySelectorAll('#queue li').length") == 1


def test_a_cancelled_job_is_gone_here_and_there(server: Server, opened: Page) -> None:
    long = ROOT / "examples" / "held-out" / "long20min.ogg"
    opened.files("#files", [long])
    opened.until("document.querySelector('#queue li')?.dataset.state === 'running'", 60)
    number = opened.js(f"{WORK}[0].id")
    opened.click("#queue .remove")
    assert opened.js("document.body.classList.contains('empty')")
    end = time.monotonic() + 30
    while number in _running(server):
        assert time.monotonic() < end, "the server goes on with what was cancelled"
        time.sleep(0.05)


def test_files_can_be_dropped(opened: Page, short: Recording) -> None:
    data = {"items": [], "files": [str(short.path)], "dragOperationsMask": 1}
    for kind in ("dragEnter", "dragOver"):
        opened.call("Input.dispatchDragEvent", type=kind, x=640, y=700, data=data)
    # Anywhere on the page, and it shows where that leads.
    assert opened.js("document.body.classList.contains('dragging')")
    opened.call("Input.dispatchDragEvent", type="drop", x=640, y=700, data=data)
    ended(opened)
    assert opened.text("#name") == short.path.name


def test_a_busy_server_is_asked_again_when_it_said(opened: Page, short: Recording) -> None:
    opened.call("Fetch.enable", patterns=[{"urlPattern": "*/transcribe*"}])
    opened.files("#files", [short.path])
    opened.until("document.querySelector('#queue li')?.dataset.state === 'uploading'")
    paused = opened.event("Fetch.requestPaused")
    answer = {"responseCode": 429, "responseHeaders": [{"name": "Retry-After", "value": "1"}], "body": ""}
    opened.call("Fetch.fulfillRequest", requestId=paused["requestId"], **answer)
    opened.until("document.querySelector('#queue .state').textContent === 'The server is busy, trying again in 1 s'")
    opened.call("Fetch.disable")
    ended(opened)
    opened.forgive("status of 429")


def test_a_line_that_breaks_is_taken_up_without_a_word_twice(server: Server, page: Page) -> None:
    with laid(urlsplit(server.url).port or 0) as line:
        enter(page, f"http://127.0.0.1:{line.port}/")
        page.files("#files", [ROOT / "examples" / "held-out" / "long3min.flac"])
        page.until("document.querySelector('#segments li') !== null", 60)
        line.cut()
        ended(page)
        number = page.js(f"{WORK}[0].id")
        assert [url for url in page.addresses() if url.endswith("/events")][1:], "the line was cut too late"
        assert page.js(SHOWN).split() == server.get(f"/jobs/{number}/result?format=txt").decode().split()


def test_a_wrong_token_is_told_and_opens_nothing(server: Server, page: Page) -> None:
    page.goto(server.url + "/")
    page.until("document.querySelector('#ask').open")
    page.write("no-such-token-0123456789")
    page.press("Enter")
    page.until("!document.querySelector('#wrong').hidden")
    assert page.text("#wrong") == "The server does not know this token."
    assert page.js("sessionStorage.getItem('gputx.token')") is None
    with pytest.raises(PageError):
        page.until("!document.querySelector('#ask').open", 0.3)


def _running(server: Server) -> list[str]:
    jobs = json.loads(server.get("/jobs"))["jobs"]
    return [job["id"] for job in jobs if job["state"] in ("queued", "running")]


def _downloaded(page: Page, directory: Path, name: str) -> str:
    page.click(f"#downloads [data-format={name}]")
    end = time.monotonic() + 10
    while not (found := [path for path in directory.iterdir() if path.name.endswith(f".{name}")]):
        assert time.monotonic() < end, f"no {name} was downloaded"
        time.sleep(0.02)
    assert len(found) == 1
    # Not open(…, newline=None): what was downloaded is compared byte by byte.
    return found[0].read_bytes().decode()
