"""The snapshot: purchases with their split, named by the hash of their content, written once and never changed."""

from __future__ import annotations

import hashlib
import json
import tempfile
from collections.abc import Callable, Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from enum import IntEnum
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.artifacts import counting, manifest, packing, pairs
from steps.artifacts.manifest import FORMAT, ITEMS, PURCHASES, REJECTS, USERS, prefix
from steps.artifacts.pairs import Matrices
from steps.clients.object_store import FileRecord, ObjectExistsError, Store, remove_folder
from steps.models.events import Kinds
from steps.models.ids import UNKNOWN, IdTable
from steps.models.interactions import Details, History, Interactions
from steps.runtime.errors import TryAgainError, UsageError

if TYPE_CHECKING:
    import polars as pl

# Programs ask here for all that they want to know of a snapshot.
exists, counts = manifest.exists, manifest.counts

COLUMNS = ("user", "item", "weight", "time", "event", "split")
ROW_GROUP = 1 << 20
MOST_CLASSES, CLASSES = 100, 10
"""A column with more values than the first gives the second's number of classes, where the values are numbers."""


class Split(IntEnum):
    """Which part of the purchases a purchase belongs to."""

    TRAIN = 0
    VALIDATION = 1
    TEST = 2


SPLITS = tuple(split.name.lower() for split in Split)


@dataclass(frozen=True)
class Dataset:
    """A snapshot: its arrays have one entry a purchase, ordered by user, time and item."""

    id: str
    users: IdTable
    items: IdTable
    table: Callable[[], pl.DataFrame]
    """Reads the single purchases; what is learned from their sums alone needs none of them."""
    item_names: list[str] | None
    """What people call the items, in the order of `items`; the id where an item has no name."""
    manifest: dict[str, Any]
    folder: Path
    """Where the files of the snapshot are, for what is read only when it is asked for."""
    kinds: Kinds | None = None
    """Kinds of event, where the source told several apart."""
    summed: Matrices = field(default_factory=dict)
    """The summed weights of pairs by the names of the splits, where no events have to be weighed before."""

    def __len__(self) -> int:
        return len(self.user)

    @cached_property
    def _purchases(self) -> pl.DataFrame:
        return self.table()

    @cached_property
    def user(self) -> npt.NDArray[np.int32]:
        return self._purchases["user"].to_numpy()

    @cached_property
    def item(self) -> npt.NDArray[np.int32]:
        return self._purchases["item"].to_numpy()

    @cached_property
    def weight(self) -> npt.NDArray[np.float32]:
        """Negative where the event was a dislike."""
        return self._purchases["weight"].to_numpy()

    @cached_property
    def time(self) -> npt.NDArray[np.int64] | None:
        """Microseconds since 1970 (UTC); None where the source has no times."""
        return self._purchases["time"].to_physical().to_numpy() if "time" in self._purchases.columns else None

    @cached_property
    def split(self) -> npt.NDArray[np.int8]:
        return self._purchases["split"].to_numpy()

    @cached_property
    def event(self) -> npt.NDArray[np.int8] | None:
        """The code of each one's kind."""
        return self._purchases["event"].to_numpy() if "event" in self._purchases.columns else None

    def interactions(self, *splits: Split, worth: Mapping[str, float] | None = None) -> Interactions:
        """What there is to learn from in some splits, or in all when none is named: the summed weights of pairs.

        `worth` says what kinds of event count that are no purchases; those that it does not name are left out.
        """
        details = Details(
            lambda: self._history(splits, worth or {}),
            lambda: _features(self.folder / USERS),
            lambda: _features(self.folder / ITEMS),
        )
        if self.summed:
            return Interactions(self.users, self.items, pairs.together(self._pairs(splits)), details)
        history = self._history(splits, worth or {})
        return Interactions.of(self.users, self.items, history.user, history.item, history.weight, details)

    def bought(self, *splits: Split) -> sp.csr_matrix:
        """Only the purchases, whatever else is learned from: what is held out and judged by."""
        if self.summed:
            return pairs.together(self._pairs(splits))
        chosen = self._among(splits) & self.purchase
        return Interactions.of(self.users, self.items, self.user[chosen], self.item[chosen], self.weight[chosen]).matrix

    @cached_property
    def purchase(self) -> npt.NDArray[np.bool_]:
        """Of each entry whether it is a purchase, and not some other event."""
        if self.kinds is None or self.event is None:
            return np.ones(len(self), bool)
        return self.kinds.goal()[self.event]

    def segment(self, column: str) -> npt.NDArray[np.int32]:
        """Of each user the class that a column of the users gives it, UNKNOWN where it gives none."""
        return _classes(self.folder / USERS, column)

    @cached_property
    def seen(self) -> sp.csr_matrix:
        """What is not shown again: every pair that met in a purchase or a dislike, also where both add up to zero."""
        if self.summed:
            return pairs.met(list(self.summed.values()))
        met = self.purchase | (self.weight < 0)
        ones = np.ones(int(met.sum()), np.float32)
        return Interactions.of(self.users, self.items, self.user[met], self.item[met], ones).matrix

    def _among(self, splits: tuple[Split, ...]) -> npt.NDArray[np.bool_]:
        if not splits:
            return np.ones(len(self), bool)
        return np.isin(self.split, [int(split) for split in splits])

    def _pairs(self, splits: tuple[Split, ...]) -> list[sp.csr_matrix]:
        return [self.summed[split.name.lower()] for split in splits or tuple(Split)]

    def _history(self, splits: tuple[Split, ...], worth: Mapping[str, float]) -> History:
        weight = self.weight
        if self.kinds is not None and self.event is not None:
            weight = weight * self.kinds.factors(worth)[self.event]
        chosen = self._among(splits) & (weight != 0)
        time = self.time[chosen] if self.time is not None else None
        return History(self.user[chosen], self.item[chosen], weight[chosen], time)


@dataclass(frozen=True)
class Draft:
    """Purchases on their way into a snapshot."""

    purchases: pl.DataFrame
    """user and item (Int32 codes), weight (Float32), time (Int64 microseconds, where there is one), split (Int8)."""
    users: pl.DataFrame
    """id, in the order of UTF-8 bytes: its place is the code; any further columns are features."""
    items: pl.DataFrame
    """id, name where the source has one, and features."""
    rejects: pl.DataFrame
    kinds: Kinds | None = None
    """Where the purchases have a column `event` (Int8), what its codes mean."""
    about: Mapping[str, object] = field(default_factory=dict)
    """What the manifest says of the origin: source, split, revision. Not part of the identity."""


@dataclass(frozen=True)
class Published:
    """What `publish` did."""

    id: str
    new: bool
    manifest: dict[str, Any]


def publish(store: Store, draft: Draft) -> Published:
    """Writes a snapshot, the manifest last; purchases that are published already are found and left as they are."""
    purchases = _ordered(draft.purchases)
    content = _hash(purchases, draft)
    snapshot = f"s-{content[:16]}"
    found = manifest.used_again(store.data, snapshot)
    if found is not None:
        return Published(snapshot, False, found)
    with tempfile.TemporaryDirectory(prefix="snapshot-") as folder:
        with ThreadPoolExecutor(1) as beside:  # summing up is a loop on one processor
            written = beside.submit(_write_tables, Path(folder), purchases, draft)
            matrices = _pairs(purchases, draft)
            numbers = _counts(purchases, draft, matrices)
            written.result()
        _write_pairs(Path(folder), matrices)
        records = store.data.upload(Path(folder), prefix(snapshot))
    told = {
        "format": FORMAT,
        "snapshot": snapshot,
        "content": content,
        "created": datetime.now(UTC).isoformat(timespec="seconds"),
        "counts": numbers,
        "time": counting.time_range(purchases),
        "kinds": asdict(draft.kinds) if draft.kinds else None,
        **draft.about,
        "libraries": counting.libraries(),
        "files": {name: {"sha256": record.sha256, "size": record.size} for name, record in records.items()},
    }
    try:
        manifest.create(store.data, snapshot, told)
    except ObjectExistsError:  # another publisher of the same purchases was first: its manifest stands
        return Published(snapshot, False, manifest.read(store.data, snapshot))
    return Published(snapshot, True, told)


def load(store: Store, snapshot: str, cache: Path) -> Dataset:
    """Reads a snapshot through a local folder, which later loads use again; files must be what was recorded."""
    import polars as pl

    told = manifest.read(store.data, snapshot)
    folder = cache / prefix(snapshot)
    records = manifest.records(told, snapshot)
    if folder.exists() and any(
        not (folder / name).is_file() or FileRecord.of(folder / name) != record for name, record in records.items()
    ):
        remove_folder(folder)
    folder = store.data.fetch(prefix(snapshot), records, cache)
    users, items = pl.read_parquet(folder / USERS, columns=["id"]), pl.read_parquet(folder / ITEMS)
    return Dataset(
        id=snapshot,
        table=lambda: pl.read_parquet(folder / PURCHASES),
        users=id_table(users["id"]),
        items=id_table(items["id"]),
        item_names=items["name"].fill_null(items["id"]).to_list() if "name" in items.columns else None,
        manifest=told,
        folder=folder,
        kinds=manifest.kinds(told),
        summed=pairs.read(folder, SPLITS, (users.height, items.height)),
    )


def _features(path: Path) -> sp.csr_matrix:
    """Every column of a table but the ids as words: names tell the kind of a thing too."""
    import polars as pl

    from steps.models.features import Column, bags

    table = pl.read_parquet(path).drop("id")
    columns = {}
    for name in table.columns:
        texts = table[name].cast(pl.String)
        distinct = texts.drop_nulls().unique().sort()
        codes = texts.replace_strict(distinct, pl.int_range(len(distinct), eager=True), default=None).fill_null(UNKNOWN)
        columns[name] = Column(distinct.to_list(), codes.to_numpy().astype(np.int32))
    return bags(columns, table.height)


def _classes(path: Path, name: str) -> npt.NDArray[np.int32]:
    """The classes of a column in the order of their texts; numbers of too many kinds fall into ten of equal size."""
    import polars as pl

    table = pl.read_parquet(path).drop("id")
    if name not in table.columns:
        raise UsageError(
            f"the snapshot's users have no column {name!r}, but {', '.join(table.columns) or 'none at all'}"
        )
    texts = table[name].cast(pl.String)
    distinct = texts.drop_nulls().unique().sort()
    if len(distinct) > MOST_CLASSES:
        numbers = texts.cast(pl.Float64, strict=False)
        if numbers.null_count() > texts.null_count():
            raise UsageError(
                f"column {name!r} of the users has {len(distinct)} values, more than {MOST_CLASSES} groups"
            )
        edges = np.quantile(numbers.drop_nulls().to_numpy(), np.arange(1, CLASSES) / CLASSES)
        found = np.searchsorted(edges, numbers.fill_null(0).to_numpy(), side="right")
        return np.where(numbers.is_null().to_numpy(), UNKNOWN, found).astype(np.int32)
    codes = texts.replace_strict(distinct, pl.int_range(len(distinct), eager=True), default=None).fill_null(UNKNOWN)
    return codes.to_numpy().astype(np.int32)


def id_table(ids: pl.Series) -> IdTable:
    """The table of ids that are sorted already, without a loop over them."""
    offsets = np.zeros(len(ids) + 1, np.int64)
    np.cumsum(ids.str.len_bytes().to_numpy(), out=offsets[1:])
    return IdTable(np.frombuffer(_joined(ids), np.uint8), offsets)


def _ordered(purchases: pl.DataFrame) -> pl.DataFrame:
    """One order for the same purchases, so that the file and what is trained on it do not depend on the source's."""
    import polars as pl

    by = [name for name in ("user", "time", "item", "weight", "event", "split") if name in purchases.columns]
    purchases = purchases.select(name for name in COLUMNS if name in purchases.columns)
    columns = packing.ordered([purchases[name].to_numpy() for name in by])
    if columns is None:
        return purchases.sort(by)
    return pl.DataFrame(dict(zip(by, columns, strict=True))).select(purchases.columns)


def _hash(purchases: pl.DataFrame, draft: Draft) -> str:
    """A hash of values, not of files: the format of the source and the version of the writer do not enter."""
    digest = hashlib.sha256(b"recommender snapshot, format %d" % FORMAT)
    for title, table in (("users", draft.users), ("items", draft.items)):
        for name in sorted(table.columns):
            digest.update(f"\0{title}\0{name}\0{table.height}\0".encode())
            for part in _parts(table[name]):
                digest.update(part)
    for name in purchases.columns:
        digest.update(f"\0purchases\0{name}\0{purchases.height}\0".encode())
        digest.update(np.ascontiguousarray(purchases[name].to_numpy()).data)
    if draft.kinds:
        digest.update(b"\0kinds\0" + json.dumps(asdict(draft.kinds), sort_keys=True).encode())
    return digest.hexdigest()


def _parts(column: pl.Series) -> Iterator[bytes]:
    """A column of texts as bytes that no other column has: what is missing, the lengths, the texts."""
    import polars as pl

    texts = column.cast(pl.String)
    yield np.packbits(texts.is_null().to_numpy()).tobytes()
    yield texts.str.len_bytes().fill_null(0).cast(pl.Int64).to_numpy().tobytes()
    yield _joined(texts)


def _joined(texts: pl.Series) -> bytes:
    joined = texts.str.join("").to_list()
    return str(joined[0] or "").encode() if joined else b""


def _pairs(purchases: pl.DataFrame, draft: Draft) -> Matrices:
    """The pairs of each split; of several kinds of event none, as what they count is found out later."""
    if draft.kinds:
        return {}
    user, item, weight, split = (purchases[name].to_numpy() for name in ("user", "item", "weight", "split"))
    shape = draft.users.height, draft.items.height
    return pairs.summed(shape, user, item, weight, {one.name.lower(): split == one for one in Split})


def _write_tables(folder: Path, purchases: pl.DataFrame, draft: Draft) -> None:
    import polars as pl

    if "time" in purchases.columns:
        purchases = purchases.with_columns(pl.from_epoch("time", time_unit="us").dt.replace_time_zone("UTC"))
    for name, table in (
        (PURCHASES, purchases),
        (USERS, draft.users),
        (ITEMS, draft.items),
        (REJECTS, draft.rejects),
    ):
        try:
            table.write_parquet(folder / name, compression="lz4", statistics=False, row_group_size=ROW_GROUP)
        except (OSError, pl.exceptions.ComputeError) as error:  # polars tells a full disk in either way
            raise TryAgainError(f"cannot write {folder / name}: {error}") from error


def _write_pairs(folder: Path, matrices: Matrices) -> None:
    if matrices:
        try:
            pairs.write(folder, matrices)
        except OSError as error:
            raise TryAgainError(f"cannot write {folder / pairs.FOLDER}: {error}") from error


def _counts(purchases: pl.DataFrame, draft: Draft, matrices: Matrices) -> dict[str, int]:
    splits = purchases["split"].to_numpy()
    return {
        **counting.counts(purchases, draft.users.height, draft.items.height, list(matrices.values())),
        "rejects": draft.rejects.height,
        **{split.name.lower(): int(np.count_nonzero(splits == split)) for split in Split},
    }
