"""What people call the items of a release, and what else is known of them: read from its snapshot once it answers."""

from __future__ import annotations

import logging
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from steps.artifacts import manifest
from steps.artifacts.dataset import id_table
from steps.artifacts.manifest import ITEMS
from steps.clients.object_store import Bucket
from steps.models.ids import UNKNOWN, Codes, IdTable
from steps.models.scorer import Scorer
from steps.runtime.errors import BadDataError, StepError, TryAgainError
from steps.serving.asgi import RefusedError

if TYPE_CHECKING:
    import polars as pl

log = logging.getLogger(__name__)

Value = str | int | float
NAME = "name"
FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0
"""Seconds before a catalogue that could not be read is asked for again."""


@dataclass(frozen=True)
class Column:
    """One thing that is known of the items, such as their category, in a few bytes an item."""

    codes: Codes
    """Of each item the place of its value, UNKNOWN where it has none."""
    values: IdTable
    """The different values, as texts."""
    numbers: npt.NDArray[np.float64] | None
    """The same as numbers, where all of them are."""
    shown_as_numbers: bool = False
    """Texts of digits, such as the numbers of articles, are shown as they are."""

    @classmethod
    def of(cls, series: pl.Series) -> Column:
        import polars as pl

        texts = series.cast(pl.String, strict=False)
        distinct = texts.drop_nulls().unique().sort()
        codes = np.full(len(texts), UNKNOWN, np.int32)
        if len(distinct):
            places = pl.int_range(len(distinct), eager=True, dtype=pl.Int32)
            found = texts.replace_strict(distinct, places, default=None, return_dtype=pl.Int32)
            codes = found.fill_null(UNKNOWN).to_numpy().astype(np.int32)
        numbers = distinct.cast(pl.Float64, strict=False)
        all_numbers = len(distinct) > 0 and not numbers.null_count()
        return cls(
            codes, id_table(distinct), numbers.to_numpy() if all_numbers else None, bool(series.dtype.is_numeric())
        )

    def value(self, item: int) -> Value | None:
        """Of an item, as it is shown."""
        code = int(self.codes[item])
        if code == UNKNOWN:
            return None
        if self.numbers is None or not self.shown_as_numbers:
            return self.values[code]
        number = float(self.numbers[code])
        if not np.isfinite(number):  # which JSON cannot say
            return self.values[code]
        return int(number) if number.is_integer() else number


@dataclass(frozen=True, eq=False)
class Catalogue:
    """The items of one release, by their codes."""

    items: IdTable
    columns: Mapping[str, Column]
    """All but the names."""
    names: Column | None
    order: Codes
    """The items, the most popular first."""
    text: str
    """Names and ids in that order, a line each, in small letters: what is searched."""
    begins: npt.NDArray[np.int64]
    """Where the lines of each item begin."""

    @classmethod
    def read(cls, data: Bucket, snapshot: str, scorer: Scorer, cache: Path) -> Catalogue:
        """From the snapshot that a model was trained on; raises StepError where it is gone, or another one."""
        import polars as pl

        record = manifest.records(manifest.read(data, snapshot), snapshot)[ITEMS]
        with tempfile.TemporaryDirectory(prefix="items-", dir=cache) as folder:
            found = data.fetch(manifest.prefix(snapshot), {ITEMS: record}, Path(folder))
            table = pl.read_parquet(found / ITEMS, memory_map=False)
        return cls.of(table, scorer)

    @classmethod
    def of(cls, table: pl.DataFrame, scorer: Scorer) -> Catalogue:
        """From the table of a snapshot's items, which has to be that of the model's items."""
        import polars as pl

        ids = id_table(table["id"])
        own = scorer.items
        if not (np.array_equal(ids.offsets, own.offsets) and np.array_equal(ids.text, own.text)):
            raise BadDataError(f"the snapshot has {len(ids)} items, and not the {len(own)} that the model knows")
        order = np.argsort(-np.asarray(scorer.popularity), kind="stable").astype(np.int32)
        called = table[NAME].cast(pl.String, strict=False) if NAME in table.columns else table["id"]
        lines = _plain(called.fill_null(table["id"])) + "\n" + _plain(table["id"]) + "\n"
        lines = lines.gather(order)
        begins = np.cumsum(lines.str.len_chars().to_numpy().astype(np.int64))
        return cls(
            items=own,
            columns={name: Column.of(table[name]) for name in table.columns if name not in ("id", NAME)},
            names=Column.of(table[NAME]) if NAME in table.columns else None,
            order=order,
            text="".join(lines.str.join("").to_list()),
            begins=np.concatenate([np.zeros(1, np.int64), begins[:-1]]) if len(begins) else begins,
        )

    def name(self, item: int) -> str:
        """What people call an item; its id where it has no name."""
        named = self.names.value(item) if self.names else None
        return self.items[item] if named is None else str(named)

    def about(self, item: int) -> dict[str, Value | None]:
        """All that is known of an item."""
        return {name: column.value(item) for name, column in self.columns.items()}

    def search(self, text: str, k: int) -> list[int]:
        """The most popular items with this in their name or id, however it is written; of an empty text all items."""
        wanted = " ".join(text.lower().split())
        if not wanted:
            return [int(item) for item in self.order[:k]]
        found: list[int] = []
        start = 0
        while len(found) < k:
            place = self.text.find(wanted, start)
            if place < 0:
                break
            row = int(np.searchsorted(self.begins, place, side="right")) - 1
            found.append(int(self.order[row]))
            if row + 1 == len(self.begins):
                break
            start = int(self.begins[row + 1])
        return found


def _plain(texts: pl.Series) -> pl.Series:
    """In small letters on one line, as what is searched for is made too."""
    return texts.str.to_lowercase().str.replace_all(r"\s+", " ").str.strip_chars()


class Shelf:
    """Where the catalogue of a model comes to lie, in its own time: the model answers long before."""

    def __init__(self) -> None:
        self.catalogue: Catalogue | None = None
        self.problem = "the items' names and columns have not been read yet"
        self.passing = True
        """Whether the problem may go by itself, and soon."""
        self._pause, self._again = FIRST_PAUSE, 0.0

    def fill(self, read: Callable[[], Catalogue]) -> None:
        """Reads it, unless it is there; whatever is wrong with it is told, and harms nobody."""
        if self.catalogue is not None or time.monotonic() < self._again:
            return
        began = time.perf_counter()
        try:
            self.catalogue = read()
        except Exception as error:
            self.problem = str(error) if isinstance(error, StepError) else f"{type(error).__name__}: {error}"
            self.passing = isinstance(error, TryAgainError)
            self._again, self._pause = time.monotonic() + self._pause, min(2 * self._pause, LONGEST_PAUSE)
            log.warning(
                "items go without names and columns: %s", self.problem, exc_info=not isinstance(error, StepError)
            )
            return
        self.problem, seconds = "", time.perf_counter() - began
        log.info("names of %d items are read, in %.2f s", len(self.catalogue.items), seconds)

    def required(self) -> Catalogue:
        """For a question that cannot be answered without."""
        catalogue = self.catalogue
        if catalogue is not None:
            return catalogue
        if self.passing:
            raise RefusedError(503, self.problem, {"Retry-After": "5"})
        raise RefusedError(501, f"there are no names and columns of the items: {self.problem}")
