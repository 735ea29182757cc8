"""What the families share whose score is a dot product: only `learn` differs."""

from __future__ import annotations

from abc import abstractmethod
from pathlib import Path
from typing import Self

import scipy.sparse as sp

from steps.models.factors import Factors
from steps.models.ids import Codes
from steps.models.interactions import Interactions
from steps.models.recommender import Floats, Recommendations, Recommender, Report


class FactorModel(Recommender):
    """Learns a vector a user and a vector an item."""

    factors: Factors

    @abstractmethod
    def learn(self, interactions: Interactions, seed: int, report: Report) -> tuple[Floats, Floats]:
        """The factors of users and items, a row each."""

    def fit(self, interactions: Interactions, seed: int = 0, report: Report | None = None) -> Self:
        user_factors, item_factors = self.learn(interactions, seed, report or (lambda done, planned: None))
        bought = interactions.popularity
        self.factors = Factors(
            interactions.users,
            interactions.items,
            user_factors,
            item_factors,
            # Dislikes alone leave a vector of zeros, which would rank the items by their codes.
            trained=interactions.matrix.multiply(interactions.matrix > 0).getnnz(axis=1) > 0,
            popularity=bought / max(float(bought.sum()), 1e-9),
        )
        self.factors.check(self.name)
        return self

    def score(self, users: Codes, items: Codes) -> Floats:
        return self.factors.score(users, items)

    def recommend(self, users: Codes, k: int, hidden: sp.csr_matrix | None = None) -> Recommendations:
        return self.factors.recommend(users, k, hidden)

    def export(self, folder: Path, seen: sp.csr_matrix) -> None:
        from steps.models.saved_model import export_factors

        self.factors.save(folder / "factors", seen)
        export_factors(self.factors, seen, folder / "saved_model")
