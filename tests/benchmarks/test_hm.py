from __future__ import annotations

import re
import sys
from pathlib import Path
from xml.etree import ElementTree

import hm
import hm_data
import hm_exact
import hm_growth
import hm_pairs
import hm_stages
import hm_ways
import numpy as np
import pytest
import scipy.sparse as sp
from hm_growth import Point
from hm_stages import Cost, Stage

from steps.models.factors import Factors
from steps.models.ids import IdTable
from steps.models.scorer import Shared


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("hm") / "files"
    hm_data.require(folder, hm_data.Size.of(0.001), 7)
    return folder


@pytest.fixture
def factors() -> tuple[Factors, sp.csr_matrix]:
    """Two users and five items: the first would like items in the order 4, 3, 2, 1, 0 and has item 4; nobody knows
    what the second likes, who gets what is popular."""
    users, items = IdTable.of(["ann", "bob"]), IdTable.of(["i0", "i1", "i2", "i3", "i4"])
    popularity = np.array([0.4, 0.3, 0.2, 0.1, 0.0], np.float32)
    shared = Shared(users, items, np.array([True, False]), popularity)
    ranks = np.arange(5, dtype=np.float32)[:, None]
    return Factors(shared, np.ones((2, 1), np.float32), ranks), sp.csr_matrix(([1], ([0], [4])), (2, 5))


def test_ours_goes_from_the_files_to_recommendations_that_are_exact(
    files: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    before = sorted(files.parent.iterdir())
    hm.main(["--scale", "0.001", "--factors", "16", "--iterations", "2", "--ways", "ours", "--folder", str(files)])
    told = capsys.readouterr().out
    for stage in ("data_publish", "train", r"\(model_publish, not counted\)", "batch_predict", r"\*\*all\*\*"):
        assert re.search(rf"^\| ours \| {stage} \| \S+ \| \S+ \| .*GiB \|$", told, re.MULTILINE), stage
    assert "12,000 of 12,000 items agree, overlap 1.000000" in told
    pairs = re.search(r"ours learned from ([\d,]+) pairs", told)
    assert pairs
    assert 14_000 < int(pairs[1].replace(",", "")) < 17_000
    assert sorted(files.parent.iterdir()) == before


def test_an_item_that_should_not_be_shown_is_noticed(factors: tuple[Factors, sp.csr_matrix]) -> None:
    def right(ann: list[str], bob: list[str]) -> tuple[int, int]:
        found = hm_exact.agreement(*factors, np.array([0, 1]), [ann, bob], 2)
        return found.right, found.wanted

    assert right(["i3", "i2"], ["i0", "i1"]) == (4, 4)
    assert right(["i3", "i1"], ["i0", "i1"]) == (3, 4)
    assert right(["i4", "i3"], ["i0", "i1"]) == (3, 4)  # she has it already
    assert right(["i3"], ["i0", "i1"]) == (3, 4)
    assert right(["i3", "i3"], ["i0", "nothing"]) == (2, 4)


def test_of_equal_items_any_may_be_shown(factors: tuple[Factors, sp.csr_matrix]) -> None:
    scorer, seen = factors
    equal = Factors(scorer.shared, scorer.user_factors, np.array([[1], [1], [1], [0], [2]], np.float32))
    for shown in (["i0"], ["i1"], ["i2"]):
        assert hm_exact.agreement(equal, seen, np.array([0]), [shown], 1).overlap == 1
    assert hm_exact.agreement(equal, seen, np.array([0]), [["i3"]], 1).overlap == 0


def test_who_has_bought_nearly_all_is_shown_the_rest(factors: tuple[Factors, sp.csr_matrix]) -> None:
    scorer, _ = factors
    seen = sp.csr_matrix(([1] * 4, ([0] * 4, [0, 1, 2, 4])), (2, 5))
    assert hm_exact.agreement(scorer, seen, np.array([0]), [["i3"]], 12).overlap == 1


def test_both_ways_of_others_learn_from_the_same(files: Path, tmp_path: Path) -> None:
    matrices = []
    for name, load in (("example", hm_ways.example_load), ("library", hm_ways.library_load)):
        asked = hm_ways.Asked(files, tmp_path / name, 8, 1)
        asked.work.mkdir()
        said = load(asked)
        matrices.append(hm_ways.learned_from(asked))
        assert (said.pairs, said.about) == (matrices[-1].nnz, "")
    assert matrices[0].sum() == 31_788
    assert abs(matrices[0] - matrices[1]).sum() == 0


def test_what_a_loop_leaves_out_is_extrapolated_and_said(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = hm_ways.Asked(files, tmp_path, 8, 1)
    hm_ways.example_load(asked)
    whole = hm_ways.learned_from(asked)
    monkeypatch.setattr(hm_ways, "SAMPLED_ROWS", 100)
    said = hm_ways.example_load(asked)
    assert said.about == "; ".join(f"{one}_id of rows: 100 of {whole.nnz:,} done" for one in ("customer", "article"))
    assert said.more_wall > 0
    assert abs(hm_ways.learned_from(asked) - whole).sum() == 0


def test_ours_and_implicit_take_turns(files: Path, capsys: pytest.CaptureFixture[str]) -> None:
    hm_pairs.main(["--folder", str(files), "--turns", "2", "--factors", "8", "--iterations", "1"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(" | ")[:2] for line in lines[2:]] == [["| fit", "8"], ["| top 12 for 1,362", "8"]]


def test_other_recommendations_are_not_compared_by_time() -> None:
    scores = np.ones((2, 3), np.float32)
    hm_pairs.require_same(scores, scores * np.float32(1.00001))
    with pytest.raises(SystemExit, match="do not recommend the same"):
        hm_pairs.require_same(scores, scores * 2)


def test_growth_is_told_of_the_largest_by_the_smallest() -> None:
    def costs(value: int) -> list[Cost]:
        seconds = (1.0, value**0.5, float(value))
        return [Cost(Stage(name, []), one, one, value << 20, {}) for name, one in zip("abc", seconds, strict=True)]

    points = [Point(measure, value, costs(value)) for measure in ("rows", "k") for value in (10, 20, 40)]
    told = "| 4 times the {} | × 1.0 | × 4.0 | × 2.0 | × 4.0 | × 4.0 | × 4.0 |"
    assert list(hm_growth.growth(points)) == [told.format("rows"), told.format("k")]


def test_a_picture_shows_what_grows_in_proportion_as_a_straight_line() -> None:
    def cost(name: str, seconds: float) -> Cost:
        return Cost(Stage(name, []), seconds, seconds, int(seconds * (1 << 28)), {})

    points = [
        Point(measure, value, [cost(name, value / 10 * share) for share, name in enumerate(hm_growth.COLOURS, 1)])
        for measure in ("rows", "k")
        for value in (10, 20, 40)
    ]
    drawn = ElementTree.fromstring(hm_growth.picture(points))
    names = "{http://www.w3.org/2000/svg}"
    found = [one.attrib["points"].split() for one in drawn.iter(f"{names}polyline")]
    assert len(found) == 2 * 2 * 3
    for places in found:
        (_, first), (_, second), (_, third) = ([float(one) for one in place.split(",")] for place in places)
        assert first - second == pytest.approx(second - third, abs=0.02)
        assert first > third
    titles = [one.text for one in drawn.iter(f"{names}title")]
    assert {"train: 2 seconds", "train: 512 MiB"} <= set(titles)


def test_a_stage_costs_what_its_process_did() -> None:
    program = 'import time; kept = bytearray(200 << 20); time.sleep(0.5); print(\'{"more_wall": 10, "about": "much"}\')'
    cost = hm_stages.run(Stage("test", [sys.executable, "-c", program]))
    assert cost.seconds >= 10.5
    assert cost.memory >= 200 << 20
    assert cost.note == "much"


def test_a_stage_that_fails_ends_the_run(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="ended with 3"):
        hm_stages.run(Stage("test", [sys.executable, "-c", "import sys; sys.stderr.write('no room'); sys.exit(3)"]))
    assert "no room" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("flags", "told"),
    [
        (["--ways", "ours,theirs"], "'theirs': example, library, ours are allowed"),
        (["--plot", "growth.svg"], "give both"),
        (["--pairs", "0"], "at least 1 is allowed"),
    ],
    ids=["way", "plot", "pairs"],
)
def test_a_wrong_flag_is_refused(flags: list[str], told: str, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit, match="2"):
        hm.main(flags)
    assert told in capsys.readouterr().err
