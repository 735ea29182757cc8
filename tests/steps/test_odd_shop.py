"""Odd customers and products, through all programs: from files to recommendations for everybody, and over HTTP."""

from __future__ import annotations

import io
from collections.abc import Callable
from pathlib import Path

import numpy as np
import polars as pl
import pytest
import requests

from steps.artifacts import candidate, release
from steps.clients.object_store import Store
from steps.models import large_least_squares, large_pruning, one_by_one, pruning
from steps.models.recommender import Floats
from steps.serving.api import Api, application
from steps.serving.live import Live
from steps.serving.server import in_background

Run = Callable[..., tuple[int, dict[str, str]]]

CUSTOMERS, ARTICLES, MORE = 40, 30, 50
"""More than there are articles is asked for."""
AVID, COLD, OF_ALL, OF_NOBODY, LEFT = "c00", "c01", "0000000000", "0000000029", "0000000028"
"""One who bought 2,000 times and left two articles, one who never bought, an article of everybody, one of nobody."""
WAYS = ["by numpy", "compiled"]


def customer(number: int) -> str:
    return f"c{number:02d}"


def article(number: int) -> str:
    return f"{number:010d}"


@pytest.fixture
def bought() -> pl.DataFrame:
    random = np.random.default_rng(0)
    pairs = [(0, one % 28) for one in range(2000)]
    for number in range(2, CUSTOMERS):
        liked = np.arange(1, 28)[number % 3 :: 3]  # of three kinds of customers, each with articles of its own
        pairs += [(number, 0), *((number, int(one)) for one in random.choice(liked, 4, replace=False))]
    days = random.permutation(len(pairs)) % 100
    return pl.DataFrame(
        {
            "t_dat": [str(np.datetime64("2020-01-01") + int(day)) for day in days],
            "customer_id": [customer(one) for one, _ in pairs],
            "article_id": [article(one) for _, one in pairs],
        }
    )


@pytest.fixture
def files(bought: pl.DataFrame, tmp_path: Path) -> Path:
    folder = tmp_path / "files"
    folder.mkdir()
    bought.write_csv(folder / "transactions_train.csv")
    pl.DataFrame({"customer_id": [customer(one) for one in range(CUSTOMERS)]}).write_csv(folder / "customers.csv")
    pl.DataFrame({"article_id": [article(one) for one in range(ARTICLES)]}).write_csv(folder / "articles.csv")
    return folder


@pytest.fixture(params=WAYS)
def way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """By the loops for few and by those for many, which begin with the longest vectors and are compiled."""
    if request.param == "compiled":
        monkeypatch.setattr(large_least_squares, "COMPILING_PAYS", 0)
        monkeypatch.setattr(large_pruning, "COMPILING_PAYS", 0)
        monkeypatch.setattr(pruning, "LEAST_USERS", 1)
        for module in (pruning, one_by_one):
            monkeypatch.setattr(module, "FIRST_ITEMS", 4)
            monkeypatch.setattr(module, "FIRST_OF_EACH", 0)
    return str(request.param)


@pytest.fixture(params=[1, 6], ids=["one factor", "six factors"])
def live(request: pytest.FixtureRequest, way: str, files: Path, folder_store: Store, run_step: Run) -> Store:
    """A release of als, as the programs leave it."""
    _, published = run_step("data_publish", "--source", str(files), "--split", "time:0.05")
    settings = f"als.factors={request.param},als.regularization=0.5,als.iterations=5"
    on = ("--snapshot", published["snapshot"])
    assert run_step("train", *on, "--model", "als", "--set", settings, "--trials", "0", RUN="odd")[0] == 0
    assert run_step("evaluate", *on, RUN="odd")[0] == 0
    assert run_step("model_publish", "--force", "a test", RUN="odd")[0] == 0
    return folder_store


def predicted(store: Store) -> dict[str, tuple[list[str], list[float], bool]]:
    entries = [entry.key for entry in store.models.list("predictions/1/part-") if entry.key.endswith(".parquet")]
    assert len(entries) == CUSTOMERS + 5
    tables = [pl.read_parquet(io.BytesIO(store.models.get(key))) for key in entries]
    assert sum(not len(table) for table in tables) == 5
    return {row["user"]: (row["items"], row["scores"], row["known"]) for row in pl.concat(tables).to_dicts()}


def wanted(store: Store, bought: pl.DataFrame, tmp_path: Path) -> dict[str, Floats]:
    """Of each customer the scores of all articles in double precision, -inf for what was bought."""
    made = release.require(store.models, "live")
    scorer = candidate.scorer(store.models, candidate.read(store.models, made.candidate), tmp_path / "cache")[0]
    vectors = (np.asarray(one, np.float64) for one in (scorer.user_factors, scorer.item_factors))  # type: ignore[attr-defined]
    users, items = vectors
    scores = np.where(np.asarray(scorer.trained)[:, None], users @ items.T, np.asarray(scorer.popularity)[None])
    rows, columns = (
        scorer.users.codes(bought["customer_id"].to_list()),
        scorer.items.codes(bought["article_id"].to_list()),
    )
    scores[rows, columns] = -np.inf
    return dict(zip(scorer.users, scores, strict=True))


def test_odd_customers_and_products_are_recommended_like_others(
    live: Store, bought: pl.DataFrame, run_step: Run, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shards = str(CUSTOMERS + 5)
    code, outputs = run_step("batch_predict", "--shards", shards, "--k", str(MORE))
    assert (code, outputs["users"]) == (0, str(CUSTOMERS))
    found, scores = predicted(live), wanted(live, bought, tmp_path)
    assert sorted(found) == sorted(scores) == [customer(one) for one in range(CUSTOMERS)]
    for user, (items, values, known) in found.items():
        row = scores[user]
        assert known == (user != COLD)
        assert sorted(items) == [article(one) for one in np.flatnonzero(row > -np.inf)]  # all others, each once
        assert values == pytest.approx(row[[int(item) for item in items]].tolist(), rel=1e-4, abs=1e-6)
        assert values == sorted(values, reverse=True)
    assert sorted(found[AVID][0]) == [LEFT, OF_NOBODY]
    assert found[COLD][0][0] == OF_ALL
    assert not any(OF_ALL in items for user, (items, _, _) in found.items() if user != COLD)
    monkeypatch.setattr(pruning, "LEAST_USERS", 2)  # a request is for one
    settings = candidate.read(live.models, "candidates/odd/als").settings
    with Live(live.models, 0.05) as server, in_background(application(Api(server))) as url:
        server.refresh()
        for user, (items, values, known) in found.items():
            answer = requests.post(f"{url}/recommend", json={"user": user, "k": MORE}, timeout=10).json()
            assert answer["known"] == known
            assert [one["item"] for one in answer["items"]] == items
            assert [one["score"] for one in answer["items"]] == pytest.approx(values, rel=1e-5, abs=1e-7)
        for item in (OF_ALL, OF_NOBODY):
            alike = requests.get(f"{url}/similar/{item}?k=50", timeout=10)
            assert alike.status_code == (501 if settings["factors"] == 1 else 200)
            assert item not in [one["item"] for one in alike.json().get("items", [])]
        basket = requests.post(f"{url}/recommend", json={"items": [OF_NOBODY], "k": MORE}, timeout=10).json()
        assert len(basket["items"]) == ARTICLES - 1
