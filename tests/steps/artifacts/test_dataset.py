"""A snapshot is named by its content, whole or absent, and read back as it was written."""

from __future__ import annotations

import json
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest

from steps.artifacts import dataset
from steps.artifacts.dataset import Draft, Split
from steps.clients.folder_store import FolderBucket
from steps.clients.object_store import Bucket, Store
from steps.models.events import Kinds
from steps.runtime.errors import BadDataError, TryAgainError, UsageError

DAY = 86_400_000_000
ROWS = {
    "user": [1, 0, 0, 1, 1],
    "item": [0, 1, 0, 0, 2],
    "weight": [1.0, 2.0, 1.0, 1.0, -1.0],
    "time": [3 * DAY, DAY, DAY, 3 * DAY, 4 * DAY],
    "split": [1, 0, 0, 1, 2],
}
TYPES = {"user": pl.Int32, "item": pl.Int32, "weight": pl.Float32, "time": pl.Int64, "split": pl.Int8}
REJECTS = {"file": ["x.csv"], "row": [7], "reason": ["the user is missing"], "value": [""]}


def draft(**changes: Any) -> Draft:
    """Two users, three items, five purchases."""
    made = Draft(
        purchases=pl.DataFrame(ROWS, schema=TYPES),
        users=pl.DataFrame({"id": ["Zoë", "ann"], "age": [30, None]}),
        items=pl.DataFrame({"id": ["a", "b", "ü/\n"], "name": ["Pan", None, "Öl"]}),
        rejects=pl.DataFrame(REJECTS),
        about={"origin": {"source": "a test"}},
    )
    return replace(made, **changes)


def snapshot_of(one: Draft, folder: Path) -> str:
    """The name that a draft gets, in a store of its own."""
    from steps.clients.folder_store import FolderBucket

    bucket = FolderBucket(folder)
    return dataset.publish(Store(bucket, bucket), one).id


def test_a_snapshot_is_read_back_as_it_was_published(store: Store, tmp_path: Path) -> None:
    published = dataset.publish(store, draft())
    assert published.new
    found = dataset.load(store, published.id, tmp_path / "cache")
    assert found.id == published.id
    assert list(found.users) == ["Zoë", "ann"]
    assert list(found.items) == ["a", "b", "ü/\n"]
    assert found.user.tolist() == [0, 0, 1, 1, 1]
    assert found.item.tolist() == [0, 1, 0, 0, 2]
    assert found.weight.tolist() == [1.0, 2.0, 1.0, 1.0, -1.0]
    assert found.time is not None
    assert found.time.tolist() == [DAY, DAY, 3 * DAY, 3 * DAY, 4 * DAY]
    assert found.split.tolist() == [0, 0, 1, 1, 2]
    assert found.item_names == ["Pan", "b", "Öl"]
    assert len(found) == 5
    types = (found.user.dtype, found.item.dtype, found.weight.dtype, found.time.dtype, found.split.dtype)
    assert types == (np.int32, np.int32, np.float32, np.int64, np.int8)


def test_interactions_sum_the_weights_of_the_chosen_splits(folder_store: Store, tmp_path: Path) -> None:
    found = dataset.load(folder_store, dataset.publish(folder_store, draft()).id, tmp_path)
    assert found.interactions().matrix.toarray().tolist() == [[1, 2, 0], [2, 0, -1]]
    assert found.interactions(Split.TRAIN).matrix.toarray().tolist() == [[1, 2, 0], [0, 0, 0]]
    assert found.interactions(Split.VALIDATION, Split.TEST).matrix.toarray().tolist() == [[0, 0, 0], [2, 0, -1]]
    assert found.interactions(Split.TRAIN).items is found.items


def with_kinds(weights: dict[str, float] | None = None) -> Draft:
    """The first purchase of everybody's is one; the others are views and a dislike."""
    kinds = Kinds(("buy", "hide", "view"), ("buy",), weights or {})
    purchases = pl.DataFrame(ROWS | {"event": [0, 2, 0, 2, 1]}, schema=TYPES | {"event": pl.Int8})
    return draft(purchases=purchases, kinds=kinds)


def test_other_events_than_purchases_count_what_they_are_worth_and_are_not_judged_by(
    folder_store: Store, tmp_path: Path
) -> None:
    found = dataset.load(folder_store, dataset.publish(folder_store, with_kinds()).id, tmp_path)
    assert found.kinds is not None
    assert found.kinds.searched == ("hide", "view")
    assert found.interactions().matrix.toarray().tolist() == [[1, 0, 0], [1, 0, 0]]
    worth = {"view": 0.5, "hide": 2.0}
    assert found.interactions(worth=worth).matrix.toarray().tolist() == [[1, 1, 0], [1.5, 0, -2]]
    assert found.interactions(worth={"view": 0.5}).history.weight.tolist() == [1, 1, 1, 0.5]
    assert found.bought().toarray().tolist() == [[1, 0, 0], [1, 0, 0]]
    assert found.seen.toarray().tolist() == [[1, 0, 0], [1, 0, 1]]


def test_where_somebody_has_said_what_events_are_worth_the_weights_hold_it(folder_store: Store, tmp_path: Path) -> None:
    given = with_kinds({"buy": 1.0, "view": 0.5, "hide": -1.0})
    found = dataset.load(folder_store, dataset.publish(folder_store, given).id, tmp_path)
    assert found.kinds is not None
    assert found.kinds.searched == ()
    assert found.interactions(worth={"view": 9.0}).matrix.toarray().tolist() == [[1, 2, 0], [2, 0, -1]]
    assert found.bought().toarray().tolist() == [[1, 0, 0], [1, 0, 0]]


def test_what_an_event_means_is_part_of_the_name(tmp_path: Path) -> None:
    one, other = with_kinds(), with_kinds({"buy": 1.0})
    renamed = replace(one, kinds=Kinds(("buy", "hide", "wish"), ("buy",)))
    assert len({snapshot_of(each, tmp_path / str(n)) for n, each in enumerate((one, other, renamed, draft()))}) == 4


def users_with(folder: Path, **columns: list[Any]) -> dataset.Dataset:
    """A loaded snapshot of as many users as the columns have entries."""
    from steps.clients.folder_store import FolderBucket

    count = len(next(iter(columns.values())))
    users = pl.DataFrame({"id": [f"u{number:03d}" for number in range(count)], **columns})
    store = Store(FolderBucket(folder / "data"), FolderBucket(folder / "models"))
    return dataset.load(store, dataset.publish(store, draft(users=users)).id, folder / "cache")


def test_a_column_of_the_users_makes_groups(tmp_path: Path) -> None:
    found = users_with(tmp_path, land=["se", None, "at", "se"], club=[True, False, None, True])
    assert found.segment("land").tolist() == [1, -1, 0, 1]
    assert found.segment("club").tolist() == [1, 0, -1, 1]


def test_numbers_of_too_many_kinds_make_ten_groups_of_equal_size(tmp_path: Path) -> None:
    ages = [None, *range(200)]
    found = users_with(tmp_path, age=ages).segment("age")
    assert found[0] == -1
    assert np.bincount(found[1:]).tolist() == [20] * 10
    assert (np.diff(found[1:]) >= 0).all()


def test_a_column_that_makes_no_groups_is_refused(tmp_path: Path) -> None:
    found = users_with(tmp_path, street=[f"street {number}" for number in range(101)])
    with pytest.raises(UsageError, match="'street' of the users has 101 values, more than 100 groups"):
        found.segment("street")
    with pytest.raises(UsageError, match="have no column 'land', but street"):
        found.segment("land")
    with pytest.raises(UsageError, match="but none at all"):
        users_with(tmp_path / "other", id=["u1", "u2"]).segment("land")


def test_interactions_know_the_single_purchases_of_their_splits_in_order(folder_store: Store, tmp_path: Path) -> None:
    found = dataset.load(folder_store, dataset.publish(folder_store, draft()).id, tmp_path)
    history = found.interactions(Split.VALIDATION, Split.TEST).history
    assert history.user.tolist() == [1, 1, 1]
    assert history.item.tolist() == [0, 0, 2]
    assert history.time is not None
    assert history.time.tolist() == [3 * DAY, 3 * DAY, 4 * DAY]
    assert len(found.interactions().history.user) == 5


def test_interactions_know_what_the_tables_tell_of_users_and_items(folder_store: Store, tmp_path: Path) -> None:
    items = pl.DataFrame({"id": ["a", "b", "c"], "name": ["Red Pan", None, "Blue Pan"], "size": [1.0, 2.0, 1.0]})
    found = dataset.load(folder_store, dataset.publish(folder_store, draft(items=items)).id, tmp_path)
    known = found.interactions(Split.TRAIN).item_features
    assert known.shape == (3, 2)  # "pan", and the size 1.0; what one row alone has is left out
    assert known.getnnz(axis=1).tolist() == [2, 0, 2]
    assert found.interactions().user_features.shape == (2, 0)


def test_the_manifest_tells_what_is_in_it(folder_store: Store) -> None:
    published = dataset.publish(folder_store, draft())
    manifest = json.loads(folder_store.data.get(f"snapshots/{published.id}/manifest.json"))
    assert manifest == published.manifest
    assert manifest["counts"] == {
        "users": 2, "items": 3, "purchases": 5, "buyers": 2, "bought_items": 3, "pairs": 4, "repeated_rows": 1,
        "rejects": 1, "train": 2, "validation": 2, "test": 1,
    }  # fmt: skip
    assert manifest["time"] == {"first": "1970-01-02T00:00:00Z", "last": "1970-01-05T00:00:00Z"}
    assert manifest["origin"] == {"source": "a test"}
    assert manifest["libraries"]["polars"] == pl.__version__
    assert manifest["content"].startswith(published.id.removeprefix("s-"))
    prefix = f"snapshots/{published.id}/"
    entries = {entry.key.removeprefix(prefix): entry.size for entry in folder_store.data.list(prefix)}
    assert {name: file["size"] for name, file in manifest["files"].items()} == {
        name: size for name, size in entries.items() if name != "manifest.json"
    }
    tables = {"interactions.parquet", "users.parquet", "items.parquet", "rejects.parquet"}
    assert {name for name in manifest["files"] if not name.startswith("pairs/")} == tables


def test_the_files_are_what_people_expect_to_find(folder_store: Store, tmp_path: Path) -> None:
    published = dataset.publish(folder_store, draft())
    for name in published.manifest["files"]:
        (tmp_path / name).parent.mkdir(exist_ok=True)
        folder_store.data.get_file(f"snapshots/{published.id}/{name}", tmp_path / name)
    purchases = pl.read_parquet(tmp_path / "interactions.parquet")
    assert purchases.columns == ["user", "item", "weight", "time", "split"]
    assert purchases.schema["time"] == pl.Datetime("us", "UTC")
    assert pl.read_parquet(tmp_path / "rejects.parquet").to_dict(as_series=False) == REJECTS
    assert pl.read_parquet(tmp_path / "users.parquet").rows() == [("Zoë", 30), ("ann", None)]


def test_the_sums_of_pairs_are_those_of_the_single_purchases(folder_store: Store, tmp_path: Path) -> None:
    published = dataset.publish(folder_store, draft())
    ready = dataset.load(folder_store, published.id, tmp_path)
    assert set(ready.summed) == {"train", "validation", "test"}
    older = replace(ready, summed={})  # as a snapshot from before there were sums
    for splits in ((), (Split.TRAIN,), (Split.TRAIN, Split.VALIDATION), (Split.TEST,)):
        for one, other in (
            (ready.interactions(*splits).matrix, older.interactions(*splits).matrix),
            (ready.bought(*splits), older.bought(*splits)),
        ):
            assert one.toarray().tolist() == other.toarray().tolist()
            assert one.has_canonical_format
    assert (ready.seen.toarray() > 0).tolist() == (older.seen.toarray() > 0).tolist()
    assert "_purchases" not in ready.__dict__, "sums are there without the single purchases"


def test_a_purchase_and_a_dislike_of_the_same_add_up_to_nothing_but_were_seen(
    folder_store: Store, tmp_path: Path
) -> None:
    both = changed(user=[1, 0, 0, 1, 1], item=[0, 1, 1, 2, 2], weight=[1.0, 2.0, -2.0, 1.0, 1.0], split=[0, 0, 0, 1, 2])
    found = dataset.load(folder_store, dataset.publish(folder_store, draft(purchases=both)).id, tmp_path)
    assert found.interactions(Split.TRAIN).matrix.toarray().tolist() == [[0, 0, 0], [1, 0, 0]]
    assert found.seen.nnz == 3


def test_a_snapshot_that_lost_a_file_is_written_again(store: Store, tmp_path: Path) -> None:
    first = dataset.publish(store, draft())
    store.data.delete([f"snapshots/{first.id}/items.parquet"])
    again = dataset.publish(store, draft())
    assert (again.id, again.new) == (first.id, True)
    assert len(dataset.load(store, first.id, tmp_path / "cache").items) == 3


def test_the_same_purchases_again_are_the_same_snapshot(store: Store) -> None:
    first = dataset.publish(store, draft())
    before = store.data.list()
    other = draft(
        purchases=pl.DataFrame(ROWS, schema=TYPES).reverse(),
        rejects=pl.DataFrame(REJECTS).clear(),
        about={"origin": {"source": "another file"}},
    )
    second = dataset.publish(store, other)
    assert (second.id, second.new) == (first.id, False)
    assert second.manifest == first.manifest
    assert store.data.list() == before


def changed(**columns: list[Any]) -> pl.DataFrame:
    return pl.DataFrame({**ROWS, **columns}, schema=TYPES)


@pytest.mark.parametrize(
    "other",
    [
        draft(purchases=changed(user=[1, 0, 0, 1, 0])),
        draft(purchases=changed(item=[0, 1, 0, 0, 1])),
        draft(purchases=changed(weight=[1.0, 2.0, 1.0, 1.0, -2.0])),
        draft(purchases=changed(time=[3 * DAY, DAY, DAY, 3 * DAY, 4 * DAY + 1])),
        draft(purchases=changed(split=[1, 0, 0, 0, 2])),
        draft(purchases=pl.DataFrame(ROWS, schema=TYPES).drop("time")),
        draft(purchases=pl.DataFrame(ROWS, schema=TYPES).head(4)),
        draft(users=pl.DataFrame({"id": ["Zoë", "anna"], "age": [30, None]})),
        draft(users=pl.DataFrame({"id": ["Zoë", "ann"], "age": [None, 30]})),
        draft(users=pl.DataFrame({"id": ["Zoë", "ann"]})),
        draft(items=pl.DataFrame({"id": ["a", "b", "ü/\n"], "name": ["Pan", "", "Öl"]})),
        draft(items=pl.DataFrame({"id": ["a", "b", "ü/\n"], "name": ["PanÖ", None, "l"]})),
        draft(items=pl.DataFrame({"id": ["a", "b", "ü/\n"], "title": ["Pan", None, "Öl"]})),
    ],
)
def test_another_content_is_another_snapshot(other: Draft, tmp_path: Path) -> None:
    assert snapshot_of(other, tmp_path / "other") != snapshot_of(draft(), tmp_path / "first")


def test_the_type_and_the_order_of_feature_columns_do_not_matter(tmp_path: Path) -> None:
    one = draft(users=pl.DataFrame({"id": ["Zoë", "ann"], "age": [30, None], "city": ["Rome", "Oslo"]}))
    two = draft(users=pl.DataFrame({"id": ["Zoë", "ann"], "city": ["Rome", "Oslo"], "age": ["30", None]}))
    assert snapshot_of(one, tmp_path / "1") == snapshot_of(two, tmp_path / "2")


def test_the_name_of_a_snapshot_stays_over_versions(tmp_path: Path) -> None:
    assert snapshot_of(draft(), tmp_path) == "s-6c93962cf8cfce8b"


def test_of_many_publishers_one_makes_it_and_all_agree(store: Store, tmp_path: Path) -> None:
    with ThreadPoolExecutor(8) as pool:
        published = list(pool.map(lambda _: dataset.publish(store, draft()), range(8)))
    assert [one.new for one in published].count(True) == 1
    assert len({json.dumps(one.manifest) for one in published}) == 1
    dataset.load(store, published[0].id, tmp_path)


def test_a_publisher_that_is_overtaken_at_the_end_keeps_the_others_manifest(folder_store: Store) -> None:
    bucket = folder_store.data
    create = bucket.create

    def overtaken(key: str, data: bytes) -> None:
        create(key, data.replace(b"a test", b"another"))
        create(key, data)

    bucket.create = overtaken  # type: ignore[method-assign]
    published = dataset.publish(folder_store, draft())
    assert not published.new
    assert published.manifest["origin"] == {"source": "another"}


def test_a_publisher_that_dies_before_the_manifest_leaves_no_snapshot(folder_store: Store, tmp_path: Path) -> None:
    bucket = folder_store.data
    create = bucket.create

    def die(key: str, data: bytes) -> None:
        raise KeyboardInterrupt

    bucket.create = die  # type: ignore[method-assign]
    with pytest.raises(KeyboardInterrupt):
        dataset.publish(folder_store, draft())
    (name,) = {entry.key.split("/")[1] for entry in bucket.list("snapshots/")}
    assert not dataset.exists(folder_store, name)
    with pytest.raises(UsageError, match=f"there is no snapshot {name}"):
        dataset.load(folder_store, name, tmp_path)
    bucket.create = create  # type: ignore[method-assign]
    assert dataset.publish(folder_store, draft()).new
    assert dataset.exists(folder_store, name)
    dataset.load(folder_store, name, tmp_path)


def test_a_store_that_breaks_in_the_middle_leaves_no_snapshot(folder_store: Store) -> None:
    bucket = folder_store.data
    take_file = bucket.take_file

    def full(key: str, path: Path) -> None:
        if key.endswith("users.parquet"):
            raise TryAgainError("the store is full")
        take_file(key, path)

    bucket.take_file = full  # type: ignore[method-assign]
    with pytest.raises(TryAgainError):
        dataset.publish(folder_store, draft())
    assert not [entry for entry in bucket.list() if entry.key.endswith("manifest.json")]


def test_purchases_without_times_and_names_have_none(folder_store: Store, tmp_path: Path) -> None:
    plain = draft(purchases=pl.DataFrame(ROWS, schema=TYPES).drop("time"), items=pl.DataFrame({"id": ["a", "b", "c"]}))
    found = dataset.load(folder_store, dataset.publish(folder_store, plain).id, tmp_path)
    assert found.time is None
    assert found.item_names is None
    assert found.manifest["time"] is None


@pytest.mark.parametrize("name", ["interactions.parquet", "users.parquet", "items.parquet"])
@pytest.mark.parametrize("damage", [b"junk", None])
def test_a_changed_or_missing_file_is_noticed(
    folder_store: Store, tmp_path: Path, name: str, damage: bytes | None
) -> None:
    snapshot = dataset.publish(folder_store, draft()).id
    key = f"snapshots/{snapshot}/{name}"
    if damage is None:
        folder_store.data.delete([key])
    else:
        folder_store.data.put(key, damage)
    with pytest.raises(BadDataError, match=f"{name} (has changed|is named by a manifest but missing)"):
        dataset.load(folder_store, snapshot, tmp_path / "cache")
    assert not (tmp_path / "cache" / "snapshots" / snapshot).exists()


def test_what_was_brought_once_is_used_again_and_brought_anew_where_it_changed(
    folder_store: Store, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FolderBucket, "fetch", Bucket.fetch)  # as a store that is far away
    snapshot = dataset.publish(folder_store, draft()).id
    first = dataset.load(folder_store, snapshot, tmp_path)
    copy = tmp_path / "snapshots" / snapshot / "interactions.parquet"
    fetched: list[str] = []
    get_file = folder_store.data.get_file

    def watched(key: str, path: Path) -> None:
        fetched.append(key)
        get_file(key, path)

    folder_store.data.get_file = watched  # type: ignore[method-assign]
    dataset.load(folder_store, snapshot, tmp_path)
    assert fetched == []
    copy.write_bytes(b"something else")
    assert np.array_equal(dataset.load(folder_store, snapshot, tmp_path).user, first.user)
    assert len(fetched) == 3 + 9


@pytest.mark.parametrize(
    "name", ["", "s-1", "s-XYZ0000000000000", "../s-0000000000000000", "s-0000000000000000/x", "latest"]
)
def test_what_is_no_name_of_a_snapshot_is_refused(folder_store: Store, tmp_path: Path, name: str) -> None:
    with pytest.raises(UsageError, match="is no snapshot: a snapshot's name is s- and 16 hexadecimal digits"):
        dataset.exists(folder_store, name)
    with pytest.raises(UsageError, match="is no snapshot"):
        dataset.load(folder_store, name, tmp_path)


def test_a_snapshot_that_does_not_exist_is_one_sentence(store: Store, tmp_path: Path) -> None:
    assert not dataset.exists(store, "s-0123456789abcdef")
    with pytest.raises(UsageError, match=r"there is no snapshot s-0123456789abcdef at .*snapshots/s-0123456789abcdef$"):
        dataset.load(store, "s-0123456789abcdef", tmp_path)


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        (b"{", "is not JSON"),
        (b"[]", "is not a snapshot's manifest of format 1"),
        (b'{"format": 2}', "is not a snapshot's manifest of format 1"),
        (b'{"format": 1}', "does not name its files"),
        (b'{"format": 1, "files": {"users.parquet": 3}}', "does not name its files"),
    ],
)
def test_a_broken_manifest_is_bad_data(folder_store: Store, tmp_path: Path, data: bytes, sentence: str) -> None:
    folder_store.data.put("snapshots/s-0123456789abcdef/manifest.json", data)
    with pytest.raises(BadDataError, match=sentence):
        dataset.load(folder_store, "s-0123456789abcdef", tmp_path)


def test_tables_of_no_ids_and_of_odd_ids_are_made_without_a_loop() -> None:
    assert list(dataset.id_table(pl.Series([], dtype=pl.String))) == []
    odd = ["a", "b\n", "ä", "😀"]
    assert list(dataset.id_table(pl.Series(odd))) == odd


def test_a_purchase_that_was_disliked_afterwards_is_still_seen(folder_store: Store, tmp_path: Path) -> None:
    rows = {"user": [0, 0, 1], "item": [0, 0, 1], "weight": [1.0, -1.0, 1.0], "split": [0, 0, 2]}
    kinds = {name: kind for name, kind in TYPES.items() if name in rows}
    published = dataset.publish(folder_store, draft(purchases=pl.DataFrame(rows, schema=kinds)))
    found = dataset.load(folder_store, published.id, tmp_path / "cache")
    assert found.interactions().matrix.nnz == 1
    assert found.seen.toarray().astype(bool).tolist() == [[True, False, False], [False, True, False]]


@pytest.mark.parametrize("error", [OSError("No space left"), pl.exceptions.ComputeError("No space left")])
def test_a_full_disk_asks_to_try_again(folder_store: Store, monkeypatch: pytest.MonkeyPatch, error: Exception) -> None:
    def fail(*arguments: object, **named: object) -> None:
        raise error

    monkeypatch.setattr(pl.DataFrame, "write_parquet", fail)
    with pytest.raises(TryAgainError, match="No space left"):
        dataset.publish(folder_store, draft())
    assert folder_store.data.list() == []
