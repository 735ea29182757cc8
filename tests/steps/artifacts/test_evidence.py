"""Three customers and four products, small enough to count by hand what a report must show.

Ann had bought products 0 and 1, Bob product 0, Cy nothing, and nobody 2 or 3. Then Ann buys 2, Bob 1 and 3, Cy 0.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl
import pytest
import scipy.sparse as sp

from steps.artifacts import evidence, making, report
from steps.artifacts.candidate import Candidate
from steps.artifacts.dataset import Dataset, Split
from steps.artifacts.evidence import BOUGHT, Evidence
from steps.artifacts.release import Release
from steps.artifacts.verdict import Verdict
from steps.models import metrics
from steps.models.evaluation import HeldOut, Measured, held_out
from steps.models.ids import IdTable
from steps.models.rules import Rules


@dataclass(frozen=True)
class Epoch:
    loss: float
    figure: float | None


NASTY = '<script>alert("ü")</script>'
TRAIN, TEST = int(Split.TRAIN), int(Split.TEST)


def measured(held: HeldOut, *shown: list[int]) -> Measured:
    table = np.array(shown, np.int32)
    return Measured(table, metrics.hits_of(table, held.bought), held.relevant)


def made(model: str, **other: object) -> Candidate:
    return Candidate(
        run="run-1", model=model, snapshot="s-1", settings={"factors": 8}, seed=7, metrics={}, expected=[],
        libraries={}, source_revision="", seconds=1.5, peak_memory=1 << 20, created="2026-01-01T00:00:00Z", **other,  # type: ignore[arg-type]
    )  # fmt: skip


def table(user: npt.ArrayLike, item: npt.ArrayLike, split: npt.ArrayLike) -> pl.DataFrame:
    """One purchase of weight 1 a row, without times."""
    columns = {"user": np.asarray(user, np.int32), "item": np.asarray(item, np.int32)}
    return pl.DataFrame({**columns, "split": np.asarray(split, np.int8)}).with_columns(
        pl.lit(1, pl.Float32).alias("weight")
    )


@pytest.fixture
def found(ids: Callable[[str, int], IdTable]) -> Evidence:
    data = Dataset(
        id="s-1",
        users=IdTable.of(["ann", "bob", "cy"]),
        items=ids("i", 4),
        table=lambda: table(
            [0, 0, 0, 1, 1, 1, 2], [0, 1, 2, 0, 1, 3, 0], [TRAIN, TRAIN, TEST, TRAIN, TEST, TEST, TEST]
        ),
        item_names=["Pan", NASTY, "Kite", "Tent"],
        manifest={"counts": {"purchases": 7, "users": 3, "items": 4}, "time": None},
        folder=Path(),
    )
    learnt = data.interactions(Split.TRAIN)
    held = held_out(learnt.matrix, data.interactions(Split.TEST).matrix, 10, 7)
    als = measured(held, [2, 3], [1, 2], [0, 1])
    popular = measured(held, [2, 3], [1, 2], [1, 0])
    return Evidence(
        data=data,
        learnt=learnt.matrix,
        held=held,
        rules=Rules("precision", 2, 0.01),
        found={"als": made("als"), "popularity": made("popularity")},
        candidates={"als": als, "popularity": popular},
        bars={"popularity": popular, "live": measured(held, [3, -1], [3, 1], [-1, -1])},
        winner="als",
        live=Release(4, "blue", "candidates/r/als", "als", "s-0", "r", 3, "promoted", {}, "2026-01-01T00:00:00Z"),
        stranger=np.array([0, 1], np.int32),
    )


def judged(found: Evidence) -> Verdict:
    return Verdict(
        run=NASTY, snapshot="s-1", fingerprint="", promote=True, winner="candidates/run-1/als", reason="because",
        metric=found.metric, thresholds={"tolerance": 0.01, "min_metric": ""}, users=3, candidates={}, bars={},
        differences={"live": {"mean": 0.5, "difference": 0.0, "low": -0.1, "high": 0.1}}, live_version=4, sample=[],
        created="2026-01-01T00:00:00Z",
    )  # fmt: skip


def page(found: Evidence) -> str:
    return report.render(judged(found), found)


def test_the_winner_stands_first_and_popularity_once(found: Evidence) -> None:
    # All have half of the places right on average: of equals the winner comes first.
    assert list(found.everybody) == ["als", "popularity", "live (version 4)"]
    assert found.compared == ["als", "popularity", "live (version 4)"]
    assert evidence.comparison(found).loc["als", "precision@2"] == pytest.approx(0.5)
    assert evidence.comparison(found).loc["live (version 4)", "precision@2"] == pytest.approx((0 + 1 + 0) / 3)


def test_customers_are_told_apart_by_how_much_they_had_bought(found: Evidence) -> None:
    table = evidence.in_groups(found, evidence.by_purchases(found.held))
    assert list(table.index) == ["0", "1", "2"]
    assert table["customers"].tolist() == [1, 1, 1]
    assert table["live (version 4)"].tolist() == [0.0, 1.0, 0.0]


def test_a_class_of_purchases_holds_all_up_to_the_next_one() -> None:
    before = sp.csr_matrix(np.tri(60, 60, -1, dtype=np.float32))  # customer n had bought n products
    held = HeldOut(np.arange(60, dtype=np.int32), sp.csr_matrix((60, 60), dtype=np.float32), before)
    classes = evidence.by_purchases(held)
    assert {name: int(mask.sum()) for name, mask in classes.items()} == {
        "0": 1, "1": 1, "2": 1, "3–5": 3, "6–10": 5, "11–20": 10, "21–50": 30, "51+": 9,
    }  # fmt: skip


def test_exposure_counts_from_the_most_bought_product(found: Evidence) -> None:
    table = evidence.exposure(found)
    # Product 0 was bought most, then 1: als gives them 1 and 2 of its 6 places, live 0 and 1 of its 3.
    assert table.loc["als", "20 %"] == pytest.approx(1 / 6)
    assert table.loc["als", "50 %"] == pytest.approx(3 / 6)
    assert table.loc["live (version 4)", "50 %"] == pytest.approx(1 / 3)
    assert table.loc[BOUGHT, "50 %"] == pytest.approx(2 / 4)
    assert list(table.columns) == ["1 %", "2 %", "5 %", "10 %", "20 %", "50 %", "Gini"]


def test_new_products_are_counted_where_they_are_shown_and_bought(found: Evidence) -> None:
    told = evidence.unheard(found)
    assert (told["items"], told["bought"]) == (2, 2)
    assert told["models"]["als"] == {"places": 3, "hits": 1}
    assert told["models"]["live (version 4)"] == {"places": 2, "hits": 1}


def test_the_same_customers_are_shown_with_winner_and_live_side_by_side(found: Evidence) -> None:
    ann, bob, cy = evidence.examples(found)
    assert [one["user"] for one in (ann, bob, cy)] == ["ann", "bob", "cy"]
    assert (ann["before"], ann["then"]) == ([NASTY, "Pan"], ["Kite"])
    assert ann["lists"] == {"als": [("Kite", True), ("Tent", False)], "live (version 4)": [("Tent", False)]}
    assert bob["lists"]["live (version 4)"] == [("Tent", True), (NASTY, True)]
    assert (cy["had"], cy["before"], cy["lists"]["live (version 4)"]) == (0, [], [])


def test_of_many_customers_ten_are_shown_from_the_most_active_to_the_least() -> None:
    # Customer n of 30 had bought n products and then buys one more; everybody is shown the same.
    bought = np.tri(30, 31, 0, dtype=np.float32)
    users, items = IdTable.of([f"u{n:02d}" for n in range(30)]), IdTable.of([f"i{n:02d}" for n in range(31)])
    user, item = np.nonzero(bought)
    split = np.where(user == item, TEST, TRAIN).astype(np.int8)
    data = Dataset("s", users, items, lambda: table(user, item, split), None, {}, Path())
    learnt = data.interactions(Split.TRAIN).matrix
    held = held_out(learnt, data.interactions(Split.TEST).matrix, 100, 7)
    one = measured(held, *([[30, 29]] * 30))
    found = Evidence(data, learnt, held, Rules("ndcg", 2, 0), {}, {"als": one}, {}, "als", None, np.array([0]))
    shown = [example["user"] for example in evidence.examples(found)]
    assert len(shown) == 10
    assert (shown[0], shown[-1]) == ("u29", "u00")
    assert shown == sorted(shown, reverse=True)


def test_the_page_says_why_in_one_sentence(found: Evidence) -> None:
    assert report.why(found).startswith("als is the best of 2 with precision@2 0.5000 (95 % between ")
    assert "popularity is as good; 1.50 times live (version 4)'s 0.3333" in report.why(found)


def test_a_winner_that_is_not_the_first_is_not_called_the_best(found: Evidence) -> None:
    # The gate prefers popularity to what is ahead of it by chance.
    better = measured(found.held, [2, 3], [1, 3], [0, 1])
    told = report.why(replace(found, winner="popularity", candidates={**found.candidates, "als": better}))
    assert told.startswith("popularity with precision@2 0.5000")
    assert told.endswith("als has 0.6667, but may be no better than popularity by more than chance.")


def test_a_winner_is_not_compared_with_itself(found: Evidence) -> None:
    assert "Is the difference real?" in page(found)
    alone = replace(judged(found), differences={"als": {"mean": 0.5, "difference": 0.0, "low": 0.0, "high": 0.0}})
    assert "Is the difference real?" not in report.render(alone, found)


def test_nothing_from_the_data_becomes_markup(found: Evidence) -> None:
    text = page(found)
    assert "<script" not in text
    assert text.count("&lt;script&gt;alert(&#34;ü&#34;)") >= 4


def test_a_learning_curve_is_drawn_where_a_family_has_passes(found: Evidence) -> None:
    assert "after each pass" not in page(found)
    epochs = [{"pass": 1, "loss": 2.0, "figure": None}, {"pass": 2, "loss": 1.5, "figure": 0.25}]
    passes = [{"pass": 3, "figure": 0.125}, {"pass": 6, "figure": 0.5}]
    text = page(replace(found, found={"deep_cf": made("deep_cf", curve=epochs), "als": made("als", curve=passes)}))
    assert text.count("loss after each pass") == 1
    assert "precision@2 after each pass, on the validation purchases" in text
    assert "<td>0.2500</td><td>1.5000</td>" in text
    assert "<td>0.1250</td><td></td>" in text


def test_what_the_search_tried_is_drawn_and_listed_best_first(found: Evidence) -> None:
    tried = [
        {"number": 0, "state": "complete", "value": 0.25, "seconds": 1.0, "settings": {"factors": 8, "alpha": 1.0}},
        {"number": 1, "state": "failed", "value": 0.0, "seconds": 1.0, "settings": {"factors": 8, "alpha": 9.0}},
        {"number": 2, "state": "pruned", "value": 0.75, "seconds": 1.0, "settings": {"factors": 8, "alpha": 2.0}},
        {"number": 3, "state": "complete", "value": 0.5, "seconds": 1.0, "settings": {"factors": 8, "alpha": 3.0}},
    ]
    told = report.search(made("als", search=tried))
    assert told is not None
    assert told["best"]["number"] == 3, "a trial that was given up is no best one"
    assert told["changing"] == ["alpha"]
    assert [trial["number"] for trial in told["trials"]] == [3, 0, 2, 1]
    assert (told["states"], told["count"]) == ({"complete": 2, "pruned": 1, "failed": 1}, 4)
    for mark in ('class="dot won"', 'class="ring pruned"', 'class="cross failed"', 'class="line won"'):
        assert mark in told["chart"]
    text = page(replace(found, found={"als": made("als", search=tried)}))
    assert "4 settings tried on the validation purchases in 4 s; the best is trial 3 with 0.5000" in text
    taken = replace(made("als", search=tried), settings={"factors": 8, "alpha": 1.0})
    text = page(replace(found, found={"als": taken}))
    assert "the best is trial 3 with 0.5000; that may be chance, and trial 0 with 0.2500, one of those" in text
    assert '<tr class="winner"><th scope="row">0</th>' in text
    assert report.search(made("als", search=tried[:1])) is None


def test_a_network_tells_its_curve_itself() -> None:
    class Network:
        curve = (Epoch(2.0, 0.25), Epoch(1.0, None))

    assert making.learning_curve(Network(), None) == [  # type: ignore[arg-type]
        {"pass": 1, "loss": 2.0, "figure": 0.25},
        {"pass": 2, "loss": 1.0, "figure": None},
    ]


def test_a_search_in_which_all_failed_is_drawn_too() -> None:
    tried = [{"number": n, "state": "failed", "value": 0.0, "seconds": 1.0, "settings": {"a": n}} for n in range(2)]
    told = report.search(made("als", search=tried))
    assert told is not None
    assert told["best"] is None
