"""From people who know the shop to the model servers: what no list may hold, and what comes first."""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from steps.artifacts import names, records
from steps.clients.object_store import Bucket, ObjectMissingError
from steps.runtime.errors import BadDataError

MOST_BYTES = 16 << 20
LONGEST_ID = 256
LARGEST_BOOST = 1000.0
"""And its inverse the smallest: what is to be in no list at all is unavailable."""

Value = str | float | bool
Chosen = tuple[tuple[str, tuple[Value, ...]], ...]
"""Columns, and values of each."""
Result = TypeVar("Result")


@dataclass(frozen=True)
class Boost:
    """Multiplies the scores of one item, or of those with a value in a column."""

    times: float
    item: str = ""
    column: str = ""
    value: Value = ""

    @classmethod
    def from_json(cls, told: object) -> Boost:
        if not isinstance(told, Mapping) or set(told) not in ({"item", "times"}, {"column", "value", "times"}):
            raise BadDataError(
                f'a boost is {{"item": …, "times": …}} or {{"column": …, "value": …, "times": …}}, not {_shown(told)}'
            )
        times = told["times"]
        if not _is_number(times) or not 1 / LARGEST_BOOST <= times <= LARGEST_BOOST:
            raise BadDataError(
                f"times of a boost is {_shown(times)}: {1 / LARGEST_BOOST:g} to {LARGEST_BOOST:g} are allowed"
            )
        if "item" in told:
            return cls(float(times), item=_text("item of a boost", told["item"]))
        column = _text("column of a boost", told["column"])
        return cls(float(times), column=column, value=_value("value of a boost", told["value"]))

    def as_json(self) -> dict[str, Any]:
        about = {"item": self.item} if self.item else {"column": self.column, "value": self.value}
        return {**about, "times": self.times}


@dataclass(frozen=True, eq=False)
class ShopRules:
    """What holds for every list, beside what a request asks for."""

    unavailable: tuple[str, ...] = ()
    """Items that are in no list."""
    only: Chosen = ()
    """Of each of these columns, a list holds items with one of these values alone."""
    exclude: Chosen = ()
    """Of each of these columns, a list holds no items with one of these values."""
    boosts: tuple[Boost, ...] = ()
    most_of_each: tuple[tuple[str, int], ...] = ()
    """Of each value of a column, a list holds at most so many items."""

    @classmethod
    def from_json(cls, told: object) -> ShopRules:
        """Checks what somebody wrote; BadDataError with one sentence for the first thing that is wrong."""
        if not isinstance(told, Mapping):
            raise BadDataError(f"rules are a JSON object, and this is {_shown(told)}")
        unknown = sorted(set(told) - set(PARTS))
        if unknown:
            raise BadDataError(f"rules have no {_shown(unknown[0])}; they may have {', '.join(PARTS)}")
        return cls(**{name: PARTS[name](name, part) for name, part in told.items()})

    def as_json(self) -> dict[str, Any]:
        """In the form in which they are written."""
        return {
            "unavailable": list(self.unavailable),
            "only": {column: list(values) for column, values in self.only},
            "exclude": {column: list(values) for column, values in self.exclude},
            "boosts": [boost.as_json() for boost in self.boosts],
            "most_of_each": dict(self.most_of_each),
        }

    def __bool__(self) -> bool:
        """Whether they ask for anything."""
        return bool(self.unavailable or self.only or self.exclude or self.boosts or self.most_of_each)

    @property
    def columns(self) -> set[str]:
        """Those that they speak of."""
        pairs = (*self.only, *self.exclude, *self.most_of_each)
        return {column for column, _ in pairs} | {boost.column for boost in self.boosts if boost.column}


def parse(content: bytes) -> ShopRules:
    """The rules of a file; BadDataError in a sentence where it holds none."""
    if len(content) > MOST_BYTES:
        raise BadDataError(f"{names.RULES} has {len(content)} bytes; {MOST_BYTES} are allowed")
    try:
        told = json.loads(content)
    except (ValueError, RecursionError) as error:
        raise BadDataError(f"{names.RULES} is not JSON: {error}") from error
    try:
        return ShopRules.from_json(told)
    except BadDataError as error:
        raise BadDataError(f"{names.RULES}: {error}") from error


def content(models: Bucket) -> bytes | None:
    """What lies there, whether it is right or wrong; None where nobody has made rules."""
    try:
        return models.get(names.RULES)
    except ObjectMissingError:
        return None


def write(models: Bucket, rules: ShopRules) -> None:
    """In place of those that were there: whole, or not at all."""
    models.put(names.RULES, records.encode(rules.as_json()))


def _ids(name: str, told: object) -> tuple[str, ...]:
    if not isinstance(told, list):
        raise BadDataError(f"{name} is {_shown(told)}: a list of items is required")
    return tuple(dict.fromkeys(_text(f"an item of {name}", one) for one in told))


def _chosen(name: str, told: object) -> Chosen:
    if not isinstance(told, Mapping):
        raise BadDataError(f'{name} is {_shown(told)}: {{"column": [values]}} is required')
    return tuple(
        (_text(f"a column of {name}", column), _values(name, column, values)) for column, values in told.items()
    )


def _values(name: str, column: str, told: object) -> tuple[Value, ...]:
    if not isinstance(told, list) or not told:
        raise BadDataError(f"{name} has for column {_shown(column)} {_shown(told)}: a list of values is required")
    return tuple(_value(f"a value of column {_shown(column)} of {name}", one) for one in told)


def _boosts(name: str, told: object) -> tuple[Boost, ...]:
    if not isinstance(told, list):
        raise BadDataError(f"{name} is {_shown(told)}: a list is required")
    return tuple(map(Boost.from_json, told))


def _most(name: str, told: object) -> tuple[tuple[str, int], ...]:
    if not isinstance(told, Mapping):
        raise BadDataError(f'{name} is {_shown(told)}: {{"column": how many}} is required')
    for column, most in told.items():
        if not isinstance(most, int) or isinstance(most, bool) or not 1 <= most <= 1000:
            raise BadDataError(f"{name} of column {_shown(column)} is {_shown(most)}: 1 to 1000 is allowed")
    return tuple((_text(f"a column of {name}", column), most) for column, most in told.items())


PARTS: Mapping[str, Callable[[str, object], Any]] = {
    "unavailable": _ids,
    "only": _chosen,
    "exclude": _chosen,
    "boosts": _boosts,
    "most_of_each": _most,
}


def _text(what: str, told: object) -> str:
    if not isinstance(told, str) or not 1 <= len(told) <= LONGEST_ID:
        raise BadDataError(f"{what} is {_shown(told)}: a text of 1 to {LONGEST_ID} letters is required")
    try:
        told.encode()
    except UnicodeEncodeError as error:  # half of a pair, which JSON can write and nothing can send on
        raise BadDataError(f"{what} is {_shown(told)}: that is no Unicode text") from error
    return told


def _value(what: str, told: object) -> Value:
    if isinstance(told, str):
        return _text(what, told) if told else told
    if isinstance(told, bool):
        return told
    if not _is_number(told):
        raise BadDataError(f"{what} is {_shown(told)}: a text, a number, true or false is required")
    return float(told)  # type: ignore[arg-type]


def _is_number(told: object) -> bool:
    if not isinstance(told, int | float) or isinstance(told, bool):
        return False
    try:
        return math.isfinite(told)
    except OverflowError:  # a whole number beyond all floats
        return False


def _shown(value: object) -> str:
    """A value for a sentence: short and on one line."""
    text = ascii(value)
    return text if len(text) <= 60 else f"{text[:57]}…"
