from __future__ import annotations

import json
import re
from collections.abc import Callable

import pytest

from steps.artifacts import verdict
from steps.clients.object_store import Store

Run = Callable[..., tuple[int, dict[str, str]]]
SHOP = "demo:users=300,items=80,days=200"


@pytest.fixture
def snapshot(run_step: Run) -> str:
    return run_step("data_publish", "--source", SHOP)[1]["snapshot"]


@pytest.fixture
def trained(run_step: Run, snapshot: str) -> str:
    for model in ("popularity", "als"):
        assert run_step("train", "--snapshot", snapshot, "--model", model, RUN="run-1")[0] == 0
    return snapshot


def test_als_as_it_comes_is_better_than_popularity_in_a_small_shop_too(run_step: Run, folder_store: Store) -> None:
    small = run_step("data_publish", "--source", "demo:users=200,items=60,days=120")[1]["snapshot"]
    assert run_step("train", "--snapshot", small, "--model", "als", RUN="run-1")[0] == 0
    run_step("evaluate", "--snapshot", small, RUN="run-1")
    judged = verdict.read(folder_store.models, "run-1")
    assert judged.promote
    assert judged.candidates["als"]["metrics"]["ndcg@10"] > 1.2 * judged.bars["popularity"]["metrics"]["ndcg@10"]


def test_als_beats_popularity_in_a_shop_with_tastes(run_step: Run, trained: str, folder_store: Store) -> None:
    code, outputs = run_step("evaluate", "--snapshot", trained, "--fingerprint", "abc", RUN="run-1")
    assert code == 0
    assert (outputs["promote"], outputs["winner"]) == ("true", "candidates/run-1/als")
    judged = verdict.read(folder_store.models, "run-1")
    assert judged.fingerprint == "abc"
    assert judged.live_version == 0
    assert judged.differences["popularity"]["low"] > 0
    assert json.loads(outputs["metrics"])["als"] == judged.candidates["als"]["metrics"]
    assert set(json.loads(outputs["metrics"])) == {"als", "popularity"}
    assert outputs["reason"] == judged.reason
    ours, bar = judged.candidates["popularity"]["metrics"], judged.bars["popularity"]["metrics"]
    assert ours == pytest.approx(bar)


def test_the_baseline_is_the_same_with_and_without_a_candidate_popularity(
    run_step: Run, trained: str, folder_store: Store
) -> None:
    assert run_step("evaluate", "--snapshot", trained, RUN="run-1")[0] == 0
    assert run_step("train", "--snapshot", trained, "--model", "als", RUN="run-2")[0] == 0
    assert run_step("evaluate", "--snapshot", trained, RUN="run-2")[0] == 0
    first, second = (verdict.read(folder_store.models, run) for run in ("run-1", "run-2"))
    assert set(second.candidates) == {"als"}
    assert second.bars["popularity"]["metrics"] == pytest.approx(first.candidates["popularity"]["metrics"])


def test_the_sample_names_products_and_recommends_nothing_bought(run_step: Run, trained: str) -> None:
    sample = json.loads(run_step("evaluate", "--snapshot", trained, RUN="run-1")[1]["sample"])
    assert len(sample) == 5
    for one in sample:
        assert one["bought"]
        assert one["recommended"]
        assert set(one["bought"]).isdisjoint(one["recommended"])
        assert not re.fullmatch(r"p\d+", one["recommended"][0])


def test_a_judged_run_is_not_judged_again(run_step: Run, trained: str, folder_store: Store) -> None:
    run_step("evaluate", "--snapshot", trained, RUN="run-1")
    before = folder_store.models.get("verdicts/run-1.json")
    code, outputs = run_step("evaluate", "--snapshot", trained, "--tolerance", "0.9", RUN="run-1")
    assert (code, outputs["promote"]) == (0, "true")
    assert folder_store.models.get("verdicts/run-1.json") == before


def test_the_live_model_is_a_bar_of_the_next_run(run_step: Run, trained: str, folder_store: Store) -> None:
    run_step("evaluate", "--snapshot", trained, RUN="run-1")
    assert run_step("model_publish", RUN="run-1")[0] == 0
    assert run_step("train", "--snapshot", trained, "--model", "popularity", RUN="run-2")[0] == 0
    code, outputs = run_step("evaluate", "--snapshot", trained, "--models", "popularity", RUN="run-2")
    assert (code, outputs["promote"]) == (0, "false")
    judged = verdict.read(folder_store.models, "run-2")
    assert judged.live_version == 1
    assert "worse than the live model" in judged.reason
    # The same model on the same users has the same figures, whether asked as candidate or as the live one.
    first = verdict.read(folder_store.models, "run-1").candidates["als"]["metrics"]
    assert judged.bars["live"]["metrics"] == pytest.approx(first)


def test_an_old_live_model_is_measured_on_a_newer_shop(run_step: Run, trained: str, folder_store: Store) -> None:
    run_step("evaluate", "--snapshot", trained, RUN="run-1")
    run_step("model_publish", RUN="run-1")
    newer = run_step("data_publish", "--source", "demo:users=350,items=90,days=200")[1]["snapshot"]
    for model in ("popularity", "als"):
        assert run_step("train", "--snapshot", newer, "--model", model, RUN="run-2")[0] == 0
    assert run_step("evaluate", "--snapshot", newer, RUN="run-2")[0] == 0
    assert 0 <= verdict.read(folder_store.models, "run-2").bars["live"]["metrics"]["ndcg@10"] <= 1


def test_a_demanded_figure_promotes_alone(run_step: Run, snapshot: str) -> None:
    run_step("train", "--snapshot", snapshot, "--model", "als", "--set", "als.factors=1", RUN="weak")
    flags = ("--snapshot", snapshot, "--models", "als", "--min-metric", "recall@20=0.0001")
    assert run_step("evaluate", *flags, RUN="weak")[1]["promote"] == "true"


def test_the_report_is_one_file_that_says_what_was_decided(run_step: Run, trained: str, folder_store: Store) -> None:
    run_step("evaluate", "--snapshot", trained, RUN="run-1")
    page = folder_store.models.get("candidates/run-1/als/report.html").decode()
    assert "The new model may go live." in page
    assert "als is the best of 2 with ndcg@10 " in page
    for section in ("models", "groups", "newcomers", "variety", "examples", "training", "data"):
        assert f'id="{section}"' in page
    assert page.count('class="customer"') == 10
    assert "ndcg@10 after each pass, on the validation purchases" in page, "als tells what its passes reached"
    assert not re.search(r"""(src|href)=["'](?!#)""", page)
    assert "<script" not in page
    assert json.loads(folder_store.models.get("candidates/run-1/als/metrics.json"))["metrics"]


def test_the_report_shows_live_and_candidate_for_the_same_customers(
    run_step: Run, trained: str, folder_store: Store
) -> None:
    run_step("evaluate", "--snapshot", trained, RUN="run-1")
    run_step("model_publish", RUN="run-1")
    run_step("train", "--snapshot", trained, "--model", "popularity", RUN="run-2")
    run_step("evaluate", "--snapshot", trained, RUN="run-2")
    page = folder_store.models.get("candidates/run-2/popularity/report.html").decode()
    examples = page[page.index('id="examples"') : page.index('id="training"')]
    assert examples.count(">popularity</b>") == examples.count(">live (version 1)</b>") == 10


def test_verdict_and_report_tell_between_what_a_metric_lies(run_step: Run, trained: str, folder_store: Store) -> None:
    run_step("evaluate", "--snapshot", trained, RUN="run-1")
    told = verdict.read(folder_store.models, "run-1").candidates["als"]
    page = folder_store.models.get("candidates/run-1/als/report.html").decode()
    for metric, (low, high) in told["intervals"].items():
        assert 0 <= low < told["metrics"][metric] < high <= 1
        assert f"{told['metrics'][metric]:.4f}<br><small>{low:.3f}–{high:.3f}</small>" in page
    assert set(told["intervals"]) == {f"{name}@10" for name in ("ndcg", "recall", "precision", "map", "hit_rate")}


def test_names_from_the_data_cannot_become_markup(run_step: Run, folder_store: Store, tmp_path_factory: object) -> None:
    from pathlib import Path

    rows = ["user,item,time"]
    for user in range(40):
        for item in range(6):
            name = '"<script>alert(1)</script>"' if item == 0 else f"i{item}"
            if (user + item) % 2:
                rows.append(f"u{user},{name},2026-01-{1 + (user + item * 4) % 28:02d}")
    path = Path(folder_store.data.address()).parent / "purchases.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("\n".join(rows))
    code, outputs = run_step("data_publish", "--source", str(path))
    assert code == 0
    run_step("train", "--snapshot", outputs["snapshot"], "--model", "popularity", RUN="run-1")
    run_step("evaluate", "--snapshot", outputs["snapshot"], "--models", "popularity", RUN="run-1")
    page = folder_store.models.get("candidates/run-1/popularity/report.html").decode()
    assert "&lt;script&gt;" in page
    assert "<script" not in page


@pytest.mark.parametrize(
    ("flags", "code"),
    [
        (("--metric", "auc@10"), 2),
        (("--tolerance", "2"), 2),
        (("--tolerance", "none"), 2),
        (("--min-metric", "recall@10"), 2),
        (("--min-metric", "recall@10=2"), 2),
        (("--max-users", "0"), 2),
        (("--models", "als,als"), 2),
    ],
)
def test_a_wrong_flag_leaves_no_verdict(
    run_step: Run, trained: str, folder_store: Store, flags: tuple[str, str], code: int
) -> None:
    assert run_step("evaluate", "--snapshot", trained, *flags, RUN="run-1") == (code, {})
    assert folder_store.models.list("verdicts/") == []


def test_candidates_must_be_there_and_of_this_snapshot(run_step: Run, trained: str) -> None:
    assert run_step("evaluate", "--snapshot", trained, RUN="run-9")[0] == 2
    other = run_step("data_publish", "--source", "demo:users=60,items=30,days=60")[1]["snapshot"]
    assert run_step("evaluate", "--snapshot", other, RUN="run-1")[0] == 2
