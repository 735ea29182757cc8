from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from steps.models.ids import STEP, UNKNOWN, IdTable

AWKWARD = sorted(["", " ", "a", "a b", "a\nb", 'a"b', "a/b", "ab", "é", "日本", "\U0001f600"], key=str.encode)


def test_an_id_has_its_place_as_code_and_back() -> None:
    table = IdTable.of(AWKWARD)
    assert list(table) == AWKWARD
    assert [table.code(one) for one in AWKWARD] == list(range(len(AWKWARD)))
    assert table.names(np.array([2, 0])) == [AWKWARD[2], AWKWARD[0]]


@pytest.mark.parametrize("one", ["b", "a ", "\x00", "zzz", "\ud800"])
def test_an_id_that_is_not_there_is_unknown(one: str) -> None:
    assert IdTable.of(AWKWARD).code(one) == UNKNOWN


def test_several_are_looked_up_in_their_order() -> None:
    assert IdTable.of(["a", "b"]).codes(["b", "x", "a"]).tolist() == [1, UNKNOWN, 0]


def test_an_empty_table_knows_nobody() -> None:
    assert IdTable.of([]).code("a") == UNKNOWN


@pytest.mark.parametrize("count", [1, STEP - 1, STEP, STEP + 1, 3 * STEP, 3 * STEP + 1])
def test_each_of_many_is_found_and_nothing_between_them(count: int) -> None:
    table = IdTable.of([f"{number:04d}" for number in range(count)])
    assert [table.code(f"{number:04d}") for number in range(count)] == list(range(count))
    between = ["", "000", *(f"{number:04d}x" for number in range(count)), "9999"]
    assert {table.code(one) for one in between} == {UNKNOWN}


@pytest.mark.parametrize("ids", [["b", "a"], ["a", "a"]])
def test_ids_must_be_sorted_and_distinct(ids: list[str]) -> None:
    with pytest.raises(ValueError, match="distinct and sorted"):
        IdTable.of(ids)


def test_a_code_outside_is_an_index_error() -> None:
    with pytest.raises(IndexError):
        IdTable.of(["a"])[1]


def test_two_tables_are_aligned_by_their_ids() -> None:
    assert IdTable.of(["a", "c", "d"]).aligned(IdTable.of(["b", "c", "d", "e"])).tolist() == [-1, 1, 2, -1]


def test_a_saved_table_is_mapped_not_read(tmp_path: Path) -> None:
    IdTable.of(AWKWARD).save(tmp_path, "users")
    loaded = IdTable.load(tmp_path, "users")
    assert list(loaded) == AWKWARD
    assert isinstance(loaded.text, np.memmap)


@pytest.mark.parametrize("ids", [["a", "bc", "d"], ["a", "ü", "日本語"], ["", "x"]], ids=["ascii", "others", "empty"])
def test_a_stretch_of_ids_is_read_as_single_ones_are(ids: list[str]) -> None:
    table = IdTable.of(ids)
    for first in range(len(ids)):
        for end in range(first, len(ids) + 1):
            assert table.names(np.arange(first, end)) == ids[first:end]
    assert table.names(np.array([1, 0])) == [ids[1], ids[0]]
