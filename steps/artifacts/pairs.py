"""Purchases summed up by pairs of a user and an item, a matrix for each split, as arrays that a reader only maps."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.ids import Codes

FOLDER = "pairs"
ARRAYS = ("starts", "items", "weights")
Matrices = Mapping[str, sp.csr_matrix]


def summed(
    shape: tuple[int, int], user: Codes, item: Codes, weight: npt.NDArray[np.float32], parts: Mapping[str, Any]
) -> Matrices:
    """Of purchases in the order of their users; `parts` marks the purchases of each split."""
    return {name: _summed(shape, user[part], item[part], weight[part]) for name, part in parts.items()}


def _summed(shape: tuple[int, int], user: Codes, item: Codes, weight: npt.NDArray[np.float32]) -> sp.csr_matrix:
    starts = np.zeros(shape[0] + 1, np.int64)
    np.cumsum(np.bincount(user, minlength=shape[0]), out=starts[1:])
    matrix = sp.csr_matrix((weight, item, starts.astype(np.int32)), shape)
    matrix.sum_duplicates()
    return matrix


def write(folder: Path, matrices: Matrices) -> None:
    """A pair whose purchases add up to nothing stays, as a zero: it met."""
    (folder / FOLDER).mkdir()
    for name, matrix in matrices.items():
        for array, values in zip(ARRAYS, (matrix.indptr, matrix.indices, matrix.data), strict=True):
            np.save(folder / FOLDER / f"{name}.{array}.npy", values, allow_pickle=False)


def read(folder: Path, names: Sequence[str], shape: tuple[int, int]) -> Matrices:
    """Maps what `write` left; nothing where an older version left none."""
    if not (folder / FOLDER).is_dir():
        return {}
    return {name: _read(folder / FOLDER, name, shape) for name in names}


def _read(folder: Path, name: str, shape: tuple[int, int]) -> sp.csr_matrix:
    starts, items, weights = (
        np.load(folder / f"{name}.{array}.npy", mmap_mode="c", allow_pickle=False) for array in ARRAYS
    )
    matrix = sp.csr_matrix((weights, items, starts), shape)
    matrix.has_canonical_format = True
    return matrix


def together(matrices: Sequence[sp.csr_matrix]) -> sp.csr_matrix:
    """The sum without what adds up to nothing."""
    total = None
    for matrix in sorted(matrices, key=lambda one: -one.nnz):
        if total is None:
            total = matrix
        elif matrix.nnz:
            total = total + matrix
    assert total is not None
    if (total.data == 0).any():
        total = sp.csr_matrix(total, copy=True)
        total.eliminate_zeros()
    return total


def met(matrices: Sequence[sp.csr_matrix]) -> sp.csr_matrix:
    """Which pairs are in any of the matrices."""
    return together(
        [sp.csr_matrix((np.ones(one.nnz, np.float32), one.indices, one.indptr), one.shape) for one in matrices]
    )
