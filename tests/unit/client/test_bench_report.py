"""Who takes part in a bench, what trials come to, and how it is told: table and document."""

from __future__ import annotations

import json

import pytest
from bench_material import DEFAULT, STOCK, TORCH, offer, report, standing

from gputx.cli.render.bench import table
from gputx.errors import CapacityError
from gputx.models import Instance, Market
from gputx.workflows.bench_document import bench_document
from gputx.workflows.bench_report import Wanted, absent, contestants, name_of
from gputx_remote.engine.choice import SUPPORTED, Choice


@pytest.mark.parametrize("device", ["cpu", "cuda"])
def test_everything_a_device_supports_takes_part_once_and_the_default_begins(device: str) -> None:
    there = offer(device)
    found = contestants(there, Wanted())
    assert found[0] == there.default
    assert len(set(found)) == len(found)
    assert {(c.decoder, c.compute_type) for c in found if c.algorithm == "vad"} == {
        (decoder, kind) for (decoder, where), kinds in SUPPORTED.items() if where == device for kind in kinds
    }
    others = [choice for choice in found if choice.algorithm != "vad"]
    first = SUPPORTED["transformers", device][0]
    assert others == [Choice(name, "transformers", first) for name in ("chunked", "sequential")]
    # The worker would resolve each to itself: what is measured is what is named.
    assert [choice.on(device) for choice in found] == found


def test_what_is_asked_for_narrows_it() -> None:
    there = offer("cpu")
    assert contestants(there, Wanted(decoders=("torch",), compute_types=("float32",))) == [
        Choice("vad", "torch", "float32")
    ]
    bfloat = contestants(there, Wanted(algorithms=("chunked",), compute_types=("bfloat16",)))
    assert bfloat == [Choice("chunked", "transformers", "bfloat16")]
    assert contestants(there, Wanted(decoders=("torch",), compute_types=("int8_float32",))) == []


def test_what_is_not_installed_is_named_once_and_does_not_take_part() -> None:
    there = offer("cpu", torch=("torch",), transformers=("torch", "transformers"))
    assert {choice.decoder for choice in contestants(there, Wanted())} == {"ctranslate2"}
    assert set(absent(there, Wanted())) == {"torch", "transformers"}
    assert set(absent(there, Wanted(algorithms=("chunked",)))) == {"transformers"}
    assert absent(there, Wanted(decoders=("ctranslate2",))) == {}


def test_figures_are_medians_of_the_rounds_that_went_well() -> None:
    three = standing(TORCH, 2.0, 30.0, 4.0, wer=0.25)
    assert (three.seconds, three.speed, three.word_error_rate) == (4.0, 15.0, 0.25)
    assert three.error is None
    failed = standing(TORCH, error="out of memory")
    assert (failed.seconds, failed.speed, failed.error) == (None, None, "out of memory")


def test_a_table_has_the_fastest_first_and_everyone_in_it() -> None:
    made = report(standing(STOCK, 6.0, wer=0.012), standing(TORCH, error="no room"), standing(DEFAULT, 2.0, wer=0.034))
    made.absent = {"transformers": ("torch",)}
    about, head, *rows = table(made).splitlines()
    assert about == "intervju.mp3 · 1 min 00 s · tiny_sv · 2 cores of AMD EPYC · medians of 3 rounds"
    assert head.split("  ")[0] == "CONTESTANT"
    assert [row.split("  ")[0] for row in rows] == [name_of(c) for c in (DEFAULT, STOCK, TORCH)] + ["transformers"]
    assert rows[0].split()[3:] == ["2.0", "30", "1.5", "s", "3.4", "100.0", "MB", "the", "default"]
    assert rows[1].split()[2:6] == ["6.0", "10", "1.5", "s"]
    assert rows[2].endswith("no room")
    assert rows[3].endswith("not installed there: torch")


def test_without_a_reference_there_is_no_column_of_errors() -> None:
    assert "WER" not in table(report(standing(DEFAULT, 2.0), words=None))
    assert "WER" in table(report(standing(DEFAULT, 2.0)))
    assert table(report()) == table(report(standing(DEFAULT, error="no room"))) == ""


def test_a_name_can_not_break_the_table() -> None:
    out = table(report(standing(DEFAULT, 2.0), input_="rad\nbrytning\x1b[31m.mp3"))
    assert len(out.splitlines()) == 3
    assert "\x1b" not in out


def test_a_contestant_that_computed_in_something_else_says_so() -> None:
    made = standing(DEFAULT, 2.0)
    made.trials[0].compute_type = "int8_float32"
    made.trials[0].notes += ["going on with 4"]
    assert made.notes == ("computed in int8_float32", "going on with 4")


def test_the_document_holds_what_the_table_shows() -> None:
    made = report(standing(DEFAULT, 2.0, 4.0, wer=0.5), standing(TORCH, error="no room"))
    made.run.instance = Instance("i-1", "running", "g4dn.xlarge", "eu-north-1b", Market.SPOT, 100.0)
    document = json.loads(json.dumps(bench_document(made)))
    assert set(document) == {"version", "bench", "contestants", "absent"}
    assert document["bench"]["instance_type"] == "g4dn.xlarge"
    assert document["bench"]["picture"] == "intervju.bench.svg"
    first, second = document["contestants"]
    assert (first["decoder"], first["default"], first["processing_time"]) == ("ctranslate2", True, 3.0)
    assert first["real_time_factor"] == pytest.approx(1 / first["speed"])
    assert (first["wer"], len(first["trials"])) == (0.5, 2)
    assert (second["error"], second["processing_time"], second["real_time_factor"]) == ("no room", None, None)


def test_the_document_is_whole_whatever_happened() -> None:
    made = report(words=None)
    made.run.ending, made.machine, made.picture = CapacityError("no pool"), None, None
    document = bench_document(made)
    assert document["bench"]["error"] == "no pool"
    assert set(document["bench"]) == set(bench_document(report(standing(DEFAULT, 1.0)))["bench"])
