"""How the page looks and what a screen reader is told; takes the pictures of the documentation.

``GPUTX_PAGE_PICTURES=docs pytest tests/page/test_page_looks.py`` writes them to a directory; without it they are made,
looked at for sense, and dropped with the test.
"""

from __future__ import annotations

import os
from pathlib import Path

import av
import pytest
from page_material import ROOT, STATES, Server, enter
from tab import Page

_CONTRASTS = (Path(__file__).parent / "contrasts.js").read_text(encoding="utf-8")


def test_text_can_be_read_in_light_and_dark(filled: Page) -> None:
    for colours in ("light", "dark"):
        filled.media(prefers_color_scheme=colours)
        contrasts = filled.js(_CONTRASTS)
        assert len(contrasts) > 20
        assert [found for found in contrasts if found[0] < 4.5] == [], colours
    # The switch says otherwise than the system, and is kept: auto, light, dark.
    paper = "getComputedStyle(document.body).backgroundColor"
    dark = filled.js(paper)
    filled.click("#theme")
    light = filled.js(paper)
    assert light != dark
    filled.media(prefers_color_scheme="light")
    filled.click("#theme")
    assert filled.js(paper) == dark
    assert filled.js("localStorage.getItem('gputx.theme')") == "dark"
    filled.click("#theme")
    assert filled.js(paper) == light


def test_every_control_has_a_name(filled: Page) -> None:
    filled.js("document.querySelector('#options').open = true")
    controls = filled.controls()
    assert len(controls) > 30
    assert [control for control in controls if not control[1] and control[0] not in ("generic", "article")] == []
    # One stop in the tab order for a whole text, however long.
    assert filled.js("document.querySelectorAll('#segments .time[tabindex=\"0\"]').length") == 1
    assert filled.js("document.querySelectorAll('[role=status], [role=alert]').length") >= 2
    ids = filled.js("[...document.querySelectorAll('[id]')].map(({id}) => id)")
    assert len(ids) == len(set(ids))


def test_it_speaks_swedish_and_english(filled: Page) -> None:
    assert filled.js("document.documentElement.lang") == "en"
    assert filled.text("#choose") == "Choose files"
    filled.click("#language")
    assert filled.js("document.documentElement.lang") == "sv"
    assert filled.text("#choose") == "Välj filer"
    assert "Svenska" in filled.text("#facts")
    # The text is marked as Swedish whatever the page speaks.
    assert filled.js("document.querySelector('#segments').lang") == "sv"
    filled.click("#language")
    assert filled.text("#choose") == "Choose files"


@pytest.mark.parametrize("width", [320, 390, 900])
def test_it_fits_narrow_screens(filled: Page, width: int) -> None:
    filled.size(width, 700)
    filled.js("document.querySelector('#options').open = true")
    assert filled.js("document.documentElement.scrollWidth") <= width
    small = filled.js(
        "[...document.querySelectorAll('button')].filter((b) => b.checkVisibility()).map((b) => [b.id || b.className, "
        "b.getBoundingClientRect()]).filter(([, box]) => box.height < 24 || box.width < 24).map(([name]) => name)"
    )
    filled.size(1280, 860)
    assert small == [], "WCAG 2.2, 2.5.8: 24 by 24 pixels at least"


def test_pictures(server: Server, page: Page, tmp_path: Path) -> None:
    """A text in which a word was corrected, while another recording is under way."""
    directory = Path(os.environ.get("GPUTX_PAGE_PICTURES", tmp_path))
    named = {"styrelsemöte.flac": "held-out/clip11.flac", "intervju.mp3": "intervju.mp3"}
    named["föreläsning.ogg"] = "held-out/long20min.ogg"
    for name, source in named.items():
        (tmp_path / name).symlink_to(ROOT / "examples" / source)
    page.size(1280, 800, 1.5)
    enter(page, server.url + "/")
    page.files("#files", [tmp_path / name for name in named])
    page.until(f"/^done,done,(running|done)$/.test({STATES})", 120)
    page.click("#segments li:nth-child(2) .edit")
    page.write(" Tack.")
    page.press("Enter")
    page.click("#segments li:nth-child(4) .time")
    page.until("CSS.highlights.has('word') && document.querySelector('#sound').currentTime > 0")
    page.js("document.querySelector('#sound').pause(); document.activeElement.blur()")
    shades = {}
    for name, colours in (("api-page.png", "light"), ("api-page-dark.png", "dark")):
        page.media(prefers_color_scheme=colours)
        page.js("new Promise((then) => requestAnimationFrame(() => requestAnimationFrame(then)))")
        page.screenshot(directory / name)
        with av.open(str(directory / name)) as picture:
            frame = next(picture.decode(video=0))
            assert isinstance(frame, av.VideoFrame)
            shades[colours] = frame.to_ndarray(format="gray")
    page.click("#queue li:last-child .remove")
    assert shades["light"].shape == (1200, 1920)
    assert shades["light"].mean() > 225 > 60 > shades["dark"].mean()
    # Something is written on it.
    assert (shades["light"] < 100).mean() > 0.005
