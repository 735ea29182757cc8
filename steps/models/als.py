"""Alternating least squares on purchase counts, by the `implicit` library."""

from __future__ import annotations

import os
from dataclasses import dataclass

import numpy as np

from steps.models.factor_model import FactorModel
from steps.models.factors import FoldIn
from steps.models.interactions import Interactions
from steps.models.recommender import Floats, Report
from steps.runtime.errors import UsageError


@dataclass(frozen=True)
class ALSSettings:
    """Hyper-parameters of Hu, Koren and Volinsky's implicit feedback model."""

    factors: int = 64
    regularization: float = 10.0
    alpha: float = 1.0
    """How much more a purchase counts than its absence."""
    iterations: int = 15

    def __post_init__(self) -> None:
        if not 1 <= self.factors <= 2048:
            raise UsageError(f"als.factors is {self.factors}: 1 to 2048 are allowed")
        if not 1 <= self.iterations <= 1000:
            raise UsageError(f"als.iterations is {self.iterations}: 1 to 1000 are allowed")
        if not self.regularization >= 0:
            raise UsageError(f"als.regularization is {self.regularization}: it must not be negative")
        if not self.alpha > 0:
            raise UsageError(f"als.alpha is {self.alpha}: it must be above zero")


class ALS(FactorModel):
    """A user's and an item's vector multiply to how sure the purchase is."""

    name = "als"
    settings_type = ALSSettings

    def vectors(self, interactions: Interactions, seed: int, report: Report) -> tuple[Floats, Floats]:
        from implicit.cpu.als import AlternatingLeastSquares
        from threadpoolctl import threadpool_limits

        settings: ALSSettings = self.settings
        # Threads of BLAS inside the threads of the solver cost up to seven times the time.
        with threadpool_limits(1, "blas"):
            model = AlternatingLeastSquares(
                factors=settings.factors,
                regularization=settings.regularization,
                alpha=settings.alpha,
                iterations=settings.iterations,
                dtype=np.float32,
                calculate_training_loss=False,
                num_threads=os.cpu_count() or 1,
                random_state=seed,
            )
            model.fit(
                interactions.matrix,
                show_progress=False,
                callback=lambda done, seconds, loss: report(done + 1, settings.iterations),
            )
        return np.asarray(model.user_factors, np.float32), np.asarray(model.item_factors, np.float32)

    def fold_in(self) -> FoldIn:
        return FoldIn(self.settings.alpha, 1.0, self.settings.regularization)
