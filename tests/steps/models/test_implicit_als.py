from __future__ import annotations

import sys

import numpy as np
import pytest
from implicit.cpu.als import AlternatingLeastSquares
from threadpoolctl import threadpool_limits

from steps.models import families
from steps.models.interactions import Interactions
from steps.runtime.errors import UsageError


def test_it_is_the_model_of_the_library(checkerboard: Interactions) -> None:
    with threadpool_limits(1, "blas"):
        theirs = AlternatingLeastSquares(factors=6, regularization=0.5, alpha=2.0, iterations=4, random_state=3)
        theirs.fit(checkerboard.matrix, show_progress=False)
    settings = "implicit.factors=6,implicit.regularization=0.5,implicit.alpha=2,implicit.iterations=4"
    seen: list[tuple[int, int]] = []
    scorer = (
        families.make("implicit", settings)
        .fit(checkerboard, 3, lambda done, all_of: seen.append((done, all_of)))
        .scorer
    )
    expected = theirs.user_factors @ theirs.item_factors.T
    assert scorer.score_all(np.arange(50, dtype=np.int32)) == pytest.approx(expected, abs=1e-5)
    assert seen == [(1, 4), (2, 4), (3, 4), (4, 4)]
    basket = checkerboard.matrix[[4]]
    found = np.ravel(theirs.recalculate_user(0, basket)) @ theirs.item_factors.T
    assert scorer.folded(basket)[0] == pytest.approx(found, abs=2e-4)


def test_without_the_library_one_sentence_says_what_to_install(
    checkerboard: Interactions, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(UsageError, match=r"pip install 'recommender-pipeline\[implicit\]'"):
        families.make("implicit").fit(checkerboard)


def test_its_settings_are_checked_without_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "implicit", None)
    with pytest.raises(UsageError, match=r"implicit\.factors is 0: 1 to 2048 are allowed"):
        families.make("implicit", "implicit.factors=0")
    families.check_settings(["implicit"], "implicit.alpha=2")
