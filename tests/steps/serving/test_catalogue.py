"""Names and columns of the items: where they come from, and what happens where they cannot be had."""

from __future__ import annotations

import gc
import weakref
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
import polars as pl
import pytest

from steps.artifacts.candidate import Candidate
from steps.clients.object_store import Store
from steps.models.ids import IdTable
from steps.models.scorer import Scorer
from steps.runtime.errors import BadDataError, TryAgainError
from steps.serving.asgi import RefusedError
from steps.serving.catalogue import Catalogue, Shelf
from steps.serving.live import Live

Make = Callable[..., Candidate]


def scorer(ids: list[str], popularity: list[float]) -> Scorer:
    return cast(Scorer, SimpleNamespace(items=IdTable.of(ids), popularity=np.array(popularity, np.float32)))


@pytest.fixture
def shop() -> Catalogue:
    """Four items, of which the last is the most popular and the second has no name."""
    table = pl.DataFrame(
        {
            "id": ["a1", "b2", "c3", "d4"],
            "name": ["Red  Mug", None, "red\npen", "Überzug RED"],
            "colour": ["red", "blue", None, "red"],
            "price": [2.5, 10.0, None, 3.0],
            "stock": [7, 0, 3, None],
            "code": ["007", "7", "08", None],
            "empty": pl.Series([None] * 4, dtype=pl.String),
        }
    )
    return Catalogue.of(table, scorer(["a1", "b2", "c3", "d4"], [0.1, 0.3, 0.2, 0.4]))


def found(shop: Catalogue, text: str, k: int = 10) -> list[str]:
    return [shop.items[code] for code in shop.search(text, k)]


def test_an_item_without_a_name_is_called_by_its_id(shop: Catalogue) -> None:
    assert [shop.name(code) for code in range(4)] == ["Red  Mug", "b2", "red\npen", "Überzug RED"]


def test_columns_are_told_as_the_snapshot_has_them(shop: Catalogue) -> None:
    told = {"colour": "red", "price": 2.5, "stock": 7, "code": "007", "empty": None}
    assert shop.about(0) == told
    assert shop.about(2) == {"colour": None, "price": None, "stock": 3, "code": "08", "empty": None}
    assert isinstance(shop.about(1)["price"], int)


def test_the_most_popular_items_with_a_text_are_found_first_however_it_is_written(shop: Catalogue) -> None:
    assert found(shop, "red") == ["d4", "c3", "a1"]
    assert found(shop, "RED", 2) == ["d4", "c3"]
    assert found(shop, " red   mug ") == ["a1"]
    assert found(shop, "red pen") == ["c3"]
    assert found(shop, "ÜBER") == ["d4"]
    assert found(shop, "B2") == ["b2"]
    assert found(shop, "mug a1") == []
    assert found(shop, "green") == []


def test_an_empty_search_finds_what_is_most_popular(shop: Catalogue) -> None:
    assert found(shop, "  ", 3) == ["d4", "b2", "c3"]


def test_each_item_is_found_once_also_where_name_and_id_are_alike() -> None:
    table = pl.DataFrame({"id": ["x", "xx"]})
    assert found(Catalogue.of(table, scorer(["x", "xx"], [0.1, 0.9])), "x") == ["xx", "x"]


def test_items_of_another_snapshot_are_refused() -> None:
    table = pl.DataFrame({"id": ["a1", "b3"]})
    with pytest.raises(BadDataError, match="2 items, and not the 2"):
        Catalogue.of(table, scorer(["a1", "b2"], [0.1, 0.9]))


def test_what_cannot_be_read_is_told_and_tried_again_later(shop: Catalogue, monkeypatch: pytest.MonkeyPatch) -> None:
    now, tries = [1000.0], []
    monkeypatch.setattr("steps.serving.catalogue.time.monotonic", lambda: now[0])
    outcomes: list[Catalogue | Exception] = [TryAgainError("away"), BadDataError("it is gone"), OSError("odd"), shop]

    def read() -> Catalogue:
        tries.append(now[0])
        outcome = outcomes[len(tries) - 1]
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    def refused() -> tuple[int, str]:
        with pytest.raises(RefusedError) as error:
            shelf.required()
        return error.value.status, str(error.value)

    shelf = Shelf()
    assert refused() == (503, "the items' names and columns have not been read yet")
    shelf.fill(read)
    assert refused() == (503, "away")
    now[0] += 9
    shelf.fill(read)
    assert len(tries) == 1
    now[0] += 2
    shelf.fill(read)
    assert refused() == (501, "there are no names and columns of the items: it is gone")
    now[0] += 21
    shelf.fill(read)
    assert refused() == (501, "there are no names and columns of the items: OSError: odd")
    now[0] += 41
    shelf.fill(read)
    assert shelf.required() is shop
    assert shelf.problem == ""
    shelf.fill(read)
    assert len(tries) == 4


def catalogue_of(live: Live) -> Catalogue | None:
    assert live.model is not None
    return live.model.shelf.catalogue


def test_a_server_reads_the_names_of_what_is_live_and_lets_old_ones_go(
    store: Store, make_snapshot: Callable[..., str], make_candidate: Make, make_release: Callable[..., Any]
) -> None:
    snapshot = make_snapshot(store)
    live = Live(store.models, 3600, data=store.data)
    first: list[weakref.ref[Catalogue]] = []
    for version in (1, 2, 3):
        made = make_candidate(store, f"run-{version}", snapshot=snapshot)
        make_release(store, made, version)
        live.refresh()
        catalogue = catalogue_of(live)
        assert catalogue is not None
        assert catalogue.name(4) == "Blue Lamp 4"
        assert catalogue.about(7) == {"category": "chair", "price": None, "article": "00007", "shelf": 0}
        first.append(weakref.ref(catalogue))
    del catalogue
    gc.collect()
    assert [one() is None for one in first] == [True, False, False]


def test_a_release_without_its_snapshot_answers_without_names(
    folder_store: Store, make_candidate: Make, make_release: Callable[..., Any]
) -> None:
    make_release(folder_store, make_candidate(folder_store, "run-1"))
    live = Live(folder_store.models, 3600, data=folder_store.data)
    live.refresh()
    assert live.problem == ""
    assert catalogue_of(live) is None
    assert live.model is not None
    assert "there is no snapshot s-0000000000000000" in live.model.shelf.problem


def test_what_follows_has_its_names_when_it_begins_to_answer(
    folder_store: Store,
    make_snapshot: Callable[..., str],
    make_candidate: Make,
    make_release: Callable[..., Any],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    live = Live(folder_store.models, 3600, data=folder_store.data)
    answering: list[int] = []
    read = Catalogue.read

    def watched(*arguments: Any) -> Catalogue:
        answering.append(live.model.version if live.model else 0)
        return read(*arguments)

    monkeypatch.setattr(Catalogue, "read", watched)
    snapshot = make_snapshot(folder_store)
    for version in (1, 2):
        make_release(folder_store, make_candidate(folder_store, f"run-{version}", snapshot=snapshot), version)
        live.refresh()
    assert answering == [1, 1]
