"""The baseline that every other family has to beat: what everybody buys."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np

from steps.models.factor_model import FactorModel
from steps.models.factors import Factors
from steps.models.interactions import Interactions
from steps.models.recommender import Floats, Report
from steps.runtime.errors import UsageError


@dataclass(frozen=True)
class PopularitySettings:
    """How long what was bought says what is bought."""

    # Of shops whose products come and go two weeks were the best, of films half a year, and where the purchases to
    # foretell are drawn at random, that none fades.
    variants: ClassVar[tuple[Mapping[str, object], ...]] = (
        {"half_life": 0.0},
        {"half_life": 14.0},
        {"half_life": 180.0},
    )

    half_life: float = 0.0
    """Days after which a purchase counts half; 0 for never."""
    segment: str = ""
    """A column of the users, such as their country: who has bought nothing gets what its group buys; empty for none."""
    shrink: float = 100.0
    """So many purchases of everybody are added to those of a group."""

    def __post_init__(self) -> None:
        if not 0 <= self.half_life <= 1e6:
            raise UsageError(f"popularity.half_life is {self.half_life}: 0 to 1000000 days are allowed")
        if not 0 <= self.shrink <= 1e9:
            raise UsageError(f"popularity.shrink is {self.shrink}: 0 to 1000000000 are allowed")


class Popularity(FactorModel):
    """Scores an item by its share of all purchases, the older the less, for everybody alike."""

    name = "popularity"
    settings_type = PopularitySettings

    @classmethod
    def search_space(cls) -> Mapping[str, tuple[Any, ...]]:
        return {"half_life": ("log", 1.0, 2000.0)}

    def learn(self, interactions: Interactions, seed: int, report: Report) -> Factors:
        return super().learn(replace(interactions, half_life=self.settings.half_life), seed, report)

    def vectors(self, interactions: Interactions, seed: int, report: Report) -> tuple[Floats, Floats]:
        bought = interactions.popularity
        share = bought / max(float(bought.sum()), 1e-9)
        return np.ones((len(interactions.users), 1), np.float32), share.reshape(-1, 1)
