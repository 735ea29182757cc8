"""What the families share whose score is a dot product: only the vectors differ."""

from __future__ import annotations

from abc import abstractmethod

from steps.models.factors import Factors
from steps.models.fold_in import FoldIn
from steps.models.interactions import Interactions
from steps.models.recommender import Floats, Report
from steps.models.scorer_model import ScorerModel, shared


class FactorModel(ScorerModel):
    """Learns a vector a user and a vector an item."""

    scorer: Factors

    @abstractmethod
    def vectors(self, interactions: Interactions, seed: int, report: Report) -> tuple[Floats, Floats]:
        """The vectors of users and items, a row each."""

    def fold_in(self) -> FoldIn | None:
        """How a vector follows from purchases alone, if it does."""
        return None

    def learn(self, interactions: Interactions, seed: int, report: Report) -> Factors:
        return Factors(shared(interactions), *self.vectors(interactions, seed, report), self.fold_in())
