"""Which settings are chosen, with a family whose best setting is known."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import choosing, evaluation, families
from steps.models.choosing import Asked, Limits, Trial, Validation, choose
from steps.models.factor_model import FactorModel
from steps.models.factors import Factors
from steps.models.interactions import Interactions
from steps.models.metrics import Values
from steps.models.recommender import Floats, Report
from steps.models.scorer import Scorer
from steps.models.scorer_model import shared
from steps.runtime.errors import CheckFailedError


@dataclass(frozen=True)
class KnobSettings:
    variants: ClassVar[tuple[Mapping[str, object], ...]] = ({"side": "left"}, {"side": "right"})

    side: str = "left"
    knob: float = 0.1


class Knob(FactorModel):
    """Scores the right items the higher the nearer its knob is to 0.7, and twice as well on the right side."""

    name = "knob"
    settings_type = KnobSettings
    fitted: ClassVar[list[KnobSettings]] = []
    partial = None

    @classmethod
    def search_space(cls) -> Mapping[str, tuple[Any, ...]]:
        return {"knob": ("even", 0.0, 1.0)}

    def vectors(self, interactions: Interactions, seed: int, report: Report) -> tuple[Floats, Floats]:
        settings: KnobSettings = self.settings
        self.fitted.append(settings)
        if settings.knob < 0:
            raise CheckFailedError("knob: broken")
        signal = (1 - abs(settings.knob - 0.7)) * (2 if settings.side == "right" else 1)
        # Item 0 is what everybody buys next; the further down it is shown, the weaker the signal.
        ahead = int(10 * (2 - signal))
        items = np.linspace(1, 0, interactions.matrix.shape[1], dtype=np.float32)
        items[0] = items[min(ahead, len(items) - 1)] + 1e-4
        users = np.ones((interactions.matrix.shape[0], 1), np.float32)
        self.partial = lambda: Factors(shared(interactions), users, items[:, None])
        for done in range(4):
            report(done + 1, 4)
        return users, items[:, None]


def silent(done: int, planned: int) -> None:
    """No progress bar."""


@pytest.fixture
def validation(checkerboard: Interactions) -> Validation:
    before = checkerboard.matrix.tolil()
    before[:, 0] = 0
    before = sp.csr_matrix(before)
    before.eliminate_zeros()
    later = sp.csr_matrix((np.ones(50, np.float32), (np.arange(50), np.zeros(50, np.int64))), (50, 50))
    learnt = Interactions(checkerboard.users, checkerboard.items, before)
    Knob.fitted.clear()
    return Validation(lambda worth: learnt, evaluation.held_out(before, later, 50, 0), "ndcg", 30)


def test_one_trial_decides_between_the_variants(validation: Validation) -> None:
    chosen = choose(Knob(), [], validation, 1, Limits())
    assert chosen.model.settings == KnobSettings("right")
    assert [trial.settings["side"] for trial in chosen.trials] == ["left", "right"]
    assert chosen.scorer is not None
    assert validation.value(chosen.scorer) == chosen.trials[1].value > chosen.trials[0].value


@pytest.mark.parametrize("seed", [0, 2**31 - 1])
def test_every_seed_that_may_be_given_can_be_searched_with(seed: int, validation: Validation) -> None:
    assert len(choose(Knob(), [], validation, seed, Limits(4)).trials) == 4


class Listener(Knob):
    """Hears the views: the more they count, the better it is."""

    name = "listener"

    def vectors(self, interactions: Interactions, seed: int, report: Report) -> tuple[Floats, Floats]:
        heard = float(interactions.matrix.data.max())
        return type(self)(KnobSettings("right", 0.7 * heard)).super_vectors(interactions, seed, report)

    def super_vectors(self, interactions: Interactions, seed: int, report: Report) -> tuple[Floats, Floats]:
        return super().vectors(interactions, seed, report)


def test_what_events_are_worth_is_tried_after_the_variants_and_searched(validation: Validation) -> None:
    plain = validation.learnt({})

    def louder(worth: Mapping[str, float]) -> Interactions:
        return Interactions(plain.users, plain.items, plain.matrix * np.float32(0.1 + worth.get("view", 0.0)))

    told = Validation(louder, validation.held, "ndcg", 30, ("view",))
    one = choose(Listener(), [], told, 1, Limits())
    assert [trial.worth for trial in one.trials] == [{}, {}, {"view": 0.2}]
    assert one.worth == {"view": 0.2}
    found = choose(Listener(), [], told, 1, Limits(12))
    assert found.worth["view"] > 0.2
    assert all(-0.5 <= trial.worth["view"] <= 1 for trial in found.trials[3:])


def test_what_somebody_set_is_not_chosen(validation: Validation) -> None:
    chosen = choose(Knob(KnobSettings("left", 0.2)), ["side", "knob"], validation, 1, Limits(trials=10))
    assert chosen.model.settings == KnobSettings("left", 0.2)
    assert len(Knob.fitted) == 1


def test_a_search_comes_near_the_best(validation: Validation) -> None:
    chosen = choose(Knob(), [], validation, 1, Limits(trials=15))
    assert len(chosen.trials) == 15
    assert abs(chosen.model.settings.knob - 0.7) < 0.2
    assert all(0 <= trial.settings["knob"] <= 1 for trial in chosen.trials)


@dataclass(frozen=True)
class Swaying(Validation):
    """What a model does better it does better for half of the users by far, and worse for the rest."""

    size: float = 0.0

    def values(self, scorer: Scorer) -> Values:
        found = super().values(scorer)
        halves = np.repeat([1.0, -1.0], len(found) // 2)
        return np.asarray(found.mean() * (1 + self.size * halves), np.float64)


def test_what_a_search_finds_must_be_ahead_by_more_than_chance(validation: Validation) -> None:
    # The standard error is about size / √50 of what is gained.
    calm, wild = (Swaying(validation.learnt, validation.held, "ndcg", 30, size=size) for size in (5.0, 10.0))
    found = choose(Knob(), ["side"], calm, 1, Limits(trials=9))
    assert found.best is not None
    assert found.best.value == max(trial.value for trial in found.trials)
    assert found.best.number > 0
    kept: list[Trial] = []
    stayed = choose(Knob(), ["side"], wild, 1, Limits(trials=9), record=kept.append)
    assert [trial.settings for trial in stayed.trials] == [trial.settings for trial in found.trials]
    assert stayed.best == stayed.trials[0]
    assert stayed.model.settings == KnobSettings()
    assert stayed.scorer is not None
    resumed = choose(Knob(), ["side"], wild, 1, Limits(trials=9), known=kept[:4])
    assert (resumed.best, resumed.model.settings) == (stayed.best, stayed.model.settings)
    assert [trial.error for trial in resumed.trials] == [trial.error for trial in stayed.trials]


def test_an_interrupted_search_goes_on_as_if_it_had_not_been(validation: Validation) -> None:
    whole = choose(Knob(), [], validation, 3, Limits(trials=9))
    kept: list[Trial] = []
    choose(Knob(), [], validation, 3, Limits(trials=4), record=kept.append)
    Knob.fitted.clear()
    resumed = choose(Knob(), [], validation, 3, Limits(trials=9), known=kept, record=kept.append)
    assert [trial.settings for trial in resumed.trials] == [trial.settings for trial in whole.trials]
    assert resumed.model.settings == whole.model.settings
    assert [trial.number for trial in kept] == list(range(9))
    # Five new ones, and perhaps the best of the old ones once more, for its model.
    assert len(Knob.fitted) <= 6


def test_the_seed_decides_what_is_tried(validation: Validation) -> None:
    first, same, other = (choose(Knob(), [], validation, seed, Limits(trials=4)).trials for seed in (1, 1, 2))
    assert [one.settings for one in first] == [one.settings for one in same]
    assert [one.settings for one in first] != [one.settings for one in other]


def test_a_spent_budget_begins_no_trial(validation: Validation) -> None:
    known = [Trial(0, {"side": "left", "knob": 0.1}, "complete", 0.5, 100.0)]
    chosen = choose(Knob(), [], validation, 1, Limits(trials=9, seconds=60), known=known)
    assert len(chosen.trials) == 1
    assert chosen.model.settings == KnobSettings("left")


def test_a_trial_behind_the_others_is_given_up(validation: Validation) -> None:
    ahead = [Trial(n, {"side": "right", "knob": 0.7}, "complete", 0.9, 1.0, {"1": 0.9}) for n in range(3)]
    trial, scorer = choosing.attempt(Asked(Knob(KnobSettings(knob=0.0)), {}), validation, 1, ahead, silent, 0.0)
    assert (trial.state, scorer) == ("pruned", None)
    assert list(trial.steps) == ["1"]
    trial, scorer = choosing.attempt(Asked(Knob(), {}), validation, 1, ahead[:2], silent, 0.0)
    assert trial.state == "complete"
    assert scorer is not None
    assert list(trial.steps.values())[-1] == trial.value, "where it ended is a point of its way"


def test_settings_of_which_no_model_comes_lose(validation: Validation) -> None:
    trial, scorer = choosing.attempt(Asked(Knob(KnobSettings(knob=-1)), {}), validation, 1, (), silent, 0.0)
    assert (trial.state, trial.value, scorer) == ("failed", 0.0, None)
    assert choose(Knob(KnobSettings(knob=-1)), ["knob"], validation, 1, Limits()).model.settings.side == "left"


def test_without_users_to_ask_it_is_the_first_variant() -> None:
    assert choose(Knob(KnobSettings("right")), [], None, 1, Limits(trials=5)).model.settings.side == "left"
    assert choose(Knob(KnobSettings("right")), ["side"], None, 1, Limits()).model.settings.side == "right"


@pytest.mark.parametrize("name", sorted(families.FAMILIES))
def test_every_family_can_be_searched_within_its_own_bounds(name: str) -> None:
    model = families.make(name)
    space = model.search_space()
    for setting, values in space.items():
        assert hasattr(model.settings, setting)
        for value in values[1:] if values[0] in ("log", "even") else values:
            model.settings_type(**{setting: value})
    for variant in choosing.variants(model, []):
        assert variant.settings.__class__ is model.settings_type
    assert bool(choosing.searched(model, [], (), (), 1)) == bool(space)
