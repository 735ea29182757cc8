"""What every step that makes a candidate records: what the model answers, and what it was made with."""

from __future__ import annotations

import sys
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, replace
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from typing import Any

import numpy as np

from steps.artifacts.dataset import Dataset, Split
from steps.models import choosing, evaluation
from steps.models.choosing import Trial, Validation
from steps.models.evaluation import HeldOut
from steps.models.ids import UNKNOWN
from steps.models.interactions import Interactions
from steps.models.popularity import Popularity, PopularitySettings
from steps.models.recommender import NOBODY, Recommender
from steps.models.scorer import Scorer, rows_of

LIBRARIES = ("numpy", "scipy", "tensorflow", "tensorflow-cpu", "keras", "keras-rs", "numba", "optuna", "implicit")
EXPECTED_USERS = 16
EXPECTED_ITEMS = 10
Change = Callable[[Interactions], Interactions]
STRANGER = "a user that nobody knows"


def expected_answers(scorer: Scorer, data: Dataset) -> list[dict[str, object]]:
    """What the model answers here and now for users with many and with few purchases, and for a stranger."""
    by_activity = np.argsort(-np.diff(data.seen.indptr), kind="stable")
    chosen = by_activity[np.unique(np.linspace(0, len(by_activity) - 1, EXPECTED_USERS).astype(int))]
    codes = np.append(chosen, UNKNOWN).astype(np.int32)
    found = scorer.recommend(codes, min(EXPECTED_ITEMS, len(data.items)), rows_of(data.seen, codes))
    return [
        {
            "user": STRANGER if code == UNKNOWN else data.users[int(code)],
            "items": ["" if item == NOBODY else data.items[int(item)] for item in items],
            "scores": [float(score) for score in scores],
            "known": bool(known),
        }
        for code, items, scores, known in zip(codes, found.items, found.scores, found.known, strict=True)
    ]


def learning_curve(model: Recommender, chosen: Trial | None) -> list[dict[str, Any]]:
    """What the passes of a model reached: by its own record, or by what the chosen trial was asked on its way."""
    own = getattr(model, "curve", ())
    if own:
        return [{"pass": number, **asdict(epoch)} for number, epoch in enumerate(own, 1)]
    steps = chosen.steps if chosen else {}
    return [{"pass": int(number), "figure": steps[number]} for number in sorted(steps, key=int)]


def library_versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for library in LIBRARIES:
        try:
            found[library] = version(library)
        except PackageNotFoundError:  # TensorFlow has two distributions, and not every image has every library
            continue
    return found


def validation_users(data: Dataset, seed: int) -> HeldOut:
    """The users by whose validation purchases models are compared before the test: the same for all models of a run."""
    before, later = data.bought(Split.TRAIN), data.bought(Split.VALIDATION)
    return evaluation.held_out(before, later, choosing.MOST_USERS, seed)


def half_life(popularity: Recommender, given: Sequence[str], held: Validation | None, seed: int) -> float:
    """How fast purchases fade from what is popular, as the validation split has it."""
    purchases = replace(held, kinds=()) if held else None
    chosen = choosing.choose(popularity, given, purchases, seed, choosing.Limits()).model
    return float(chosen.settings.half_life)


def for_strangers(
    data: Dataset, popularity: Recommender, given: Sequence[str], held: Validation | None, seed: int
) -> Change:
    """Adds to purchases how it is counted what users are shown of whom nothing is known.

    It is the same for all models of a run, so that none wins by that alone.
    """
    settings = popularity.settings
    segment = data.segment(settings.segment) if settings.segment else None
    days = half_life(popularity, given, held, seed)
    return lambda learnt: replace(learnt, half_life=days, segment=segment, shrink=settings.shrink)


def asking(held: Validation | None, change: Change) -> Validation | None:
    """The same question to models that learn from changed purchases."""
    if held is None:
        return None
    as_it_was = held.learnt
    return replace(held, learnt=lambda worth: change(as_it_was(worth)))


def baseline(data: Dataset, learnt: Interactions, metric: str, k: int, seed: int) -> Scorer:
    """What a run is measured against that has no candidate `popularity`: as a plain run would have made it."""
    days = half_life(Popularity(), [], validation(data, metric, k, seed), seed)
    return Popularity(PopularitySettings(half_life=days)).fit(learnt, seed).scorer


def validation(data: Dataset, metric: str, k: int, seed: int) -> Validation | None:
    """What settings are chosen by; None where the validation split tells nothing."""
    if data.interactions(Split.TRAIN).matrix.nnz == 0:
        return None
    held = validation_users(data, seed)
    if not len(held.users):
        return None

    @lru_cache(maxsize=1)
    def built(worth: frozenset[tuple[str, float]]) -> Interactions:
        return data.interactions(Split.TRAIN, worth=dict(worth))

    def learnt(worth: Mapping[str, float]) -> Interactions:
        # One trial after the other learns from the same, and to put it together takes longer than to count it.
        return built(frozenset(worth.items()))

    return Validation(learnt, held, metric, k, data.kinds.searched if data.kinds else ())
