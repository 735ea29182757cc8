from __future__ import annotations

import numpy as np
import pytest
import scipy.sparse as sp

from steps.models import features
from steps.models.features import Column, bags, padded
from steps.models.ids import UNKNOWN


def column(*values: str | None) -> Column:
    texts = sorted({value for value in values if value is not None})
    return Column(texts, np.array([UNKNOWN if value is None else texts.index(value) for value in values], np.int32))


def same(bag: sp.csr_matrix) -> list[list[int]]:
    """For each row the rows that share a word with it."""
    return [np.flatnonzero(row).tolist() for row in (bag @ bag.T).toarray()]


def test_rows_share_the_words_and_the_list_entries_that_they_have_in_common() -> None:
    bag = bags({"genre": column("Sci-Fi|War", "War", "Drama|Film Noir", "drama", "Western", None)}, 6)
    assert same(bag) == [[0, 1], [0, 1], [2, 3], [2, 3], [], []]
    assert bag.shape == (6, 2)  # what one row alone has is left out


def test_a_row_has_the_length_one_however_many_words_it_has() -> None:
    bag = bags({"name": column("red pan", "red pot", "blue pan", "blue pot", None)}, 5)
    assert np.linalg.norm(bag.toarray(), axis=1) == pytest.approx([1, 1, 1, 1, 0])


def test_the_same_word_in_two_columns_is_two_words() -> None:
    bag = bags({"colour": column("red", "red", None, None), "name": column(None, None, "red", "red")}, 4)
    assert same(bag) == [[0, 1], [0, 1], [2, 3], [2, 3]]


def test_what_all_rows_have_tells_nothing() -> None:
    assert bags({"shop": column("here", "here", "here")}, 3).shape == (3, 0)
    assert bags({}, 3).shape == (3, 0)


def test_numbers_fall_into_classes_of_equal_size() -> None:
    numbers = [str(number) for number in range(160)]
    bag = bags({"price": column(*numbers, None)}, 161)
    assert bag.getnnz(axis=0).tolist() == [10] * 16
    assert same(bag)[37] == list(range(30, 40))
    assert bag.getnnz(axis=1)[160] == 0


def test_a_few_numbers_are_classes_by_themselves() -> None:
    assert same(bags({"size": column("1", "2", "1", "2", "3")}, 5)) == [[0, 2], [1, 3], [0, 2], [1, 3], []]


def test_padding_keeps_words_and_weights(monkeypatch: pytest.MonkeyPatch) -> None:
    bag = sp.csr_matrix(np.array([[0, 0.6, 0.8], [0, 0, 0], [0, 0, 1]], np.float32))
    words, weights = padded(bag)
    assert words.tolist() == [[1, 2], [0, 0], [2, 0]]
    assert weights == pytest.approx(np.array([[0.6, 0.8], [0, 0], [1, 0]]))
    monkeypatch.setattr(features, "MOST_IN_ROW", 1)
    assert padded(bag)[0].tolist() == [[1], [0], [2]]  # the rarer of the two
    assert padded(sp.csr_matrix((2, 0), dtype=np.float32))[1].tolist() == [[0], [0]]
