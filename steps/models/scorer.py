"""The contract of what answers without the framework that trained a model: arrays that score, saved in one folder."""

from __future__ import annotations

import json
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.ids import UNKNOWN, Codes, IdTable
from steps.models.recommender import Floats, Recommendations, best
from steps.models.signature import LOWEST

BLOCK_BYTES = 64 << 20
"""Scores held at once; more does not make a multiplication faster."""
FEW = 64
"""Users of one request."""
LEAST_SPREAD = 1e-9
"""Of scores that are all alike, so that nothing is divided by zero."""
ABOUT = "scorer.json"
"""Says in a folder which kind of scorer lies there. The first releases had none: they were all dot products."""


@dataclass(frozen=True)
class Groups:
    """Groups of customers, such as those of one country, and what each of them buys."""

    of_user: Codes
    """UNKNOWN for who is in none."""
    favourites: Floats
    """A row a group: of each item its share of the group's purchases."""

    def save(self, folder: Path) -> None:
        save_arrays(folder, {"groups.of_user": self.of_user.astype(np.int32), "groups.favourites": self.favourites})

    @classmethod
    def load(cls, folder: Path) -> Groups | None:
        if not (folder / "groups.of_user.npy").exists():
            return None
        return cls(load_array(folder, "groups.of_user"), load_array(folder, "groups.favourites"))


@dataclass(frozen=True)
class Shared:
    """What every kind of scorer has."""

    users: IdTable
    items: IdTable
    trained: npt.NDArray[np.bool_]
    """Of each user, whether there was anything to learn from."""
    popularity: Floats
    """Of each item, its share of all purchases: what users get of whom nothing is known."""
    groups: Groups | None = None
    """What users get of whom no purchase is known, but to which group they belong."""

    def __post_init__(self) -> None:
        if self.groups:
            wanted = {"groups": (self.groups.of_user.shape, (len(self.users),))}
            require_shapes({**wanted, "favourites": (self.groups.favourites.shape[1:], (len(self.items),))})
        require_shapes(
            {
                "trained": (self.trained.shape, (len(self.users),)),
                "popularity": (self.popularity.shape, (len(self.items),)),
            }
        )

    def save(self, folder: Path, seen: sp.csr_matrix) -> None:
        self.users.save(folder, "users")
        self.items.save(folder, "items")
        arrays = {"trained": self.trained, "popularity": self.popularity.astype(np.float32)}
        save_arrays(folder, {**arrays, "seen.indptr": seen.indptr.astype(np.int64), "seen.indices": seen.indices})
        if self.groups:
            self.groups.save(folder)

    @classmethod
    def load(cls, folder: Path) -> tuple[Shared, sp.csr_matrix]:
        """What every kind has, and what every user had bought."""
        users, items = IdTable.load(folder, "users"), IdTable.load(folder, "items")
        arrays = load_array(folder, "trained"), load_array(folder, "popularity")
        shared = cls(users, items, *arrays, Groups.load(folder))
        indptr, indices = load_array(folder, "seen.indptr"), load_array(folder, "seen.indices")
        # The ones are each process's own: a byte a purchase, 27 MB beside the 1.4 GB that 1.4 million customers share.
        seen = sp.csr_matrix((np.ones(len(indices), np.bool_), indices, indptr), (len(users), len(items)))
        return shared, seen


class Scorer(ABC):
    """Scores items for users. A kind says how `personal`, `pairs` and `folded` come about; all else is alike.

    Users and items are codes of the two tables; every method takes UNKNOWN (-1) for those that are in none.
    """

    kind: ClassVar[str]
    folder: ClassVar[str] = "scorer"
    """Where in a candidate this kind lies."""

    shared: Shared

    @property
    def users(self) -> IdTable:
        return self.shared.users

    @property
    def items(self) -> IdTable:
        return self.shared.items

    @property
    def trained(self) -> npt.NDArray[np.bool_]:
        return self.shared.trained

    @property
    def popularity(self) -> Floats:
        return self.shared.popularity

    @abstractmethod
    def check(self, name: str) -> None:
        """Raises CheckFailedError where what was learned is not finite or all zero."""

    @abstractmethod
    def personal(self, users: Codes) -> Floats:
        """The scores of every item, a row a user. Only rows of users that were learned from are used."""

    @abstractmethod
    def pairs(self, users: Codes, items: Codes) -> Floats:
        """The score of each pair, as `personal` has it."""

    def folded(self, histories: sp.csr_matrix) -> Floats | None:
        """The scores of every item for people who bought just this, a row each; None where a kind cannot tell."""
        return None

    def alike(self, item: int) -> Floats | None:
        """How alike every item is to this one, above zero where at all; None where a kind cannot tell."""
        return None

    def parts(self, user: int, bought: Codes, item: int) -> Floats | None:
        """What each of a user's purchases adds to the score of an item; None where a kind cannot tell."""
        return None

    @abstractmethod
    def write(self, folder: Path) -> Mapping[str, Any]:
        """Leaves the arrays of this kind in the folder, and returns what is no array, as JSON can hold it."""

    @classmethod
    @abstractmethod
    def read(cls, folder: Path, shared: Shared, about: Mapping[str, Any]) -> Self:
        """Maps what `write` left."""

    def known(self, users: Codes) -> npt.NDArray[np.bool_]:
        """Of each code, whether it is a user that was learned from."""
        # numpy takes several times as long for single entries of what says of itself that it is mapped.
        return np.asarray((users != UNKNOWN) & np.asarray(self.trained)[np.maximum(users, 0)])

    def score(self, users: Codes, items: Codes) -> Floats:
        """One score a pair; popularity for unknown users, zero for unknown items."""
        personal = self.pairs(np.maximum(users, 0), np.maximum(items, 0))
        scores = np.where(self.known(users), personal, self.to_strangers(users, items))
        return np.where(items != UNKNOWN, scores, 0).astype(np.float32)

    def score_all(self, users: Codes) -> Floats:
        """The scores of every item, a row a user; popularity for unknown users."""
        known = self.known(users)
        if known.all():
            return np.asarray(self.personal(users), np.float32)
        scores = np.empty((len(users), len(self.items)), np.float32)
        scores[known] = self.personal(users[known])
        scores[~known] = self.to_strangers(users[~known])
        return scores

    def to_strangers(self, users: Codes, items: Codes | slice = slice(None)) -> Floats:
        """What strangers are scored by: the favourites of their group where it is known, else everybody's.

        A row a user, or with an item a user one number each; one row for all where there are no groups.
        """
        everybody = np.asarray(self.popularity[items])
        if self.shared.groups is None:
            return everybody
        group = np.where(users == UNKNOWN, UNKNOWN, self.shared.groups.of_user[np.maximum(users, 0)])
        theirs = self.shared.groups.favourites[np.maximum(group, 0), items]
        alone = group == UNKNOWN
        return np.where(alone[:, None] if theirs.ndim > 1 else alone, everybody, theirs)

    def score_some(self, user: int, items: Codes) -> Floats:
        """The scores of some items for one user, as `score_all` has them."""
        return np.asarray(self.score_all(np.array([user], np.int32))[0, items])

    def recommend(self, users: Codes, k: int, hidden: sp.csr_matrix | None = None) -> Recommendations:
        """The k best items of each user without what `hidden` marks in the same row."""
        known = self.known(users)
        if self.shared.groups is None and not known.any():
            return Recommendations(*self._popular(len(users), k, hidden), known, 0.0)
        items = np.empty((len(users), k), np.int32)
        values = np.empty((len(users), k), np.float32)
        step = max(1, BLOCK_BYTES // (4 * max(len(self.items), 1)))
        for start in range(0, len(users), step):
            scores = self.score_all(users[start : start + step])
            if hidden is not None:
                hide(scores, hidden[start : start + step])
            items[start : start + step], values[start : start + step] = best(scores, k)
        return Recommendations(items, values, known)

    def _popular(self, count: int, k: int, hidden: sp.csr_matrix | None) -> tuple[Codes, Floats]:
        """What so many strangers get: all the same, but for what is hidden from each."""
        lengths = np.diff(hidden.indptr) if hidden is not None else np.zeros(count, np.int32)
        (first,), (scores,) = best(np.array(self.popularity[None], np.float32), k + int(lengths.max(initial=0)))
        items, values = np.tile(first[:k], (count, 1)), np.tile(scores[:k], (count, 1))
        for row in np.flatnonzero(lengths):
            assert hidden is not None
            own = hidden.indices[hidden.indptr[row] : hidden.indptr[row + 1]]
            left = np.flatnonzero(~np.isin(first[: k + len(own)], own))[:k]
            items[row], values[row] = first[left], scores[left]
        return items, values

    def recommend_many(
        self, users: Codes, k: int, hidden: sp.csr_matrix | None = None, *, of: int = 0
    ) -> Recommendations:
        """The same where these are some `of` so many users in all, and a kind has a faster way for that."""
        return self.recommend(users, k, hidden)

    def warm_up(self) -> bool:
        """Prepares what makes single requests faster, where a kind has that. Answers are the same before and after.

        It may take seconds; requests may be answered meanwhile. Tells whether there was anything to prepare.
        """
        return False

    def recommend_for(self, baskets: Sequence[Codes], k: int, hidden: sp.csr_matrix | None = None) -> Recommendations:
        """The k best items for somebody who just bought these, a row a basket, without them and what `hidden` marks.

        No training. `known` is False, and the row popular items, where none of the items is known or the kind cannot
        fold in.
        """
        items, values = np.empty((len(baskets), k), np.int32), np.empty((len(baskets), k), np.float32)
        known = np.zeros(len(baskets), np.bool_)
        for row, basket in enumerate(baskets):
            bought = basket[basket != UNKNOWN]
            personal = self.after(bought) if len(bought) else None
            known[row] = personal is not None
            scores = np.array(self.popularity[None] if personal is None else personal, np.float32)
            scores[:, bought] = LOWEST
            if hidden is not None:
                hide(scores, hidden[[row]])
            items[row], values[row] = best(scores, k)
        return Recommendations(items, values, known)

    def after(self, bought: Codes) -> Floats | None:
        """The scores of every item for somebody who bought these, the last one last: one row; None where a kind cannot
        tell. For most kinds neither their order counts nor how often each was bought."""
        once = np.unique(bought)
        marks = np.ones(len(once), np.float32)
        return self.folded(sp.csr_matrix((marks, once, np.array([0, len(once)])), (1, len(self.items))))

    def similar(self, item: int, k: int) -> Recommendations | None:
        """The k items most alike to one, without itself: one row, fewer where no others are alike at all."""
        likeness = self.alike(item)
        if likeness is None:
            return None
        scores = np.where(likeness > 0, likeness, np.float32(LOWEST))
        scores[item] = LOWEST
        return Recommendations(*best(scores[None], k), np.array([True]))

    def because(self, user: int, bought: Codes, item: int, k: int) -> tuple[Codes, Floats] | None:
        """The k purchases that speak most for an item, with the share of each in all that speaks for it."""
        others = bought[bought != item]
        parts = self.parts(user, others, item)
        if parts is None:
            return None
        for_it = np.maximum(parts, 0)
        shares = np.asarray(for_it / max(float(for_it.sum()), LEAST_SPREAD), np.float32)
        order = np.argsort(-shares, kind="stable")[:k]
        order = order[shares[order] > 0]
        return others[order], shares[order]

    def save(self, folder: Path, seen: sp.csr_matrix) -> None:
        """Leaves one file an array and a small JSON that names the kind; no pickle anywhere."""
        folder.mkdir(parents=True)
        self.shared.save(folder, seen)
        self.save_kind(folder)

    def save_kind(self, folder: Path) -> None:
        """What this kind adds to what is shared."""
        text = json.dumps({"kind": self.kind, **self.write(folder)}, indent=1, sort_keys=True)
        (folder / ABOUT).write_text(text + "\n", encoding="utf-8")

    @classmethod
    def load(cls, folder: Path) -> tuple[Self, sp.csr_matrix]:
        """Maps what `save` left: the scorer, and what every user had bought."""
        shared, seen = Shared.load(folder)
        return cls.read(folder, shared, about(folder)), seen


def cosines(vectors: Floats, item: int, lengths: Floats | None = None) -> Floats:
    """Of every row the cosine to one of them; zero for a row of zeros. Their lengths, where they are known already."""
    lengths = np.linalg.norm(vectors, axis=1) if lengths is None else lengths
    return np.asarray(vectors @ vectors[item] / np.maximum(lengths * lengths[item], LEAST_SPREAD), np.float32)


def about(folder: Path) -> Mapping[str, Any]:
    """The small JSON of a folder; what the first releases left is a dot product."""
    path = folder / ABOUT
    found: Mapping[str, Any] = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {"kind": "factors"}
    return found


def save_arrays(folder: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> None:
    for name, array in arrays.items():
        np.save(folder / f"{name}.npy", np.ascontiguousarray(array), allow_pickle=False)


def load_array(folder: Path, name: str) -> Any:
    """Mapped: nothing is read before it is asked for, and processes share it."""
    return np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)


def require_shapes(shapes: Mapping[str, tuple[tuple[int, ...], tuple[int, ...]]]) -> None:
    """Raises ValueError for the first array whose shape is not the wanted one."""
    for name, (found, wanted) in shapes.items():
        if found != wanted:
            raise ValueError(f"{name} has shape {found}, {wanted} is required")


def hide(scores: Floats, hidden: sp.csr_matrix) -> None:
    """Marks in each row of scores the items that the same row of `hidden` names."""
    rows = np.repeat(np.arange(len(scores)), np.diff(hidden.indptr))
    scores[rows, hidden.indices] = LOWEST


def marked(rows: Sequence[Codes], columns: int) -> sp.csr_matrix:
    """A matrix that marks these codes, a row each."""
    indptr = np.zeros(len(rows) + 1, np.int32)
    np.cumsum([len(row) for row in rows], out=indptr[1:])
    indices = np.concatenate(rows).astype(np.int32, copy=False)
    return sp.csr_matrix((np.ones(len(indices), np.bool_), indices, indptr), (len(rows), columns))


def rows_of(matrix: sp.csr_matrix, users: Codes) -> sp.csr_matrix:
    """The rows of some users, an empty one for an unknown user."""
    if 0 < len(users) <= FEW:
        return _few_rows_of(matrix, users)
    rows = sp.csr_matrix(matrix[np.maximum(users, 0)], copy=True)
    unknown = np.repeat(users == UNKNOWN, np.diff(rows.indptr))
    if unknown.any():
        rows.data[unknown] = 0
        rows.eliminate_zeros()
    return rows


def _few_rows_of(matrix: sp.csr_matrix, users: Codes) -> sp.csr_matrix:
    """The same for a request, whose answer takes less time than scipy takes to choose a row."""
    starts = [matrix.indptr[user : user + 2].tolist() if user != UNKNOWN else (0, 0) for user in users.tolist()]
    rows = [slice(*one) for one in starts]
    indptr = np.cumsum([0, *(row.stop - row.start for row in rows)], dtype=np.int32)
    indices, data = (np.concatenate([array[row] for row in rows]) for array in (matrix.indices, matrix.data))
    return sp.csr_matrix((data, indices, indptr), (len(users), matrix.shape[1]))
