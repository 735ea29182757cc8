"""Whether a model should be made anew, and whether one on trial stays: rules over what was measured with real users."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from steps.models import online
from steps.models.online import Estimate, Figures

PROMOTE, ABORT, NONE = "promote", "abort", "none"
"""What becomes of a canary; nothing, where there is none."""
LEAST_FAILURES = 5
"""Fewer answers that went wrong are an accident, however few there were to answer."""
LEAST_ANSWERS = 200
"""Where the live version had fewer questions, one on trial that had none may only have had no turn."""
LEAST_TURNS = 20
"""Of so many questions that were meant for it, one on trial had some, if it was there at all."""


@dataclass(frozen=True)
class Thresholds:
    """What somebody has said is too little, or too much."""

    metric: str
    min_accuracy: float
    """Of the best of the last releases, as a share."""
    tolerance: float
    """How much of its own baseline a release may lose, as a share."""
    least_lists: int
    """Of fewer lists nothing is said."""
    without_evidence: str
    """What becomes of a canary of which too little was seen."""


@dataclass(frozen=True)
class Decision:
    """What is to be done, and why, in a sentence for people."""

    what: str
    reason: str


@dataclass(frozen=True)
class Quality:
    """Whether a release is as good as it should be."""

    fell: bool
    reason: str
    accuracy: float | None = None
    """Its share of what the best of the last releases had reached, where both are known."""


def quality(version: int, now: Figures, baselines: Mapping[int, Figures], rules: Thresholds, fresh: int = 0) -> Quality:
    """Compares a release with what it was at first itself, and with what the best of the last releases was at first.

    That a figure is below a threshold is not enough: it must also be lower than before by more than chance. So many
    lists more are too `fresh` to be judged: what follows them is still to come.
    """
    if now.lists + fresh == 0:
        return Quality(False, f"there is no feedback on version {version} in this time")
    if now.lists < rules.least_lists:
        return Quality(
            False,
            f"only {now.lists} lists of version {version} were shown, and {rules.least_lists} are needed to judge it"
            + (f"; what follows {fresh} more is awaited" if fresh else ""),
        )
    here = now.metrics[rules.metric]
    # Nothing is no measure: more than it is no success, and less than it there cannot be.
    known = {one: figures.metrics[rules.metric] for one, figures in baselines.items() if taken(figures, rules.metric)}
    best = max(known, key=lambda one: known[one].value, default=version)
    top = known.get(best, here)
    accuracy = here.value / top.value if top.value else 1.0
    said = f"version {version} has {rules.metric} {_told(here)}"
    own = known.get(version)
    if own and here.value < (1 - rules.tolerance) * own.value and lower(here, own):
        return Quality(
            True,
            f"{said}: {_percent(1 - here.value / own.value)} less than its own baseline of {own.value:.4f}, "
            f"and {_percent(rules.tolerance)} are tolerated",
            accuracy,
        )
    if accuracy < rules.min_accuracy and lower(here, top):
        return Quality(
            True,
            f"{said}: {_percent(accuracy)} of the {top.value:.4f} that version {best} began with, "
            f"and {_percent(rules.min_accuracy)} is the least",
            accuracy,
        )
    if own is None and not here.value:
        return Quality(False, f"{said}, and nothing is no baseline", accuracy)
    if own is None:
        return Quality(False, f"{said}, which is its baseline from now on", accuracy)
    return Quality(False, f"{said}; its baseline is {own.value:.4f}", accuracy)


def canary(
    version: int, tried: Figures, base: Figures, rules: Thresholds, *, shown: bool, percent: float = 100
) -> Decision:
    """What becomes of a version on trial beside the live one, `base`, for `percent` of the users; a shadow is not
    `shown` to anybody.
    """
    if only_failed(tried):
        return Decision(ABORT, f"version {version} answered none of the {tried.errors} requests that came to it")
    if never_asked(tried, base, percent):
        return Decision(
            ABORT,
            f"version {version} was never asked, while the live one had {base.requests} requests: "
            "no server seems to have loaded it",
        )
    wrong, usual = failures(tried), failures(base)
    if tried.errors >= LEAST_FAILURES and online.difference(wrong, usual).low > 0:
        return Decision(
            ABORT,
            f"version {version} failed to answer {_percent(wrong.value)} of {tried.requests} requests, "
            f"the live one {_percent(usual.value)} of {base.requests}",
        )
    if not shown:
        asked, share = tried.shadow
        seen = f"a shadow is shown to nobody: version {version} was asked {asked} times and shares {_percent(share)}"
        return Decision(rules.without_evidence, f"{seen} of what was shown; {_by_flag(rules)}")
    if tried.lists and base.lists:
        here, there = tried.metrics[rules.metric], base.metrics[rules.metric]
        compared = f"version {version} has {rules.metric} {_told(here)}, the live one {_told(there)}"
        if lower(here, there):
            return Decision(ABORT, f"{compared}: that is worse by more than chance")
        if min(tried.lists, base.lists) >= rules.least_lists:
            return Decision(PROMOTE, f"{compared}: that is not worse")
    return Decision(
        rules.without_evidence,
        f"too little feedback to tell: {tried.lists} lists of version {version} were shown and {base.lists} of the "
        f"live one, and {rules.least_lists} of each are needed; {_by_flag(rules)}",
    )


def taken(figures: Figures, metric: str) -> bool:
    """Whether anything at all followed what was shown, as this metric counts it."""
    return metric in figures.metrics and figures.metrics[metric].value > 0


def failures(figures: Figures) -> Estimate:
    """How often a version did not answer itself; whether another one did for it makes no difference."""
    return online.rate(figures.errors, figures.requests)


def only_failed(figures: Figures) -> bool:
    """Whether it was asked and has not answered once, however seldom that was."""
    return figures.errors > 0 and figures.errors >= figures.requests and not figures.shadow[0]


def never_asked(tried: Figures, base: Figures, percent: float) -> bool:
    """Whether nothing at all came to it, though so much was answered by the live version that something must have."""
    if tried.requests or tried.lists or tried.shadow[0]:
        return False
    return base.requests >= LEAST_ANSWERS and base.requests * percent / 100 >= LEAST_TURNS


def lower(one: Estimate, other: Estimate) -> bool:
    """Whether it is less by more than chance."""
    return online.difference(one, other).high < 0


def _told(one: Estimate) -> str:
    return f"{one.value:.4f} (95 % between {one.low:.4f} and {one.high:.4f})"


def _percent(share: float) -> str:
    return f"{100 * share:.3g} %"


def _by_flag(rules: Thresholds) -> str:
    return f"--without-evidence says {rules.without_evidence}"
