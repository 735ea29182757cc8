"""A model that first retrieves by a product of two vectors, then ranks what it retrieved by a small network."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Self

import numpy as np
import scipy.sparse as sp

from steps.models.ids import Codes
from steps.models.recommender import NOBODY, Floats, Recommendations, check_learned
from steps.models.scorer import Scorer, Shared, cosines, load_array, require_shapes, save_arrays
from steps.models.signature import LOWEST

HEAD = ("query", "candidate", "product", "bias", "out", "query_out", "candidate_out")
TOWER = ("in", "bias", "out", "skip")
BLOCK = 1 << 20
ITEMS_AT_ONCE = 4096
"""So many hidden layers fit where a processor reaches them fast."""


@dataclass(frozen=True)
class Stages:
    """How the two stages work together."""

    width: int
    """So many entries of the vectors are multiplied for retrieval; the ranking looks at all of them."""
    retrieved: int
    """How many items the second stage looks at."""
    product: float
    """How much the score of the first stage counts: 1, or 0 where only a ranking was learned."""
    ranking: float
    """How much the score of the second stage counts; 0 leaves the order of the first."""

    @property
    def ranks(self) -> bool:
        return self.ranking != 0

    @property
    def both(self) -> bool:
        """Whether there is something to retrieve by and something to rank by."""
        return self.product != 0 and self.ranks


def tower(xp: Any, weights: Mapping[str, Any], known: Any) -> Any:
    """From all that is known of a user or an item, as one vector, to the vector that is compared. `xp` as below."""
    hidden = xp.maximum(xp.matmul(known, weights["in"]) + weights["bias"], 0)
    return xp.matmul(known, weights["skip"]) + xp.matmul(hidden, weights["out"])


def rating(xp: Any, head: Mapping[str, Any], query: Any, candidate: Any) -> Any:
    """What the ranking says of pairs of vectors; `xp` is numpy, keras.ops or something else with their functions."""
    hidden = xp.matmul(query, head["query"]) + xp.matmul(candidate, head["candidate"])
    hidden = hidden + xp.matmul(query * candidate, head["product"]) + head["bias"]
    linear = xp.matmul(query, head["query_out"]) + xp.matmul(candidate, head["candidate_out"])
    return (xp.matmul(xp.maximum(hidden, 0), head["out"]) + linear)[..., 0]


@dataclass(frozen=True)
class TwoStage(Scorer):
    """A vector a user and a vector an item, and the network that ranks pairs of them."""

    kind: ClassVar[str] = "two_stage"

    shared: Shared
    queries: Floats
    candidates: Floats
    offset: Floats
    """Added to the score of each item by the first stage."""
    head: Mapping[str, Floats]
    stages: Stages
    query: Mapping[str, Floats]
    """The query tower, to fold a new user in: its layers, `items`, what having bought each adds, and `stranger`."""

    def __post_init__(self) -> None:
        width = self.queries.shape[1]
        require_shapes(
            {
                "queries": (self.queries.shape, (len(self.users), width)),
                "candidates": (self.candidates.shape, (len(self.items), width)),
                "offset": (self.offset.shape, (len(self.items),)),
            }
        )

    def check(self, name: str) -> None:
        check_learned(name, queries=self.queries, candidates=self.candidates)

    def personal(self, users: Codes) -> Floats:
        return self._scores(np.asarray(self.queries[users]))

    def pairs(self, users: Codes, items: Codes) -> Floats:
        query, candidate = np.asarray(self.queries[users]), np.asarray(self.candidates[items])
        width = self.stages.width
        first = np.einsum("ij,ij->i", query[:, :width], candidate[:, :width]) + self.offset[items]
        scores = self.stages.product * first
        if self.stages.ranks:
            scores = scores + self.stages.ranking * rating(np, self.head, query, candidate)
        return np.asarray(scores, np.float32)

    def folded(self, histories: sp.csr_matrix) -> Floats | None:
        bought = sp.csr_matrix(histories, dtype=np.float32, copy=True)
        counts = np.maximum(np.diff(bought.indptr), 1)
        bought.data = np.repeat(1 / np.sqrt(counts), np.diff(bought.indptr)).astype(np.float32)
        known = np.asarray(bought @ self.query["items"]) + self.query["stranger"]
        return self._scores(np.asarray(tower(np, self.query, known), np.float32))

    def alike(self, item: int) -> Floats:
        return cosines(self.candidates[:, : self.stages.width], item)

    def recommend(self, users: Codes, k: int, hidden: sp.csr_matrix | None = None) -> Recommendations:
        """Retrieves by the first stage and orders by both; whom it does not know gets popular items."""
        if not self.stages.both:
            return super().recommend(users, k, hidden)
        width = min(max(k, self.stages.retrieved), len(self.items))
        found = self._first().recommend(users, max(k, width), hidden)
        scores = self._ranked(users, found)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
        items = np.take_along_axis(found.items, order, axis=1)
        return Recommendations(items, np.take_along_axis(scores, order, axis=1), found.known)

    def _first(self) -> Self:
        """The first stage alone."""
        alone = Stages(self.stages.width, self.stages.retrieved, self.stages.product, 0.0)
        return type(self)(self.shared, self.queries, self.candidates, self.offset, self.head, alone, self.query)

    def _ranked(self, users: Codes, found: Recommendations) -> Floats:
        """The scores of both stages for what the first one found, where it found anything for somebody it knows."""
        row, place = np.nonzero((found.items != NOBODY) & found.known[:, None])
        scores = found.scores.copy()
        for start in range(0, len(row), BLOCK):
            part = row[start : start + BLOCK], place[start : start + BLOCK]
            query = np.asarray(self.queries[users[part[0]]])
            candidate = np.asarray(self.candidates[found.items[part]])
            scores[part] += np.asarray(self.stages.ranking * rating(np, self.head, query, candidate), np.float32)
        return np.maximum(scores, np.float32(LOWEST))

    def _scores(self, query: Floats) -> Floats:
        """Both stages for every item: what a user would get if everything were retrieved."""
        width = self.stages.width
        scores = self.stages.product * (query[:, :width] @ self.candidates[:, :width].T + self.offset)
        if self.stages.ranks:
            for row, vector in zip(scores, query, strict=True):
                row += self.stages.ranking * self._rating_of_all(vector)
        return np.asarray(scores, np.float32)

    def _rating_of_all(self, query: Floats) -> Floats:
        """What `rating` says of one user and every item: all that is the user's is put into the weights beforehand."""
        head = {name: np.asarray(weights, np.float32) for name, weights in self.head.items()}
        weights = head["candidate"] + query[:, None] * head["product"]
        bias = query @ head["query"] + head["bias"]
        found = self.candidates @ head["candidate_out"][:, 0] + query @ head["query_out"][:, 0]
        for start in range(0, len(found), ITEMS_AT_ONCE):
            block = slice(start, start + ITEMS_AT_ONCE)
            found[block] += np.maximum(self.candidates[block] @ weights + bias, 0) @ head["out"][:, 0]
        return np.asarray(found, np.float32)

    def write(self, folder: Path) -> Mapping[str, Any]:
        save_arrays(folder, {"queries": self.queries, "candidates": self.candidates, "offset": self.offset})
        save_arrays(folder, {f"head.{name}": array for name, array in self.head.items()})
        save_arrays(folder, {f"query.{name}": array for name, array in self.query.items()})
        return {"stages": asdict(self.stages)}

    @classmethod
    def read(cls, folder: Path, shared: Shared, about: Mapping[str, Any]) -> Self:
        queries, candidates, offset = (load_array(folder, name) for name in ("queries", "candidates", "offset"))
        head = {name: load_array(folder, f"head.{name}") for name in HEAD}
        query = {name: load_array(folder, f"query.{name}") for name in (*TOWER, "items", "stranger")}
        return cls(shared, queries, candidates, offset, head, Stages(**about["stages"]), query)
