"""What the families share that leave a scorer: only `learn` differs."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.ids import Codes
from steps.models.interactions import Interactions
from steps.models.recommender import Floats, Recommendations, Recommender, Report
from steps.models.scorer import Groups, Scorer, Shared


class ScorerModel(Recommender):
    """Learns a scorer, and answers with it."""

    scorer: Scorer

    @abstractmethod
    def learn(self, interactions: Interactions, seed: int, report: Report) -> Scorer:
        """What answers from now on; `shared` makes the part that every kind has."""

    def fit(self, interactions: Interactions, seed: int = 0, report: Report | None = None) -> Self:
        self.scorer = self.learn(interactions, seed, report or (lambda done, planned: None))
        self.scorer.check(self.name)
        return self

    def score(self, users: Codes, items: Codes) -> Floats:
        return self.scorer.score(users, items)

    def recommend(self, users: Codes, k: int, hidden: sp.csr_matrix | None = None) -> Recommendations:
        return self.scorer.recommend(users, k, hidden)

    def export(self, folder: Path, seen: sp.csr_matrix, *, saved_model: bool = True) -> None:
        export(self.scorer, seen, folder, saved_model=saved_model)


def export(scorer: Scorer, seen: sp.csr_matrix, folder: Path, *, saved_model: bool) -> None:
    """The arrays, and where somebody reads it a SavedModel, for which TensorFlow takes longer than most trainings."""
    scorer.save(folder / scorer.folder, seen)
    if saved_model:
        from steps.models import saved_model as graphs

        graphs.export(scorer, seen, folder / "saved_model")


def shared(interactions: Interactions) -> Shared:
    """Ids, who there was anything to learn from of, and what strangers get."""
    bought = interactions.popularity
    return Shared(
        interactions.users,
        interactions.items,
        trained=has_bought(interactions.matrix),
        popularity=bought / max(float(bought.sum()), 1e-9),
        groups=groups(interactions),
    )


def has_bought(matrix: sp.csr_matrix) -> npt.NDArray[np.bool_]:
    """Of each row whether a number above zero is in it: dislikes alone would rank the items by their codes."""
    positive = matrix.data > 0
    if positive.all():
        return np.asarray(np.diff(matrix.indptr) > 0)
    before = np.concatenate([[0], np.cumsum(positive)])
    return np.asarray(np.diff(before[matrix.indptr]) > 0)


def groups(interactions: Interactions) -> Groups | None:
    """What strangers get of whom it is known to which group of customers they belong."""
    if interactions.segment is None or interactions.favourites is None:
        return None
    return Groups(interactions.segment, interactions.favourites)
