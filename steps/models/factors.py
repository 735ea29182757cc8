"""A model whose score is a dot product, as aligned arrays: scored here with numpy, mapped from files by a server."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from functools import cached_property, partial
from importlib.util import find_spec
from itertools import pairwise
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.blas import one_thread, processors
from steps.models.fold_in import FoldIn, Folding
from steps.models.ids import UNKNOWN, Codes
from steps.models.large_pruning import ALONE, InFloats, InHalves, best_of_many, compiling_pays, search_of
from steps.models.one_by_one import best_one_by_one, pays_for_one
from steps.models.pruning import LEAST_USERS, Found, LongestFirst, pays
from steps.models.recommender import Floats, Recommendations, check_learned
from steps.models.scorer import Scorer, Shared, cosines, load_array, marked, require_shapes, save_arrays

LONGEST_FIRST, PARTS = "longest_first", ("vectors", "lengths", "codes")


@dataclass(frozen=True)
class Factors(Scorer):
    """A vector a user and a vector an item."""

    kind: ClassVar[str] = "factors"
    folder: ClassVar[str] = "factors"

    shared: Shared
    user_factors: Floats
    item_factors: Floats
    fold_in: FoldIn | None = None
    """None where a vector cannot be had from purchases alone."""
    mapped: LongestFirst | None = field(default=None, repr=False, kw_only=True)
    """The items' vectors once more, sorted and in a file: so that processes share it, and none has to sort."""

    def __post_init__(self) -> None:
        width = self.user_factors.shape[1]
        require_shapes(
            {
                "user_factors": (self.user_factors.shape, (len(self.users), width)),
                "item_factors": (self.item_factors.shape, (len(self.items), width)),
            }
        )
        if self.mapped:
            require_shapes({LONGEST_FIRST: (self.mapped.vectors.shape, self.item_factors.shape)})

    def check(self, name: str) -> None:
        check_learned(name, user_factors=self.user_factors, item_factors=self.item_factors)

    def personal(self, users: Codes) -> Floats:
        return np.asarray(self.user_factors[users] @ self.item_factors.T, np.float32)

    def pairs(self, users: Codes, items: Codes) -> Floats:
        return np.asarray(np.einsum("ij,ij->i", self.user_factors[users], self.item_factors[items]), np.float32)

    def score_some(self, user: int, items: Codes) -> Floats:
        return self.score(np.full(len(items), user, np.int32), items)

    def warm_up(self) -> bool:
        if not pays_for_one(len(self.items), 1) or find_spec("numba") is None:
            return False
        # What is compiled or loaded at the first use is used here before anybody waits for it: both ways there are, and
        # with copies, as requests have them, for loops are compiled anew for what may not be written.
        for users in (1, ALONE + 1):
            best_of_many(self._search, np.array(self.user_factors[:users]), 1, None, workers=1)
        for table in (self.users, self.items):
            table.code("")
        if self.fold_in:
            self._vector(np.zeros(1, np.int32))
        self.__dict__["_is_warm"] = True
        return True

    @cached_property
    def _is_warm(self) -> bool:
        """Whether the compiled loops are there."""
        return False

    def recommend(self, users: Codes, k: int, hidden: sp.csr_matrix | None = None) -> Recommendations:
        if self._is_warm and len(users) < LEAST_USERS and pays_for_one(len(self.items), k):
            return self._recommend(users, k, hidden, partial(best_of_many, self._search, workers=1))
        if pays(len(users), len(self.items), k):
            return self._recommend(users, k, hidden, self._longest_first.best)
        if len(users) < LEAST_USERS and pays_for_one(len(self.items), k):
            return self._recommend(users, k, hidden, partial(best_one_by_one, self._longest_first))
        return super().recommend(users, k, hidden)

    def recommend_many(
        self, users: Codes, k: int, hidden: sp.csr_matrix | None = None, *, of: int = 0
    ) -> Recommendations:
        if not compiling_pays(max(len(users), of), len(self.items), self.item_factors.shape[1], k):
            return self.recommend(users, k, hidden)
        with one_thread():
            return self._recommend(users, k, hidden, partial(best_of_many, self._search, workers=processors()))

    def _recommend(
        self, users: Codes, k: int, hidden: sp.csr_matrix | None, best: Callable[..., Found]
    ) -> Recommendations:
        known = self.known(users)
        items, scores = np.empty((len(users), k), np.int32), np.empty((len(users), k), np.float32)
        found = best(np.asarray(self.user_factors)[users[known]], k, _of_those(known, hidden))
        items[known], scores[known] = found.items, found.scores
        if not known.all():
            strangers = super().recommend(users[~known], k, _of_those(~known, hidden))
            items[~known], scores[~known] = strangers.items, strangers.scores
        calculated = found.calculated / len(self.items)
        if not known.all():
            calculated += strangers.calculated * np.count_nonzero(~known)
        return Recommendations(items, scores, known, calculated / max(len(users), 1))

    def recommend_for(self, baskets: Sequence[Codes], k: int, hidden: sp.csr_matrix | None = None) -> Recommendations:
        bought = [np.unique(basket[basket != UNKNOWN]) for basket in baskets]
        if self.fold_in is None or not all(map(len, bought)) or not pays_for_one(len(self.items), k):
            return super().recommend_for(baskets, k, hidden)
        vectors = np.array(list(map(self._vector, bought)))
        rows = [*map(np.union1d, bought, _split(hidden))] if hidden is not None else bought
        without = marked(rows, len(self.items))
        if self._is_warm:
            found = best_of_many(self._search, vectors, k, without, workers=1)
        else:
            found = best_one_by_one(self._longest_first, vectors, k, without)
        calculated = found.calculated / len(self.items) / len(baskets)
        return Recommendations(found.items, found.scores, np.ones(len(baskets), np.bool_), calculated)

    def folded(self, histories: sp.csr_matrix) -> Floats | None:
        if self.fold_in is None:
            return None
        rows = [self._vector(histories.indices[start:end]) for start, end in pairwise(histories.indptr)]
        return np.asarray(np.array(rows) @ self.item_factors.T, np.float32)

    def alike(self, item: int) -> Floats | None:
        """By the angle between vectors; a single number an item, such as its popularity, has none.

        All scores: vectors of which only the direction counts are equally long, and none can be passed over.
        """
        return cosines(self.item_factors, item, self._lengths) if self.item_factors.shape[1] > 1 else None

    def parts(self, user: int, bought: Codes, item: int) -> Floats | None:
        """The score of somebody who bought just this, taken apart by purchase (Hu et al., 2008, section 5)."""
        if self.fold_in is None:
            return None
        vectors = np.asarray(self.item_factors)[bought].astype(np.float64)
        towards = self._folding.solved(vectors, np.asarray(self.item_factors[item], np.float64))
        return np.asarray(self.fold_in.confidence * vectors @ towards, np.float32)

    def _vector(self, bought: Codes) -> Floats:
        # numpy takes several times as long to choose rows of what says of itself that it is mapped.
        return self._folding.vector(np.asarray(self.item_factors)[bought].astype(np.float64)).astype(np.float32)

    @cached_property
    def _folding(self) -> Folding:
        assert self.fold_in is not None
        return Folding.of(self.item_factors, self.fold_in)

    @cached_property
    def _search(self) -> InFloats | InHalves:
        return search_of(self._longest_first)

    @cached_property
    def _lengths(self) -> Floats:
        return np.asarray(np.linalg.norm(self.item_factors, axis=1), np.float32)

    @cached_property
    def _longest_first(self) -> LongestFirst:
        return self.mapped or LongestFirst.of(self.item_factors)

    def write(self, folder: Path) -> Mapping[str, Any]:
        arrays = {"user_factors": self.user_factors, "item_factors": self.item_factors}
        floats = {name: array.astype(np.float32, copy=False) for name, array in arrays.items()}
        save_arrays(folder, floats)
        if pays_for_one(len(self.items), 1):
            vectors = floats["item_factors"]
            ordered = self._longest_first if vectors is self.item_factors else LongestFirst.of(vectors)
            save_arrays(folder, {f"{LONGEST_FIRST}.{part}": getattr(ordered, part) for part in PARTS})
        return {"fold_in": asdict(self.fold_in)} if self.fold_in else {}

    @classmethod
    def read(cls, folder: Path, shared: Shared, about: Mapping[str, Any]) -> Self:
        fold_in = FoldIn(**about["fold_in"]) if "fold_in" in about else None
        vectors = load_array(folder, "user_factors"), load_array(folder, "item_factors")
        return cls(shared, *vectors, fold_in, mapped=_mapped(folder))


def _mapped(folder: Path) -> LongestFirst | None:
    """None for few items, and in what was saved before there was such a thing."""
    if not (folder / f"{LONGEST_FIRST}.vectors.npy").exists():
        return None
    return LongestFirst.sorted(*(load_array(folder, f"{LONGEST_FIRST}.{part}") for part in PARTS))


def _split(matrix: sp.csr_matrix) -> Iterator[Codes]:
    """The codes that each row marks."""
    for start, end in pairwise(matrix.indptr.tolist()):
        yield matrix.indices[start:end]


def _of_those(rows: npt.NDArray[np.bool_], hidden: sp.csr_matrix | None) -> sp.csr_matrix | None:
    """The rows that are marked; scipy takes longer to choose all of one row than the answer to a request does."""
    return hidden if hidden is None or rows.all() else sp.csr_matrix(hidden[rows])
