"""Chooses a family's settings on the validation split: its variants, and within trials and a budget a search."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import median
from typing import Any

from steps.models import evaluation, events, metrics
from steps.models.evaluation import HeldOut
from steps.models.interactions import Interactions
from steps.models.metrics import Values
from steps.models.recommender import Recommender, Report
from steps.models.scorer import Scorer
from steps.runtime.errors import CheckFailedError

MOST_USERS = 1000
"""Enough to tell settings apart, few enough to ask after every few passes."""
CHECKS = 5
"""How often a trial is looked at before it ends, where a family can be looked at."""
LEAST_OTHERS = 3
"""A trial is given up early only against so many others."""
RANDOM_TRIALS = 5
"""Before the sampler has something to go by."""
SETTING, EVENT = "setting", "event"
WORTH = ("even", -0.5, 1.0)
"""What an event may count against a purchase."""


@dataclass(frozen=True)
class Trial:
    """One setting of a family on the validation split."""

    number: int
    settings: Mapping[str, Any]
    state: str
    """`complete`, `pruned` because most others had come further, or `failed` because no model came of it."""
    value: float
    seconds: float
    steps: Mapping[str, float] = field(default_factory=dict)
    """What it had reached after so many passes, where it was looked at on its way."""
    worth: Mapping[str, float] = field(default_factory=dict)
    """What other events than purchases counted."""
    error: float = 0.0
    """The standard error of how far it is ahead of the family's best variant with the same users."""


@dataclass(frozen=True)
class Validation:
    """What is learned from while choosing, and the users whose later purchases decide."""

    learnt: Callable[[Mapping[str, float]], Interactions]
    """What is learned from when other events than purchases count so much."""
    held: HeldOut
    metric: str
    k: int
    kinds: Sequence[str] = ()
    """The other events, of which nobody has said what they count."""

    def values(self, scorer: Scorer) -> Values:
        """What a model reaches for each of the users."""
        return evaluation.measure(scorer, self.held, self.k).per_user(self.metric, self.k)

    def value(self, scorer: Scorer) -> float:
        return float(self.values(scorer).mean())


@dataclass(frozen=True)
class Limits:
    """How long is searched: trials in all, of which the variants are the first, and seconds, 0 for any."""

    trials: int = 1
    seconds: float = 0.0


@dataclass(frozen=True)
class Choice:
    """The family with the best settings, all that was tried, and the best's model as the validation split saw it."""

    model: Recommender
    trials: Sequence[Trial] = ()
    scorer: Scorer | None = None
    best: Trial | None = None
    """The one of the trials whose settings these are; None where no model came of any."""

    @property
    def worth(self) -> Mapping[str, float]:
        return self.best.worth if self.best else {}


@dataclass(frozen=True)
class Asked:
    """What is tried next."""

    model: Recommender
    worth: Mapping[str, float]


class PrunedError(Exception):
    """Ends a trial that is not worth more time."""


def choose(
    model: Recommender,
    given: Sequence[str],
    validation: Validation | None,
    seed: int,
    limits: Limits,
    known: Sequence[Trial] = (),
    record: Callable[[Trial], None] = lambda trial: None,
    report: Report = lambda done, planned: None,
) -> Choice:
    """The best settings for these purchases.

    `given` are the settings that somebody set: they stay. What is in `known` was tried before, by a process that was
    interrupted, and is not tried again. Without users to validate on, it is the first variant. What is tried after the
    variants must be ahead of the best of them by more than the standard error, or that one stays.
    """
    first = variants(model, given)
    if validation is None:
        return Choice(first[0])

    def again(trial: Trial) -> Scorer | None:
        asked = Asked(model.like(model.settings_type(**trial.settings)), trial.worth)
        return attempt(asked, validation, seed, (), report, time.perf_counter())[1]

    tried: list[Trial] = []
    begun: Trial | None = None
    best: Trial | None = None
    scorer: Scorer | None = None
    bar: Values | None = None
    for number in range(max(limits.trials, len(first) + bool(validation.kinds))):
        made = None
        if number < len(known):
            trial = known[number]
        elif tried and limits.seconds and sum(one.seconds for one in tried) >= limits.seconds:
            break
        else:
            began = time.perf_counter()  # what to try next is thought about in the budget's time
            asked = suggest(model, given, first, validation.kinds, tried, seed)
            if asked is None:
                break
            if number >= len(first) and begun and bar is None:
                default = (scorer if best is begun else None) or again(begun)
                bar = validation.values(default) if default else None
            trial, made = attempt(asked, validation, seed, tried, report, began, bar)
            record(trial)
        tried.append(trial)
        if trial.state == "complete" and (best is None or trial.value > best.value) and ahead(trial, begun):
            best, scorer = trial, made
        if number < len(first):
            begun = best
    if best is None:  # the check that failed in every trial will say why, when the whole is fitted
        return Choice(first[0], tried)
    return Choice(model.like(model.settings_type(**best.settings)), tried, scorer or again(best), best)


def ahead(trial: Trial, begun: Trial | None) -> bool:
    """Whether it is better than a family's best variant by more than chance: of many trials one always seems so."""
    return begun is None or trial.value > begun.value + trial.error


def variants(model: Recommender, given: Sequence[str]) -> list[Recommender]:
    """A family's named beginnings, with all that somebody set as it was set; the model itself where it has none."""
    made: dict[str, Recommender] = {}
    named: tuple[Mapping[str, object], ...] = getattr(model.settings_type, "variants", ({},))
    for variant in named:
        settings = replace(model.settings, **{name: one for name, one in variant.items() if name not in given})
        made[repr(settings)] = model.like(settings)
    return list(made.values())


def attempt(
    asked: Asked,
    validation: Validation,
    seed: int,
    earlier: Sequence[Trial],
    report: Report,
    began: float,
    bar: Values | None = None,
) -> tuple[Trial, Scorer | None]:
    """Fits one model on what may be learned from, and asks it about the rest; `bar` is what it is compared with."""
    model, steps, passes = asked.model, dict[str, float](), 0

    def watch(done: int, planned: int) -> None:
        nonlocal passes
        passes = planned
        report(done, planned)
        partial = getattr(model, "partial", None)
        if partial and planned > 1 and done < planned and done % max(1, planned // CHECKS) == 0:
            steps[str(done)] = validation.value(partial())
            others = [one.steps[str(done)] for one in earlier if str(done) in one.steps]
            if len(others) >= LEAST_OTHERS and steps[str(done)] < median(others):
                raise PrunedError

    state, value, error, scorer = "complete", 0.0, 0.0, None
    try:
        scorer = model.fit(validation.learnt(asked.worth), seed, watch).scorer
        values = validation.values(scorer)
        value = float(values.mean())
        if bar is not None:
            error = float(metrics.standard_error(values - bar))
        if steps:
            steps[str(passes)] = value
    except PrunedError:
        state, value = "pruned", max(steps.values())
    except CheckFailedError:  # settings of which no model comes are a finding of a search, not its end
        state = "failed"
    seconds = round(time.perf_counter() - began, 3)
    settings, worth = dict(vars(model.settings)), dict(asked.worth)
    return Trial(len(earlier), settings, state, value, seconds, steps, worth, error), scorer


def suggest(
    model: Recommender,
    given: Sequence[str],
    first: Sequence[Recommender],
    kinds: Sequence[str],
    tried: Sequence[Trial],
    seed: int,
) -> Asked | None:
    """The next to try: the variants on purchases alone, the best of them with all events, then what a search says."""
    if len(tried) < len(first):
        return Asked(first[len(tried)], {})
    if kinds and len(tried) == len(first):
        whole = [trial for trial in tried if trial.state == "complete"] or tried
        best = max(whole, key=lambda trial: trial.value)
        return Asked(model.like(model.settings_type(**best.settings)), events.guess(kinds))
    return searched(model, given, kinds, tried, seed)


def searched(
    model: Recommender, given: Sequence[str], kinds: Sequence[str], tried: Sequence[Trial], seed: int
) -> Asked | None:
    """What Optuna makes of what earlier trials reached; None where there is nothing to search.

    It follows from the seed and the trials before alone, so that an interrupted search goes on as if it had not been.
    """
    space = {(SETTING, name): values for name, values in model.search_space().items() if name not in given}
    space |= {(EVENT, name): WORTH for name in kinds}
    if not space:
        return None
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    # The sampler takes 32 bits of a seed and refuses more.
    sampler = optuna.samplers.TPESampler(seed=(seed * 10_007 + len(tried)) % 2**32, n_startup_trials=RANDOM_TRIALS)
    study = optuna.create_study(direction="maximize", sampler=sampler)
    distributions = {f"{what} {name}": distribution(values) for (what, name), values in space.items()}
    for trial in tried:
        used = {SETTING: trial.settings, EVENT: dict.fromkeys(kinds, 0.0) | dict(trial.worth)}
        params = {f"{what} {name}": used[what][name] for what, name in space}
        # A beginning may lie outside of what is searched; a failed trial is known to be bad, which is worth knowing.
        if all(inside(used[what][name], values) for (what, name), values in space.items()):
            study.add_trial(optuna.trial.create_trial(value=trial.value, params=params, distributions=distributions))
    asked = study.ask(distributions).params
    found = {key: asked[f"{key[0]} {key[1]}"] for key in space}
    settings = {name: value for (what, name), value in found.items() if what == SETTING}
    worth = {name: value for (what, name), value in found.items() if what == EVENT}
    return Asked(model.like(replace(model.settings, **settings)), worth)


def inside(value: Any, values: tuple[Any, ...]) -> bool:
    return bool(values[1] <= value <= values[2]) if values[0] in ("log", "even") else value in values


def distribution(values: tuple[Any, ...]) -> Any:
    """A range or a choice in Optuna's words: `("log", 0.1, 10.0)`, `("even", 0.0, 1.0)`, or the values themselves."""
    import optuna

    if values[0] == "log":
        return optuna.distributions.FloatDistribution(values[1], values[2], log=True)
    if values[0] == "even":
        return optuna.distributions.FloatDistribution(values[1], values[2])
    return optuna.distributions.CategoricalDistribution(values)
