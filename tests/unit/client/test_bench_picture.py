"""The picture of a bench: well-formed XML, bars in proportion, every name and figure in it, inside its frame."""

from __future__ import annotations

from xml.etree import ElementTree as ET

import pytest
from bench_material import DEFAULT, STOCK, TORCH, report, standing

from gputx.workflows.bench_picture import pace, picture
from gputx_remote.engine.choice import Choice

SVG = "{http://www.w3.org/2000/svg}"
LETTER = 7.2
"""Pixels of a letter of 13 px, on average and generously."""


def drawn(*standings: object, **options: object) -> ET.Element:
    return ET.fromstring(picture(report(*standings, **options)))  # type: ignore[arg-type]


def texts(root: ET.Element) -> list[str]:
    return [element.text or "" for element in root.iter(f"{SVG}text")]


def test_bars_are_as_long_as_contestants_are_fast() -> None:
    root = drawn(standing(STOCK, 8.0), standing(DEFAULT, 2.0), standing(TORCH, 4.0))
    _ground, *bars = [float(rect.attrib["width"]) for rect in root.iter(f"{SVG}rect")]
    assert bars == pytest.approx([bars[0], bars[0] / 2, bars[0] / 4], abs=0.1)


def test_names_figures_and_errors_are_written() -> None:
    words = texts(
        drawn(standing(DEFAULT, 2.0, wer=0.0345), standing(STOCK, 80.0, wer=0.5), standing(TORCH, error="no"))
    )
    assert {"vad ctranslate2 int8", "30× · default", "3.5 %", "0.75×", "50.0 %", "vad torch bfloat16", "no"} <= set(
        words
    )
    assert "word error rate" in words
    assert "gputx bench · medians of 3 rounds" in words
    assert "word error rate" not in texts(drawn(standing(DEFAULT, 2.0), words=None))


def test_nothing_leaves_the_frame() -> None:
    longest = Choice("vad", "ctranslate2", "int8_float16")
    root = drawn(
        standing(longest, 1.0, wer=1.0),
        standing(TORCH, error="a reason that goes on and on " * 9),
        input_="n" * 300 + ".mp3",
    )
    width = float(root.attrib["width"])
    for text in root.iter(f"{SVG}text"):
        reach = LETTER * len(text.text or "") * (1.25 if "title" in text.attrib["class"] else 1)
        x = float(text.attrib["x"])
        left, right = (x - reach, x) if "end" in text.attrib["class"].split() else (x, x + reach)
        assert left >= 0, text.text
        assert right <= width, text.text


def test_both_schemes_have_every_colour() -> None:
    style = picture(report(standing(DEFAULT, 2.0)))
    light, dark = style.split("prefers-color-scheme: dark")
    for name in ("--ground", "--ink", "--quiet", "--bar", "--own", "--line"):
        assert f"{name}:" in light
        assert f"{name}:" in dark


def test_a_name_is_only_a_name() -> None:
    root = drawn(standing(DEFAULT, 2.0), input_="a<b>&\"\x00\n'.mp3")
    assert any("a<b>&" in text for text in texts(root))


def test_a_bench_that_measured_nothing_is_a_picture_too() -> None:
    assert "vad torch bfloat16" in texts(drawn(standing(TORCH, error="no room")))


def test_speed_has_the_figures_it_deserves() -> None:
    assert [pace(speed) for speed in (171.4, 10.0, 7.34, 0.844)] == ["171", "10", "7.3", "0.84"]
