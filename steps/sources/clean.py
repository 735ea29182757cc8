"""From purchases as they were written to codes and numbers; a row that cannot be used is kept apart with its reason."""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import polars as pl

from steps.models.events import Kinds
from steps.runtime.errors import BadDataError, UsageError
from steps.sources import times
from steps.sources.events import kinds_of
from steps.sources.found import BROKEN, Found, Part
from steps.sources.tables import first_line

log = logging.getLogger(__name__)

LONGEST_ID = 256
COMMONEST = 3
SHOWN = 80
MICROSECONDS, BOUGHT = "_microseconds", "_bought"
FINE, BLANK, ZERO = 0, 254, 255
"""Marks of a row beside the numbers of reasons; a blank line and a weight of zero are neither purchase nor error."""

REASONS = {
    1: ("user", "the user is missing"),
    2: ("user", "the user's id has a NUL character"),
    3: ("user", f"the user's id is longer than {LONGEST_ID} bytes"),
    4: ("item", "the item is missing"),
    5: ("item", "the item's id has a NUL character"),
    6: ("item", f"the item's id is longer than {LONGEST_ID} bytes"),
    7: ("time", "the time is missing"),
    8: ("time", "the time cannot be read"),
    9: ("time", "the time is not between 1900 and 2200"),
    10: ("weight", "the weight is missing"),
    11: ("weight", "the weight is not a number"),
    12: ("weight", "the weight is not finite"),
    13: ("event", "the event is missing"),
    14: ("event", "the event is not among --event-weights"),
    15: ("time", "the time may be day/month or month/day"),
    16: (BROKEN, "the line is not CSV"),
}
UNREAD = 8
UNREAD_TIME = (UNREAD, 15)
ID_REASONS = {"user": (1, 2, 3), "item": (4, 5, 6)}
REJECT_COLUMNS = {"file": pl.String, "row": pl.Int64, "reason": pl.String, "value": pl.String}
Marks = npt.NDArray[np.uint8]
Codes = npt.NDArray[np.int32]
Result = TypeVar("Result")
Places = npt.NDArray[np.intp]
Number = TypeVar("Number", bound=np.generic)


@dataclass(frozen=True)
class Clean:
    """Purchases that can be used, and those that cannot."""

    purchases: pl.DataFrame
    """user and item (Int32 codes), weight (Float32), and where there are time (Int64 microseconds) and event (Int8)."""
    users: pl.DataFrame
    """id in the order of UTF-8 bytes, and features."""
    items: pl.DataFrame
    rejects: pl.DataFrame
    """file, row (from 1), reason, value."""
    rows: int
    weightless: int
    """Rows of weight zero, which were left out."""
    kinds: Kinds | None = None
    """The kinds of event, where there are several."""
    led: npt.NDArray[np.bool_] | None = None
    """Of each purchase whether only a list of ours has led to it; nothing where that is so of none."""


@dataclass(frozen=True)
class _Read:
    """The rows of all parts as numbers, those that cannot be used among them."""

    parts: tuple[Part, ...]
    sizes: tuple[int, ...]
    frame: pl.DataFrame
    mark: Marks


def clean(found: Found, event_weights: Mapping[str, float], max_rejects: float) -> Clean:
    """Checks every row; BadDataError when more than the share `max_rejects` cannot be used, or nothing is left."""
    if event_weights and not any("event" in part.rows.collect_schema() for part in found.parts):
        raise UsageError(f"--event-weights is given, but {found.about} has no column that names the kind of event")
    read = _read_all(found, event_weights)
    frame, mark = read.frame, read.mark
    if not len(mark):
        raise BadDataError(f"{found.about} has no purchases: it is empty")
    users, items = _Ids.of(frame["user"]), _Ids.of(frame["item"])
    for name, ids in (("user", users), ("item", items)):
        _mark_unusable(ids, name, mark)
    bad = np.flatnonzero((mark != FINE) & (mark < BLANK))
    if len(bad) > max_rejects * len(mark):
        raise BadDataError(_too_many(read, bad, max_rejects))
    fine = mark == FINE
    if not (frame["weight"].to_numpy()[fine] > 0).any():
        raise BadDataError(f"{found.about} has no purchase of a weight above 0 among its {len(mark)} rows")
    kinds, event = (
        kinds_of(frame["event"].filter(fine), event_weights, found.about) if "event" in frame else (None, None)
    )
    names = _names(frame.filter(fine)) if "name" in frame.columns else None
    chosen = slice(None) if fine.all() else fine  # of many rows a copy takes a while
    user_table, user = _table(users, users.of_row[chosen], found.users, "users")
    item_table, item = _table(items, items.of_row[chosen], _with_names(found.items, names), "items")
    columns: dict[str, npt.NDArray[np.generic]] = {"user": user, "item": item}
    for name in ("weight", "time"):
        if name in frame.columns:
            columns[name] = frame[name].to_numpy()[chosen]
    if event is not None:
        columns["event"] = event
    return Clean(
        purchases=pl.DataFrame(columns),
        users=user_table,
        items=item_table,
        rejects=_look(read, bad),
        rows=len(mark),
        weightless=int((mark == ZERO).sum()),
        kinds=kinds,
    )


def _read_all(found: Found, event_weights: Mapping[str, float]) -> _Read:
    parts = _Parts(found.parts)
    frames = [
        parts.attempt(number, lambda part: _read(part, event_weights, parts)) for number in range(len(parts.parts))
    ]
    telling = [part.name for part, one in zip(parts.parts, frames, strict=True) if "event" in one]
    silent = [part.name for part, one in zip(parts.parts, frames, strict=True) if "event" not in one]
    if telling and silent:
        raise UsageError(f"{telling[0]} has a column that names the kind of event, and {silent[0]} has none")
    frame = pl.concat(frames)
    sizes = tuple(one.height for one in frames)
    return _Read(tuple(parts.parts), sizes, frame.drop("mark"), frame["mark"].to_numpy().copy())


class _Parts:
    """The parts of a source, each replaced by its repaired form when it turns out that polars cannot read it."""

    def __init__(self, parts: Sequence[Part]) -> None:
        self.parts = list(parts)
        self._largest: list[tuple[int, int]] = []

    def attempt(self, number: int, read: Callable[[Part], Result]) -> Result:
        part = self.parts[number]
        try:
            return read(part)
        except pl.exceptions.PolarsError as error:
            if part.repaired is None:
                raise BadDataError(f"{part.name} cannot be read: {first_line(error)}") from error
            self.parts[number] = part.repaired()
            return read(self.parts[number])

    def months_first(self) -> bool | None:
        """How 01/02/2024 is meant, of which all parts together give evidence; asked of the files once."""
        if not self._largest:
            self._largest = [self.attempt(n, lambda part: times.largest(part.rows)) for n in range(len(self.parts))]
        return times.months_first(self._largest)


def _read(part: Part, event_weights: Mapping[str, float], parts: _Parts) -> pl.DataFrame:
    """One pass over a part; texts become numbers while they stream by, so that memory holds no id twice."""
    schema = part.rows.collect_schema()
    checks = _Checks(part.name, schema)
    columns = [checks.id("user", 1), checks.id("item", 4), checks.weight(event_weights).alias("weight")]
    rows, reading = part.rows, None
    if "time" in schema:
        reading = times.reading(part.rows, parts.months_first)
        # A column of its own, so that it is read once and not again for each check.
        rows = rows.with_columns(reading.expression.alias(MICROSECONDS))
        columns.append(checks.time(pl.col(MICROSECONDS)).alias("time"))
    if "name" in schema:
        columns.append(checks.text("name").cast(pl.Categorical))
    if "event" in schema:
        columns.append(checks.text("event").str.strip_chars().cast(pl.Categorical).alias("event"))
    frame = rows.select(*columns, checks.mark().alias("mark")).collect(engine="streaming")
    return frame if reading is None else _second_look(part, frame, parts, reading)


class _Checks:
    """Gathers what can be wrong with a row into one expression, the number of the first reason that holds."""

    def __init__(self, part: str, schema: pl.Schema) -> None:
        self.part = part
        self.schema = schema
        self.reasons: list[tuple[pl.Expr, int]] = []
        if BROKEN in schema:
            self.reasons.append((pl.col(BROKEN).fill_null("") != "", 16))
        self.reasons.append((pl.all_horizontal(pl.all().is_null()), BLANK))

    def text(self, name: str) -> pl.Expr:
        """A column as text; whole numbers that went through floating point lose their ".0" again."""
        kind, column = self.schema[name], pl.col(name)
        if kind.is_nested() or kind == pl.Object:
            raise UsageError(f"the column for {name} in {self.part} holds {kind}: it should hold texts or numbers")
        if kind.is_float() or kind.is_decimal():
            whole = column.cast(pl.Int64, strict=False)
            return (
                pl.when(whole == column)
                .then(whole.cast(pl.String))
                .otherwise(_without_nan(column, kind).cast(pl.String))
            )
        return column.cast(pl.String, strict=False)

    def id(self, name: str, missing: int) -> pl.Expr:
        text = self.text(name)
        self.reasons.append((text.is_null(), missing))
        return text.cast(pl.Categorical)

    def blank(self, name: str, reason: int) -> None:
        self.reasons.append((self.text(name).str.strip_chars().fill_null("") == "", reason))

    def time(self, microseconds: pl.Expr) -> pl.Expr:
        """Asked last, so that a time which the second look can read leaves no other reason unseen."""
        self.reasons.append((microseconds.is_null(), UNREAD))
        self.reasons.append((~times.in_range(microseconds), 9))
        return microseconds

    def weight(self, event_weights: Mapping[str, float]) -> pl.Expr:
        """The weight of a row: what the weight column says times what its event is worth."""
        result = pl.lit(1.0, pl.Float64)
        if "weight" in self.schema:
            self.blank("weight", 10)
            number = self._number("weight")
            self.reasons.append((number.is_null(), 11))
            result = number
        if "event" in self.schema:
            self.blank("event", 13)
        if "event" in self.schema and event_weights:
            event = self.text("event").str.strip_chars()
            worth = event.replace_strict(
                list(event_weights), list(event_weights.values()), default=None, return_dtype=pl.Float64
            )
            self.reasons.append((worth.is_null(), 14))
            result = result * worth
        result = result.cast(pl.Float32)
        self.reasons.append((~result.is_finite(), 12))
        self.reasons.append((result == 0, ZERO))
        return result

    def _number(self, name: str) -> pl.Expr:
        if self.schema[name].is_numeric():
            return pl.col(name).cast(pl.Float64)
        return self.text(name).str.strip_chars().cast(pl.Float64, strict=False)

    def mark(self) -> pl.Expr:
        result = pl.lit(FINE, pl.UInt8)
        for wrong, reason in reversed(self.reasons):
            result = pl.when(wrong).then(pl.lit(reason, pl.UInt8)).otherwise(result)
        return result


def _without_nan(column: pl.Expr, kind: pl.DataType) -> pl.Expr:
    return column.fill_nan(None) if kind.is_float() else column


def _second_look(part: Part, frame: pl.DataFrame, parts: _Parts, reading: times.Reading) -> pl.DataFrame:
    """Tries every format on the times that the quick way could not read, and says what is wrong with the others."""
    places = np.flatnonzero(frame["mark"].to_numpy() == UNREAD)
    if not len(places):
        return frame
    text = pl.col("time").cast(pl.String, strict=False)
    time = reading.expression if reading.thorough else times.anything(text, parts.months_first())
    again = _rows(part, places).select(
        time.alias("time"),
        pl.when(time.is_null())
        .then(
            pl.when(text.str.strip_chars().fill_null("") == "")
            .then(7)
            .when(times.undecided(text))
            .then(15)
            .otherwise(UNREAD)
        )
        .when(~times.in_range(time))
        .then(9)
        .otherwise(FINE)
        .cast(pl.UInt8)
        .alias("mark"),
    )
    return frame.with_columns(
        frame["time"].scatter(places, again["time"]),
        frame["mark"].scatter(places, again["mark"]),
    )


def _rows(part: Part, places: Places) -> pl.DataFrame:
    """Some rows of a part as they were written, with their numbers."""
    rows = part.rows.with_row_index("_place").filter(
        pl.col("_place").is_in(pl.Series(places, dtype=pl.UInt32).implode())
    )
    return rows.collect(engine="streaming").sort("_place")


@dataclass(frozen=True)
class _Ids:
    """The distinct ids of a column in their order, each with the number that its rows have."""

    texts: pl.Series
    numbers: Places
    of_row: npt.NDArray[np.uint32]
    """0 also where a row has no id."""

    @classmethod
    def of(cls, column: pl.Series) -> _Ids:
        of_row = column.to_physical().fill_null(0).to_numpy()
        row = np.full(int(of_row.max(initial=0)) + 1, -1, np.int64)  # any row that has the number
        if column.null_count():
            known = np.flatnonzero(column.is_not_null().to_numpy())
            row[of_row[known]] = known
        else:
            row[of_row] = np.arange(len(of_row), dtype=np.uint32)
        numbers = np.flatnonzero(row >= 0)
        texts = column.gather(row[numbers]).cast(pl.String)
        seen = pl.DataFrame({"text": texts, "number": numbers}).sort("text")  # in half the time of arg_sort
        return cls(seen["text"], seen["number"].to_numpy(), of_row)

    @property
    def size(self) -> int:
        """More than any number."""
        return int(self.numbers.max(initial=0)) + 1

    def by_number(self, values: npt.NDArray[Number], places: npt.NDArray[np.generic] | slice) -> npt.NDArray[Number]:
        """What belongs to some of the texts, for looking it up by a row's number."""
        found = np.zeros(self.size, values.dtype)
        found[self.numbers[places]] = values
        return found


def _mark_unusable(ids: _Ids, name: str, mark: Marks) -> None:
    """Marks the rows whose id cannot be used."""
    missing, nul, long = ID_REASONS[name]
    reason = np.zeros(len(ids.texts), np.uint8)
    reason[(ids.texts.str.len_bytes() > LONGEST_ID).to_numpy()] = long
    reason[ids.texts.str.contains("\0", literal=True).to_numpy()] = nul
    reason[(ids.texts.str.strip_chars() == "").to_numpy()] = missing
    if reason.any():
        unusable = ids.by_number(reason, slice(None))[ids.of_row]
        fresh = ((mark == FINE) | (mark == ZERO)) & (unusable != FINE)
        mark[fresh] = unusable[fresh]


def _table(
    ids: _Ids, numbers: npt.NDArray[np.uint32], listed: pl.DataFrame | None, what: str
) -> tuple[pl.DataFrame, Codes]:
    """The table of all ids that rows have, or that the source lists; and the rows' codes in its order."""
    used = np.zeros(ids.size, bool)
    used[numbers] = True
    among = used[ids.numbers]
    table = pl.DataFrame({"id": ids.texts.filter(pl.Series(among)), BOUGHT: True})
    if listed is not None:
        table = table.join(_usable(listed, what), on="id", how="full", coalesce=True).sort("id")
    codes = np.flatnonzero(table[BOUGHT].is_not_null().to_numpy()).astype(np.int32)
    return table.drop(BOUGHT), ids.by_number(codes, among)[numbers]


def _usable(listed: pl.DataFrame, what: str) -> pl.DataFrame:
    """A list of users or items without ids that purchases could not have, the first line of an id that comes twice."""
    flat = [name for name, kind in listed.schema.items() if not kind.is_nested()]
    text = pl.col("id").cast(pl.String)
    good = (
        listed.select(flat)
        .with_columns(text)
        .filter(
            text.str.strip_chars().fill_null("") != "",
            ~text.str.contains("\0", literal=True),
            text.str.len_bytes() <= LONGEST_ID,
        )
    )
    ids = good["id"]
    ascending = (ids[1:] > ids[:-1]).all()  # as most lists are: no id can come twice
    distinct = good if ascending else good.unique("id", keep="first", maintain_order=True)
    if distinct.height < listed.height:
        lost = listed.height - distinct.height
        log.warning("%d of %d listed %s have no usable id or repeat one: left out", lost, listed.height, what)
    return distinct


def _names(rows: pl.DataFrame) -> pl.DataFrame:
    """A name for each item that has one in its purchases; of several the first in the alphabet, whatever the order."""
    pairs = rows.select(pl.col("item").alias("id"), "name").unique().select(pl.all().cast(pl.String))
    named = pairs.filter(pl.col("name").str.strip_chars().fill_null("") != "")
    return named.group_by("id").agg(pl.col("name").min())


def _with_names(items: pl.DataFrame | None, names: pl.DataFrame | None) -> pl.DataFrame | None:
    if items is None or names is None:
        return names if items is None else items
    if "name" in items.columns:
        return items
    return items.with_columns(pl.col("id").cast(pl.String)).join(names, on="id", how="left", maintain_order="left")


def _look(read: _Read, bad: Places) -> pl.DataFrame:
    """The rows that cannot be used, with the value that is to blame."""
    tables, start = [pl.DataFrame(schema=REJECT_COLUMNS)], 0
    for part, size in zip(read.parts, read.sizes, strict=True):
        places = bad[(start <= bad) & (bad < start + size)] - start
        if len(places):
            tables.append(_blame(part, places, read.mark[places + start]))
        start += size
    return pl.concat(tables)


def _blame(part: Part, places: Places, marks: Marks) -> pl.DataFrame:
    rows = _rows(part, places).with_columns(pl.Series("_mark", marks))
    number = pl.col("row") if "row" in rows.columns else pl.col("_place") + 1
    value, reason = pl.lit(None, pl.String), pl.lit(None, pl.String)
    for mark, (column, sentence) in REASONS.items():
        if column in rows.columns:
            this = pl.col("_mark") == mark
            value = pl.when(this).then(pl.col(column).cast(pl.String, strict=False)).otherwise(value)
            reason = pl.when(this).then(pl.lit(sentence)).otherwise(reason)
    return rows.select(
        pl.lit(part.name).alias("file"),
        number.cast(pl.Int64).alias("row"),
        reason.alias("reason"),
        value.str.slice(0, SHOWN).alias("value"),
    )


def _too_many(read: _Read, bad: Places, max_rejects: float) -> str:
    """The sentence that ends the program: how many rows cannot be used, and why most of them cannot."""
    reasons, first, counts = np.unique(read.mark[bad], return_index=True, return_counts=True)
    commonest = np.argsort(-counts, kind="stable")[:COMMONEST]
    examples = _look(read, np.sort(bad[first[commonest]]))
    seen = {row["reason"]: row for row in examples.to_dicts()}
    causes = []
    for number in commonest:
        sentence = REASONS[int(reasons[number])][1]
        row = seen[sentence]
        value = "" if row["value"] is None else f": {row['value']!r}"
        causes.append(f"{counts[number]} × {sentence} (as in row {row['row']} of {row['file']}{value})")
    share = f"{100 * len(bad) / len(read.mark):.3g} %"
    if any(reasons[number] in UNREAD_TIME for number in commonest):
        causes.append(f"times that can be read are {times.FORMATS}")
    return (
        f"{len(bad)} of {len(read.mark)} rows ({share}) cannot be used, "
        f"and --max-rejects allows {100 * max_rejects:g} %: {'; '.join(causes)}"
    )
