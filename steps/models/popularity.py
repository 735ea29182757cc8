"""The baseline that every other family has to beat: what everybody buys."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from steps.models.factor_model import FactorModel
from steps.models.interactions import Interactions
from steps.models.recommender import Floats, Report


@dataclass(frozen=True)
class PopularitySettings:
    """There is nothing to set."""


class Popularity(FactorModel):
    """Scores an item by its share of all purchases, for everybody alike."""

    name = "popularity"
    settings_type = PopularitySettings

    def vectors(self, interactions: Interactions, seed: int, report: Report) -> tuple[Floats, Floats]:
        bought = interactions.popularity
        share = bought / max(float(bought.sum()), 1e-9)
        return np.ones((len(interactions.users), 1), np.float32), share.reshape(-1, 1)
