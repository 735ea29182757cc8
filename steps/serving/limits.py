"""What a list may hold of a release's items, what comes first, and how many of a kind: by a request, and by the shop.

All of it is exact: a list is what somebody would get who ordered every item by its score and then left out what may
not be there. Few items that are not allowed are hidden, few that are allowed are scored alone. Else the best are asked
for, more of them until enough are left that may be there; where scores are multiplied, until no other item could still
come before these.
"""

from __future__ import annotations

import logging
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from steps.artifacts.shop_rules import Boost, Chosen, ShopRules, Value
from steps.models.ids import UNKNOWN, Codes, IdTable
from steps.models.recommender import NOBODY, Floats, Recommendations
from steps.serving.asgi import RefusedError
from steps.serving.catalogue import Catalogue, Column, Shelf

if TYPE_CHECKING:
    from steps.serving.messages import Recommend

log = logging.getLogger(__name__)

FEW = 4096
"""Items that are allowed are scored alone where they are no more; as many may be hidden one by one."""
MOST_KEPT = 100
"""Values that a request names, if what they mean is to be kept for the next one."""
MORE = 4
"""Times as many are asked for where too few were left."""

Mask = npt.NDArray[np.bool_]
Ranked = Callable[[int], Recommendations]
"""So many of the best items, in one row."""
NONE: Codes = np.zeros(0, np.int32)


@dataclass(frozen=True)
class Limits:
    """What is asked of one list."""

    only: Chosen = ()
    ranges: tuple[tuple[str, float, float], ...] = ()
    most_of_each: tuple[tuple[str, int], ...] = ()
    rules: ShopRules | None = None
    """What the shop asks of every list."""

    @property
    def large(self) -> bool:
        """Whether there is so much of it that nobody will keep it for the next time."""
        return sum(len(values) for _, values in self.only) > MOST_KEPT

    @property
    def columns(self) -> bool:
        """Whether the request speaks of columns."""
        return bool(self.only or self.ranges or self.most_of_each)


def limits_of(asked: Recommend, rules: ShopRules | None) -> Limits | None:
    """What a request asks for, with what the shop does; None where neither asks for anything."""
    if asked.only is None and asked.ranges is None and asked.most_of_each is None:
        return None if rules is None else Limits(rules=rules)
    only = tuple((column, tuple(map(_told, values))) for column, values in (asked.only or {}).items())
    ranges = tuple(
        (column, -math.inf if one.least is None else one.least, math.inf if one.most is None else one.most)
        for column, one in (asked.ranges or {}).items()
    )
    return Limits(only, ranges, tuple((asked.most_of_each or {}).items()), rules)


def _told(value: Value) -> Value:
    """A value that is equal to no other which means something else: true is not 1."""
    return _as_text(value) if isinstance(value, bool) else value


@dataclass(frozen=True, eq=False)
class Choice:
    """The same for the items of one release, by their codes."""

    allowed: Mask
    few: Codes | None
    """Those that are allowed, where they are few."""
    hidden: Codes
    """Those that are not, where they are few; else none."""
    only_hides: bool
    """Whether these are all that there is to say: lists are then made together with all others."""
    times: Floats | None
    """By what scores are multiplied; negative ones are divided, so that what is boosted never falls."""
    most: tuple[tuple[Codes, int], ...]
    """Values of the items in a column, and how many of each a list may hold."""
    room: int
    """So many items a list can hold at most, however many are asked for."""

    @classmethod
    def of(cls, limits: Limits, items: IdTable, shelf: Shelf, catalogue: Catalogue | None) -> Choice:
        """Raises RefusedError where a request speaks of a column that is not there, or not yet."""
        if limits.columns and catalogue is None:
            catalogue = shelf.required()
        allowed = np.ones(len(items), np.bool_)
        most: list[tuple[Codes, int]] = []
        times = None
        if limits.columns and catalogue is not None:
            for name, values in limits.only:
                allowed &= having(_column(catalogue, name), values)
            for name, least, largest in limits.ranges:
                allowed &= within(name, _column(catalogue, name), least, largest)
            most = [(_column(catalogue, name).codes, number) for name, number in limits.most_of_each]
        if limits.rules is not None:
            columns = catalogue.columns if catalogue is not None else {}
            allowed &= _by_rules(limits.rules, items, columns)
            most += [(columns[name].codes, number) for name, number in limits.rules.most_of_each if name in columns]
            times = _times(limits.rules.boosts, items, columns)
        count = int(np.count_nonzero(allowed))
        few = np.flatnonzero(allowed).astype(np.int32) if count <= FEW else None
        all_hidden = len(items) - count <= FEW
        hidden = np.flatnonzero(~allowed).astype(np.int32) if all_hidden else NONE
        only_hides = all_hidden and times is None and not most
        room = min((_room(codes[allowed], number) for codes, number in most), default=count)
        return cls(allowed, few, hidden, only_hides, times, tuple(most), room)

    def best(self, ranked: Ranked, k: int) -> Recommendations:
        """The k best of what is allowed, asking for as many as that takes."""
        k, count = min(k, self.room), len(self.allowed)
        share = max(int(np.count_nonzero(self.allowed)), 1) / max(count, 1)
        wanted = math.ceil(1.5 * k / share) + 16
        if self.most or self.times is not None:
            wanted *= MORE
        while True:
            wanted = min(wanted, count)
            found = ranked(wanted)
            items, scores = found.items[0], found.scores[0]
            there = items != NOBODY
            items, scores = items[there], scores[there]
            all_of_them = wanted == count or len(items) < wanted
            last = float(scores[-1]) if len(scores) else 0.0
            kept = self.allowed[items]
            items, scores = self.ordered(items[kept], scores[kept], k)
            if all_of_them or (len(items) == k and (not k or self._no_other(float(scores[-1]), last))):
                return Recommendations(items[None], scores[None], found.known)
            wanted *= MORE

    def _no_other(self, kth: float, last: float) -> bool:
        """Whether no item with a score below the last one could come before the kth."""
        if self.times is None:
            return True
        most = max(1.0, float(self.times.max(initial=1.0)))
        return kth > (last * most if last > 0 else last / most)

    def ordered(self, items: Codes, scores: Floats, k: int) -> tuple[Codes, Floats]:
        """The k best of these, boosted, no more of a kind than may be; ties go to the lower code."""
        if self.times is not None:
            times = self.times[items]
            scores = np.where(scores > 0, scores * times, scores / times).astype(np.float32)
        order = np.lexsort((items, -scores))
        items, scores = items[order], scores[order]
        if not self.most:
            return items[:k], scores[:k]
        taken = np.fromiter(self._few_of_each(items, k), np.intp)
        return items[taken], scores[taken]

    def _few_of_each(self, items: Codes, k: int) -> Iterable[int]:
        """The places of items that may be in one list, in their order."""
        counts: list[dict[int, int]] = [{} for _ in self.most]
        taken = 0
        for place, item in enumerate(items.tolist()):
            values = [int(codes[item]) for codes, _ in self.most]
            full = (
                value != UNKNOWN and count.get(value, 0) >= number
                for value, count, (_, number) in zip(values, counts, self.most, strict=True)
            )
            if any(full):
                continue
            for value, count in zip(values, counts, strict=True):
                count[value] = count.get(value, 0) + 1
            yield place
            taken += 1
            if taken == k:
                return


def _room(values: Codes, number: int) -> int:
    """Of items with these values, at most so many of each, and all that have none."""
    known = values[values != UNKNOWN]
    return int(len(values) - len(known) + np.minimum(np.bincount(known), number).sum())


def having(column: Column, values: Iterable[Value]) -> Mask:
    """The items with one of these values."""
    chosen = np.zeros(len(column.values) + 1, np.bool_)  # the last is for items without a value
    for value in values:
        if isinstance(value, float) and column.numbers is not None:
            chosen[:-1] |= column.numbers == value
        else:
            code = column.values.code(_as_text(value))
            if code != UNKNOWN:
                chosen[code] = True
    return chosen[column.codes]


def within(name: str, column: Column, least: float, largest: float) -> Mask:
    """The items with a number from the one to the other."""
    if column.numbers is None:
        raise RefusedError(422, f"column {name!r} holds no numbers: a range of it cannot be had")
    chosen = np.zeros(len(column.values) + 1, np.bool_)
    chosen[:-1] = (column.numbers >= least) & (column.numbers <= largest)
    return chosen[column.codes]


def _as_text(value: Value) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float):
        return str(int(value)) if value.is_integer() else repr(value)
    return value


def _column(catalogue: Catalogue, name: str) -> Column:
    column = catalogue.columns.get(name)
    if column is None:
        there = ", ".join(catalogue.columns) or "none at all"
        raise RefusedError(422, f"the items have no column {name[:100]!r}; they have {there}")
    return column


def _by_rules(rules: ShopRules, items: IdTable, columns: Mapping[str, Column]) -> Mask:
    """What the shop allows. Of columns that are not there nothing can be said: that is told elsewhere."""
    allowed = np.ones(len(items), np.bool_)
    gone = items.codes(rules.unavailable)
    allowed[gone[gone != UNKNOWN]] = False
    for name, values in rules.only:
        if name in columns:
            allowed &= having(columns[name], values)
    for name, values in rules.exclude:
        if name in columns:
            allowed &= ~having(columns[name], values)
    return allowed


def _times(boosts: Iterable[Boost], items: IdTable, columns: Mapping[str, Column]) -> Floats | None:
    """By what the score of each item is multiplied; None where that is 1 for all."""
    times = np.ones(len(items), np.float32)
    for boost in boosts:
        if boost.item:
            code = items.code(boost.item)
            if code != UNKNOWN:
                times[code] *= boost.times
        elif boost.column in columns:
            times[having(columns[boost.column], [boost.value])] *= boost.times
    return times if (times != 1).any() else None
