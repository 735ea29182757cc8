"""What somebody new is answered by each family, from three purchases, through the server and with no training."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import requests
import scipy.sparse as sp

from steps.artifacts import candidate
from steps.artifacts.candidate import Candidate
from steps.artifacts.release import Release
from steps.clients.object_store import Store
from steps.models.features import Column, bags
from steps.models.ids import IdTable
from steps.models.interactions import Details, History, Interactions
from steps.models.recommender import Recommender
from steps.serving.api import Api, application
from steps.serving.live import Live
from steps.serving.server import in_background

USERS, ITEMS, TASTES, EACH = 160, 48, 4, 7
SETTINGS = ",".join(
    [
        "als.factors=8,als.iterations=10",
        "implicit.factors=8,implicit.iterations=10",
        "ease.regularization=10",
        "deep_cf.factors=8,deep_cf.hidden=8,deep_cf.epochs=2",
        "sequence.factors=16,sequence.blocks=1,sequence.heads=1,sequence.epochs=12,sequence.learning_rate=0.01",
        "two_tower.factors=16,two_tower.hidden=16,two_tower.epochs=12,two_tower.learning_rate=0.02,two_tower.batch=128",
    ]
)
CANNOT = ("popularity", "deep_cf")
"""They know nobody but the users that they were trained on, and say so."""


@pytest.fixture(scope="module")
def shop() -> Interactions:
    """Users buy what is of the category of their number; those of the first category are the many."""
    random = np.random.default_rng(5)
    taste = np.repeat(np.arange(TASTES), [70, 30, 30, 30])
    user = np.repeat(np.arange(USERS), EACH)
    item = np.concatenate([random.choice(ITEMS // TASTES, EACH, False) * TASTES + one for one in taste])
    codes = user.astype(np.int32), item.astype(np.int32)
    history = History(*codes, np.ones(len(user), np.float32), np.arange(len(user)) * 3_600_000_000)
    categories = Column([f"category {number}" for number in range(TASTES)], np.arange(ITEMS, dtype=np.int32) % TASTES)
    details = Details(
        lambda: history, lambda: sp.csr_matrix((USERS, 0), dtype=np.float32), lambda: bags({"is": categories}, ITEMS)
    )
    users = IdTable.of([f"u{number:03d}" for number in range(USERS)])
    items = IdTable.of([f"i{number:03d}" for number in range(ITEMS)])
    return Interactions.of(users, items, user, item, np.ones(len(user)), details)


@pytest.fixture
def url(
    family: str,
    shop: Interactions,
    make_model: Callable[[str, str], Recommender],
    make_release: Callable[..., Release],
    folder_store: Store,
    tmp_path: Path,
) -> Iterator[str]:
    """A server that answers with a released model of the family."""
    scorer = make_model(family, SETTINGS).fit(shop, seed=3).scorer
    scorer.save(tmp_path / "made" / scorer.folder, shop.matrix)
    manifest = Candidate(
        run="run-1", model=family, snapshot="s-0000000000000000", settings={}, seed=3, metrics={}, expected=[],
        libraries={}, source_revision="test", seconds=1.0, peak_memory=1, created="2026-01-01T00:00:00Z",
    )  # fmt: skip
    make_release(folder_store, candidate.write(folder_store.models, manifest, tmp_path / "made"))
    with Live(folder_store.models, 600) as live, in_background(application(Api(live))) as address:
        live.refresh()
        yield address


def recommended(url: str, *items: str) -> dict[str, Any]:
    answer = requests.post(f"{url}/recommend", json={"items": items, "k": 5}, timeout=60)
    assert answer.status_code == 200, answer.text
    found: dict[str, Any] = answer.json()
    return {**found, "items": [one["item"] for one in found["items"]]}


def test_three_purchases_of_somebody_new_give_what_goes_with_them(family: str, url: str) -> None:
    popular = recommended(url, "nothing that is sold here")
    assert (popular["model"], popular["known"], len(popular["items"])) == (family, False, 5)
    for taste in range(TASTES):
        basket = [f"i{place * TASTES + taste:03d}" for place in (1, 4, 9)]
        found = recommended(url, *basket)
        assert found["version"] == 1
        assert set(found["items"]).isdisjoint(basket)
        if family in CANNOT:
            assert (found["known"], found["items"][0]) == (False, next(i for i in popular["items"] if i not in basket))
            continue
        assert found["known"]
        assert sum(int(item[1:]) % TASTES == taste for item in found["items"]) >= 4
        assert found["items"] != popular["items"]
