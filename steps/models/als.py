"""Alternating least squares on purchase counts (Hu et al., 2008), as strong as deep models (Rendle et al., 2022)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import scipy.sparse as sp

from steps.models.blas import one_thread, processors
from steps.models.factor_model import FactorModel
from steps.models.factors import Factors
from steps.models.fold_in import FoldIn
from steps.models.interactions import DAY, Interactions
from steps.models.large_least_squares import LargeSides, compiling_pays
from steps.models.least_squares import Sides
from steps.models.recommender import Floats, Report
from steps.models.scorer_model import shared
from steps.runtime.errors import CheckFailedError, UsageError

START = 0.1
"""How far from zero the first vectors are, all entries of one together."""


@dataclass(frozen=True)
class ALSSettings:
    """With `unobserved` 1 and `exponent` 0 it is the model that `implicit` has."""

    variants: ClassVar[tuple[Mapping[str, object], ...]] = (
        {"regularization": 0.5},
        {"regularization": 0.4},
        {"regularization": 0.3},
    )

    factors: int = 64
    regularization: float = 0.5
    """How strongly vectors are kept small. The larger the shop the weaker the best, even with `exponent`."""
    alpha: float = 1.0
    """How much a purchase counts."""
    unobserved: float = 0.3
    """How much a pair counts that never met."""
    exponent: float = 0.5
    """The regularisation of a vector grows with this power of how much is known of it; 0 is the same for all.

    With the root one default suits shops of all sizes: what suits 2,000 customers alike would leave 200 with nothing.
    """
    repeats: float = 0.0
    """How much another purchase of the same item adds: 0 nothing, 1 as much as the first."""
    half_life: float = 0.0
    """Days after which a purchase counts half; 0 for never."""
    iterations: int = 15

    def __post_init__(self) -> None:
        if not 1 <= self.factors <= 2048:
            raise UsageError(f"als.factors is {self.factors}: 1 to 2048 are allowed")
        if not 1 <= self.iterations <= 1000:
            raise UsageError(f"als.iterations is {self.iterations}: 1 to 1000 are allowed")
        if not self.alpha > 0:
            raise UsageError(f"als.alpha is {self.alpha}: it must be above zero")
        for name in ("regularization", "unobserved", "exponent", "repeats", "half_life"):
            if not getattr(self, name) >= 0:
                raise UsageError(f"als.{name} is {getattr(self, name)}: it must not be negative")


class ALS(FactorModel):
    """A user's and an item's vector multiply to how sure the purchase is."""

    name = "als"
    settings_type = ALSSettings
    partial: Callable[[], Factors] | None = None

    @classmethod
    def search_space(cls) -> Mapping[str, tuple[Any, ...]]:
        return {
            "factors": (32, 64, 96, 128),
            # The exponent stays: another one wants another regularisation, and a search would learn of neither.
            "regularization": ("log", 0.05, 5.0),
            "unobserved": ("log", 0.01, 1.0),
        }

    def vectors(self, interactions: Interactions, seed: int, report: Report) -> tuple[Floats, Floats]:
        settings: ALSSettings = self.settings
        weights = confidence(interactions, settings)
        first = first_vectors(weights.shape[1], settings.factors, seed)
        large = compiling_pays(weights.nnz, settings.factors, settings.iterations)
        sides = LargeSides.of(weights, first, settings.unobserved) if large else Sides.of(weights, first)
        how, workers = self.fold_in(), processors()
        self.partial = lambda: Factors(shared(interactions), *sides.vectors(), how)
        with one_thread():
            for done in range(settings.iterations):
                try:
                    sides.improve(how, workers)
                except np.linalg.LinAlgError as error:
                    raise CheckFailedError("als: a vector is not determined; try more regularization") from error
                report(done + 1, settings.iterations)
        self.partial = None  # with it go the matrices, of which a large shop's take much room
        return sides.vectors()

    def fold_in(self) -> FoldIn:
        settings: ALSSettings = self.settings
        return FoldIn(settings.alpha, settings.unobserved, settings.regularization, settings.exponent)


def confidence(interactions: Interactions, settings: ALSSettings) -> sp.csr_matrix:
    """How sure each pair is that met: by its weight, how often, and how long ago. Dislikes stay below zero."""
    matrix = interactions.matrix
    strength = np.abs(matrix.data)
    sure = np.where(strength > 1, 1 + settings.repeats * (strength - 1), strength)
    if settings.half_life:
        sure = sure * decay(interactions, settings.half_life)
    data = (settings.alpha * np.sign(matrix.data) * sure).astype(np.float32)
    return sp.csr_matrix((data, matrix.indices, matrix.indptr), matrix.shape)


def decay(interactions: Interactions, half_life: float) -> Any:
    """Of each pair of the matrix, what its last purchase counts by its age against the newest of all."""
    history, matrix = interactions.history, interactions.matrix
    if history.time is None or not len(history.time):
        return np.ones(matrix.nnz)
    last = np.full(matrix.nnz, np.iinfo(np.int64).min)
    width = matrix.shape[1]
    owners = np.repeat(np.arange(matrix.shape[0], dtype=np.int64), np.diff(matrix.indptr))
    pairs = owners * width + matrix.indices
    asked = history.user.astype(np.int64) * width + history.item
    place = np.minimum(np.searchsorted(pairs, asked), len(pairs) - 1)
    met = pairs[place] == asked  # a dislike may have taken a pair's weight to zero, and the pair away
    np.maximum.at(last, place[met], history.time[met])
    return 0.5 ** ((int(history.time.max()) - last) / (DAY * half_life))


def first_vectors(items: int, factors: int, seed: int) -> Floats:
    """Those of the items, which the vectors of the users follow from."""
    random = np.random.default_rng(seed)
    return random.standard_normal((items, factors), np.float32) * np.float32(START / np.sqrt(factors))
