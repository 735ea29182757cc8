from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import families
from steps.models.deep_cf import DeepCF, DeepCFSettings, normalised, planned
from steps.models.evaluation import held_out, measure
from steps.models.interactions import Interactions
from steps.models.popularity import Popularity
from steps.runtime.errors import UsageError
from steps.sources import demo


def test_the_rating_matrix_is_normalised_as_in_the_example() -> None:
    """By product, over those who bought it; pandas does the same in the example with min and max of a pivot table."""
    pd = pytest.importorskip("pandas")
    rng = np.random.default_rng(3)
    counts = sp.csr_matrix(rng.integers(0, 5, (12, 7)) * (rng.random((12, 7)) < 0.6), dtype=np.float32)
    counts.eliminate_zeros()
    table = pd.DataFrame(np.where(counts.toarray() > 0, counts.toarray(), np.nan))
    expected = ((table - table.min()) / (table.max() - table.min())).to_numpy()
    found = normalised(counts)
    rows = np.repeat(np.arange(12), np.diff(found.indptr))
    assert found.data == pytest.approx(expected[rows, found.indices], nan_ok=True)
    assert np.nanmin(found.data) == 0
    assert np.nanmax(found.data) == 1


def test_a_product_that_everybody_bought_equally_often_has_no_scale() -> None:
    found = normalised(sp.csr_matrix(np.array([[2, 1, 0], [2, 3, 0], [0, 2, 0]], np.float32)))
    assert found.data.tolist() == pytest.approx([np.nan, 0, np.nan, 1, 0.5], nan_ok=True)


@pytest.fixture(scope="module")
def shop() -> tuple[Interactions, Interactions]:
    """A shop with taste groups: what was bought before and after a moment."""
    from steps.models.ids import IdTable

    made = demo.generate(demo.Options(users=400, items=80, days=100, purchases=8000, groups=4))
    users = IdTable.of([f"u{number:03d}" for number in range(400)])
    items = IdTable.of([f"i{number:03d}" for number in range(80)])
    late = np.arange(len(made.user)) > 0.8 * len(made.user)
    before, after = (
        Interactions.of(users, items, made.user[part], made.item[part], np.ones(part.sum())) for part in (~late, late)
    )
    return before, after


def test_it_finds_the_taste_groups_and_beats_popularity(shop: tuple[Interactions, Interactions]) -> None:
    before, after = shop
    held = held_out(before.matrix, after.matrix, 400, 1)
    model = DeepCF(DeepCFSettings(epochs=8, batch=256, learning_rate=0.01)).fit(before, 1)
    popular = measure(Popularity().fit(before).scorer, held, 10).mean("ndcg", 10)
    assert measure(model.scorer, held, 10).mean("ndcg", 10) > 1.5 * popular
    assert all(epoch.figure is not None for epoch in model.curve)


def test_training_ends_when_held_back_purchases_are_found_no_better(shop: tuple[Interactions, Interactions]) -> None:
    seen: list[int] = []
    settings = DeepCFSettings(epochs=40, batch=256, learning_rate=0.05, patience=1)
    model = DeepCF(settings).fit(shop[0], 1, lambda done, planned: seen.append(done))
    figures = [epoch.figure or 0.0 for epoch in model.curve]
    assert len(figures) < 40
    assert seen == list(range(1, len(figures) + 1))
    assert figures[-1] <= max(figures[:-1])


@pytest.mark.parametrize(
    ("purchases", "vectors", "batch", "epochs"),
    [
        (900, 100, 32, 30),
        (20_000, 900, 200, 30),
        (100_000, 2_600, 512, 30),
        (1_000_000, 10_000, 512, 4),
        (1_000_000, 200_000, 2000, 4),
        (9_000_000, 900_000, 4096, 1),
    ],
)
def test_a_large_shop_is_gone_through_in_larger_portions_and_less_often(
    purchases: int, vectors: int, batch: int, epochs: int
) -> None:
    plan = planned(DeepCFSettings(), purchases, vectors)
    assert (plan.batch, plan.epochs) == (batch, epochs)


def test_portions_and_epochs_are_what_somebody_sets() -> None:
    plan = planned(DeepCFSettings(batch=64, epochs=9, purchases=10**9), 1_000_000, 200_000)
    assert (plan.batch, plan.epochs) == (64, 9)


@pytest.mark.parametrize(
    "text", ["deep_cf.factors=0", "deep_cf.dropout=0.95", "deep_cf.emphasis=-1", "deep_cf.learning_rate=nan"]
)
def test_a_setting_out_of_range_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=r"deep_cf\.[a-z_]+ is"):
        families.make("deep_cf", text)
