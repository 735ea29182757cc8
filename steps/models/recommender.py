"""The contract of every model family: arrays in, scores and files out."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.ids import Codes
from steps.models.interactions import Interactions
from steps.models.signature import LOWEST
from steps.runtime.errors import CheckFailedError

if TYPE_CHECKING:
    from steps.models.scorer import Scorer
    from steps.models.team import Together

Floats = npt.NDArray[np.float32]
Places = npt.NDArray[np.intp]
Report = Callable[[int, int], None]
"""Called with the passes done and the passes planned."""

NOBODY = -1
"""The item code that fills a row when a user has fewer items left than were asked for."""

LEAST = np.nextafter(np.float32(LOWEST), np.float32(0))
"""The smallest score that may be shown."""
GROUP, GROUPS_EACH, CROWD = 16, 8, 64
"""Scores that are compared as one at most, how many such groups there are for each that is sought, and how many
more than sought may be sorted."""


@dataclass(frozen=True)
class Recommendations:
    """The best items of some users, best first: `items` and `scores` are n × k, `known` is n.

    >>> Recommendations(np.array([[3, -1]]), np.array([[0.5, LOWEST]]), np.array([True])).items.shape
    (1, 2)
    """

    items: Codes
    scores: Floats
    known: npt.NDArray[np.bool_]
    calculated: float = 1.0
    """Of the scores of all items for all these users, the share that had to be calculated to know the best."""


class Recommender(ABC):
    """A model family. `settings` is a frozen dataclass of its hyper-parameters, every one with a good default."""

    name: ClassVar[str]
    settings_type: ClassVar[type[Any]]
    trains_together: ClassVar[bool] = False
    """Whether several workers can train one model of this family."""
    together: Together | None = None
    """The workers that train it, this one among them; None where it trains alone."""
    scorer: Scorer
    """What answers, once the model is fitted."""

    def __init__(self, settings: Any = None) -> None:
        self.settings = settings if settings is not None else self.settings_type()

    def like(self, settings: Any) -> Self:
        """A model of the same family and the same workers with other settings."""
        made = type(self)(settings)
        made.together = self.together
        return made

    @classmethod
    def search_space(cls) -> Mapping[str, tuple[Any, ...]]:
        """Where a search looks: of a setting `("log", low, high)`, `("even", low, high)`, or the values to choose from.

        Where settings differ in kind rather than degree, the settings' class has `variants` besides: settings that
        begin every search, and between which the validation split decides also where nothing is searched.
        """
        return {}

    def unfit(self, items: int) -> str:
        """Why this family cannot learn from a catalogue of so many bought items, or an empty text."""
        return ""

    @abstractmethod
    def fit(self, interactions: Interactions, seed: int = 0, report: Report | None = None) -> Self:
        """Learns from purchases and returns itself.

        The same interactions, settings and seed give the same model. Raises CheckFailedError where what was learned
        is not finite or all zero: such a model must not reach anybody.
        """

    @abstractmethod
    def score(self, users: Codes, items: Codes) -> Floats:
        """One score a pair; the two arrays have the same length. An unknown user (-1) is scored by popularity."""

    @abstractmethod
    def recommend(self, users: Codes, k: int, hidden: sp.csr_matrix | None = None) -> Recommendations:
        """The k best items of each user; ties go to the lower item code.

        `hidden` has a row for each entry of `users` and marks the items that must not be recommended there.

        An unknown user (-1, or one without purchases to learn from) gets popular items and `known` = False.
        """

    @abstractmethod
    def export(self, folder: Path, seen: sp.csr_matrix, *, saved_model: bool = True) -> None:
        """Leaves what serving needs in `folder`: arrays, and `saved_model/` with both signatures where it is wanted.

        `seen` holds what every user has bought so far: the exported model never recommends it again.
        """


def check_learned(name: str, **arrays: Floats) -> None:
    """Refuses factors that are not finite or all zero."""
    for what, array in arrays.items():
        if not np.isfinite(array).all():
            raise CheckFailedError(f"{name}: {what} hold values that are not finite; try more regularization")
        if not array.any():
            raise CheckFailedError(
                f"{name}: {what} are all zero; there was nothing to learn, or too much regularization"
            )


def best(scores: Floats, k: int) -> tuple[Codes, Floats]:
    """The k largest of each row with their places, largest first, ties in the order of their places.

    A score of LOWEST marks an item that may not be recommended; what is left of a row is filled with NOBODY.
    """
    if len(scores) == 1:  # a single request is answered without what many at once are worth
        return _best_of_row(scores[0], k)
    chosen = scores >= np.maximum(at_least(scores, k), LEAST)[:, None]
    crowded = np.flatnonzero(np.count_nonzero(chosen, axis=1) > CROWD + 2 * k)
    for row in crowded:  # of many ties only the first can be among the best
        chosen[row] = _first(scores[row], k)
    rows, places = np.divmod(np.flatnonzero(chosen), max(scores.shape[1], 1))
    return ranked(rows, places.astype(np.int32), scores[rows, places], len(scores), k)


def at_least(scores: Floats, k: int) -> Floats:
    """Of each row a number that the k largest reach, and few others; LOWEST where there are no k."""
    rows, columns = scores.shape
    if columns < k:
        return np.full(rows, LOWEST, np.float32)
    size = max(1, min(GROUP, columns // (GROUPS_EACH * k)))
    # k groups hold k different numbers: the kth largest of what is the largest in a group is not above the kth of all.
    count = columns // size
    tops = scores[:, : size * count].reshape(rows, size, count).max(axis=1) if size > 1 else scores
    return np.asarray(np.partition(tops, tops.shape[1] - k, axis=1)[:, tops.shape[1] - k])


def ranked(rows: Places, items: Codes, values: Floats, count: int, k: int) -> tuple[Codes, Floats]:
    """The k best of each of `count` rows, of single entries; ties go to the lower item, and NOBODY fills what is left.

    Rows ascend, and in each the items.
    """
    starts = np.searchsorted(rows, np.arange(count + 1))
    widest = int(np.diff(starts).max(initial=0))
    column = np.arange(len(rows)) - starts[rows]
    padded = np.full((count, widest), np.inf, np.float32)
    padded[rows, column] = -values
    order = np.argsort(padded, axis=1, kind="stable")[:, :k]
    place = np.minimum(starts[:-1, None] + order, max(len(rows) - 1, 0))
    there = order < np.diff(starts)[:, None]
    found, scores = np.full((count, k), NOBODY, np.int32), np.full((count, k), LOWEST, np.float32)
    if len(rows):
        width = order.shape[1]
        found[:, :width] = np.where(there, items[place], NOBODY)
        scores[:, :width] = np.where(there, values[place], LOWEST)
    return found, scores


def _best_of_row(row: Floats, k: int) -> tuple[Codes, Floats]:
    found, scores = np.full((1, k), NOBODY, np.int32), np.full((1, k), LOWEST, np.float32)
    places = np.flatnonzero(_first(row, k))
    order = places[np.argsort(-row[places], kind="stable")]
    found[0, : len(order)], scores[0, : len(order)] = order, row[order]
    return found, scores


def _first(row: Floats, k: int) -> npt.NDArray[np.bool_]:
    """The k largest, of ties the first."""
    least = max(np.partition(row, len(row) - k)[len(row) - k] if len(row) > k else LEAST, LEAST)
    chosen: npt.NDArray[np.bool_] = row > least
    ties = np.flatnonzero(row == least)
    chosen[ties[: k - np.count_nonzero(chosen)]] = True
    return chosen
