from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from steps.models import families
from steps.models.als import ALS, ALSSettings
from steps.models.ids import IdTable
from steps.models.interactions import Interactions
from steps.runtime.errors import CheckFailedError, UsageError


def test_the_withheld_square_of_a_checkerboard_is_found(checkerboard: Interactions) -> None:
    model = ALS(ALSSettings(factors=2, regularization=0.1, alpha=5)).fit(checkerboard, seed=1)
    found = model.recommend(np.arange(50, dtype=np.int32), 1, checkerboard.matrix)
    assert found.items[:, 0].tolist() == list(range(50))


def test_progress_is_reported_once_an_iteration(checkerboard: Interactions) -> None:
    seen: list[tuple[int, int]] = []
    ALS(ALSSettings(factors=2, iterations=3)).fit(checkerboard, report=lambda done, total: seen.append((done, total)))
    assert seen == [(1, 3), (2, 3), (3, 3)]


def test_a_dislike_pushes_an_item_down(ids: Callable[[str, int], IdTable]) -> None:
    rng = np.random.default_rng(0)
    user, item = rng.integers(0, 40, 400), rng.integers(0, 10, 400)
    weight = np.where(item == 7, -1.0, 1.0)
    liked = Interactions.of(ids("u", 40), ids("i", 10), user, item, np.ones(400))
    disliked = Interactions.of(ids("u", 40), ids("i", 10), user, item, weight)
    everybody, seventh = np.arange(40, dtype=np.int32), np.full(40, 7, np.int32)
    settings = ALSSettings(factors=4)
    with_likes = ALS(settings).fit(liked, seed=1).score(everybody, seventh).mean()
    with_dislikes = ALS(settings).fit(disliked, seed=1).score(everybody, seventh).mean()
    assert with_dislikes < with_likes - 0.3


def test_factors_that_are_not_finite_fail_the_training(
    checkerboard: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    broken = np.full((50, 2), np.nan, np.float32)
    monkeypatch.setattr(ALS, "vectors", lambda *arguments: (broken, broken))
    with pytest.raises(CheckFailedError, match="not finite"):
        ALS().fit(checkerboard)


@pytest.mark.parametrize(
    "text", ["als.factors=0", "als.iterations=0", "als.regularization=-1", "als.alpha=0", "als.regularization=nan"]
)
def test_a_setting_out_of_range_is_refused_by_name(text: str) -> None:
    with pytest.raises(UsageError, match=text.partition("=")[0].replace(".", r"\.")):
        families.make("als", text)
