"""The alternating least squares of the library `implicit` as it comes, for whoever wants to compare; not by default."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np

from steps.models.blas import one_thread
from steps.models.bounds import require
from steps.models.factor_model import FactorModel
from steps.models.fold_in import FoldIn
from steps.models.interactions import Interactions
from steps.models.recommender import Floats, Report
from steps.runtime.errors import CheckFailedError, UsageError

PACKAGE = "implicit"


@dataclass(frozen=True)
class ImplicitSettings:
    """The library's own defaults; they suit few shops, which a search mends."""

    factors: int = 100
    regularization: float = 0.01
    alpha: float = 1.0
    """How much a purchase counts; every pair that never met counts 1."""
    iterations: int = 15

    def __post_init__(self) -> None:
        require(
            PACKAGE,
            self,
            factors=(1, 2048),
            regularization=(0, 1e6),
            alpha=(1e-6, 1e6),
            iterations=(1, 1000),
        )


class Implicit(FactorModel):
    """`implicit.als.AlternatingLeastSquares` on the processor."""

    name = PACKAGE
    settings_type = ImplicitSettings

    @classmethod
    def search_space(cls) -> Mapping[str, tuple[Any, ...]]:
        return {
            "factors": (16, 32, 64, 128),
            "regularization": ("log", 0.01, 50.0),
            "alpha": ("log", 0.3, 30.0),
        }

    def vectors(self, interactions: Interactions, seed: int, report: Report) -> tuple[Floats, Floats]:
        if importlib.util.find_spec(PACKAGE) is None:
            raise UsageError(
                "the model implicit needs the library of that name: pip install 'recommender-pipeline[implicit]'"
            )
        from implicit.cpu.als import AlternatingLeastSquares
        from implicit.recommender_base import ModelFitError

        settings: ImplicitSettings = self.settings

        def told(iteration: int, seconds: float, loss: float | None) -> None:
            report(iteration + 1, settings.iterations)

        with one_thread():
            model = AlternatingLeastSquares(
                factors=settings.factors,
                regularization=settings.regularization,
                alpha=settings.alpha,
                iterations=settings.iterations,
                dtype=np.float32,
                random_state=seed,
            )
            try:
                model.fit(interactions.matrix, show_progress=False, callback=told)
            except ModelFitError as error:
                raise CheckFailedError(f"implicit: {error}") from error
        return np.asarray(model.user_factors, np.float32), np.asarray(model.item_factors, np.float32)

    def fold_in(self) -> FoldIn:
        settings: ImplicitSettings = self.settings
        return FoldIn(settings.alpha, 1.0, settings.regularization)
