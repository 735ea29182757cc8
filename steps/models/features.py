"""What is known of users and items beside their purchases, as bags of words: any table becomes rows of weights."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.ids import UNKNOWN, Codes

WORD = re.compile(r"\w+(?:\.\w+)*")
LIST = "|"
"""What separates the values of a list, such as the genres of a film."""
BUCKETS = 16
LEAST_ROWS = 2
"""A word that one row alone has tells no more than the row's id."""
MOST_WORDS = 20_000
MOST_IN_ROW = 32


@dataclass(frozen=True)
class Column:
    """A column of a table: its distinct texts, and which of them each row has (UNKNOWN where there is none)."""

    texts: Sequence[str]
    codes: Codes


def bags(columns: Mapping[str, Column], rows: int) -> sp.csr_matrix:
    """Rows × words: 1 where a row has the word, scaled so that each row has the length 1.

    A number falls into one of 16 classes of equal size; any other text counts as a whole, by the parts of its list,
    and by its words. The same table gives the same words in the same order.
    """
    parts = [_of_column(column, rows) for _, column in sorted(columns.items())]
    joined = sp.csr_matrix(sp.hstack([sp.csr_matrix((rows, 0)), *parts]), dtype=np.float32)
    common = np.argsort(-joined.getnnz(axis=0), kind="stable")[:MOST_WORDS]
    kept = sp.csr_matrix(joined[:, np.sort(common)])
    lengths = np.sqrt(np.maximum(kept.getnnz(axis=1), 1)).astype(np.float32)
    return sp.csr_matrix(sp.diags(1 / lengths) @ kept, dtype=np.float32)


def padded(bag: sp.csr_matrix) -> tuple[Codes, npt.NDArray[np.float32]]:
    """The words of each row in a rectangle, as networks want them, with their weights; 0 and weight 0 where none is.

    Of a row with more than MOST_IN_ROW words the rarest stay, which say most.
    """
    width = min(MOST_IN_ROW, max(1, int(np.diff(bag.indptr).max(initial=0))))
    words, weights = np.zeros((bag.shape[0], width), np.int32), np.zeros((bag.shape[0], width), np.float32)
    count = bag.getnnz(axis=0)
    row = np.repeat(np.arange(bag.shape[0]), np.diff(bag.indptr))
    order = np.lexsort((bag.indices, count[bag.indices], row))
    place = np.arange(len(row)) - bag.indptr[row]
    kept = place < width
    words[row[kept], place[kept]] = bag.indices[order][kept]
    weights[row[kept], place[kept]] = bag.data[order][kept]
    return words, weights


def _of_column(column: Column, rows: int) -> sp.csr_matrix:
    """The words of one column that some rows have and others lack."""
    numbers = _numbers(column.texts)
    of_text = [_words(text) for text in column.texts] if numbers is None else _classes(numbers, column.codes)
    vocabulary = {word: place for place, word in enumerate(sorted(set().union(*of_text)))}
    lengths = [len(words) for words in of_text]
    # One empty row more, which a row without a text takes.
    starts = np.concatenate([[0], np.cumsum(lengths, dtype=np.int64), [sum(lengths)]])
    places = np.fromiter((vocabulary[word] for words in of_text for word in sorted(words)), np.int64, starts[-1])
    by_text = sp.csr_matrix((np.ones(starts[-1], np.float32), places, starts), (len(of_text) + 1, len(vocabulary)))
    bag = sp.csr_matrix(by_text[np.where(column.codes == UNKNOWN, len(of_text), column.codes)])
    count = bag.getnnz(axis=0)
    return sp.csr_matrix(bag[:, (count >= LEAST_ROWS) & (count < rows)])


def _numbers(texts: Sequence[str]) -> npt.NDArray[np.float64] | None:
    """The texts as numbers, where all are, and too many for each to be a class of its own."""
    if len(texts) <= BUCKETS:
        return None
    try:
        values = np.array([float(text) for text in texts])
    except ValueError:
        return None
    return values if np.isfinite(values).all() else None


def _classes(numbers: npt.NDArray[np.float64], codes: Codes) -> list[set[str]]:
    edges = np.quantile(numbers[codes[codes != UNKNOWN]], np.arange(1, BUCKETS) / BUCKETS)
    digits = math.ceil(math.log10(BUCKETS))
    return [{str(place).zfill(digits)} for place in np.searchsorted(edges, numbers, side="right")]


def _words(text: str) -> set[str]:
    lowered = text.casefold().strip()
    wholes = {part.strip() for part in lowered.split(LIST)}
    return (wholes | set(WORD.findall(lowered))) - {""}
