"""The network behind `two_tower`: what is known of a user and of an item, and two tasks that share it."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from steps.models.ids import Codes
from steps.models.networks.training import Share, own_seed
from steps.models.quiet_keras import keras, keras_rs
from steps.models.recommender import Floats
from steps.models.two_stage import rating, tower

ops = keras.ops

ALL = Share()
MOMENTS = 12 + 7 + 24 + 1
"""Months, days of the week and hours, of which a purchase has one each; and the unknown time."""
MASKED = -3e4
SPREAD = 0.05


@dataclass(frozen=True)
class Known:
    """What the towers look up, a row a user or an item."""

    user_words: tuple[Codes, Floats]
    item_words: tuple[Codes, Floats]
    words: tuple[int, int]
    """How many different words there are of users, and of items."""
    bought: Codes
    """The last items of each user as numbers from 1; 0 where there are fewer."""
    share: Floats
    """Of each item, its share of what is learned from: how likely it is to be in a batch."""


@dataclass(frozen=True)
class Sizes:
    """The widths of the network."""

    product: int
    """What is compared for retrieval."""
    extra: int
    """What only the ranking looks at."""
    hidden: int

    @property
    def vector(self) -> int:
        return self.product + self.extra


@dataclass(frozen=True)
class Tasks:
    """How much each task counts, and what keeps them from learning by heart."""

    retrieval: float
    ranking: float
    dropout: float
    strangers: float
    """How often the network must do without the id of the user or the item."""


class Towers(keras.Model):  # type: ignore[misc]
    """Rows of purchases in, the weighted loss of both tasks out."""

    def __init__(self, known: Known, sizes: Sizes, tasks: Tasks, seed: int, rows: Share = ALL) -> None:
        super().__init__()
        self.rows = rows
        self.known, self.sizes, self.tasks = known, sizes, tasks
        self.users, self.items = len(known.bought), len(known.share)
        self.random = keras.random.SeedGenerator(seed)
        self.dropout = keras.layers.Dropout(tasks.dropout, seed=seed)
        self.correction = keras_rs.layers.SamplingProbabilityCorrection(epsilon=1e-9)
        self.learned = {
            name: self.add_weight(shape=shape, initializer=_initial(name, seed), name=name.replace(".", "_"))
            for name, shape in self._shapes().items()
        }
        self.share = ops.convert_to_tensor(known.share)
        self.tables = [ops.convert_to_tensor(table) for table in (*known.user_words, *known.item_words, known.bought)]

    def _shapes(self) -> dict[str, tuple[int, ...]]:
        width, hidden = self.sizes.vector, self.sizes.hidden
        layers = {"in": (width, hidden), "bias": (hidden,), "out": (hidden, width), "skip": (width, width)}
        head = {
            "query": (width, hidden),
            "candidate": (width, hidden),
            "product": (width, hidden),
            "bias": (hidden,),
            "out": (hidden, 1),
            "query_out": (width, 1),
            "candidate_out": (width, 1),
        }
        return {
            "table.user": (self.users + 1, width),  # the last row is the stranger's
            "table.item": (self.items + 1, width),
            "table.user_word": (max(self.known.words[0], 1), width),
            "table.item_word": (max(self.known.words[1], 1), width),
            "table.bought": (self.items + 1, width),  # the first row is nobody's
            "table.moment": (MOMENTS, width),
            **{f"query.{name}": shape for name, shape in layers.items()},
            **{f"candidate.{name}": shape for name, shape in layers.items()},
            **{f"head.{name}": shape for name, shape in head.items()},
        }

    def call(self, inputs: Mapping[str, Any], training: bool = False) -> tuple[Any, Any]:
        user_words, user_weights, item_words, item_weights, bought = self.tables
        user, item = inputs["user"], inputs["item"]

        def drop(values: Any) -> Any:
            return self.dropout(values, training=training)

        query = self._looked_up("user", self._sometimes_a_stranger(user, self.users, training))
        query += self._bag("user_word", ops.take(user_words, user, axis=0), ops.take(user_weights, user, axis=0))
        before = ops.take(bought, user, axis=0)
        # What is to be guessed must not be among what is known.
        there = ops.cast(ops.logical_and(before > 0, before != item[:, None] + 1), self.compute_dtype)
        there = there / ops.sqrt(ops.maximum(ops.sum(there, axis=1, keepdims=True), 1))
        query += self._bag("bought", before, there)
        query += ops.sum(self._looked_up("moment", inputs["moment"]), axis=1)
        candidate = self._looked_up("item", self._sometimes_a_stranger(item, self.items, training))
        candidate += self._bag("item_word", ops.take(item_words, item, axis=0), ops.take(item_weights, item, axis=0))
        # Of the users only a worker's own rows go on; the items are all needed, as wrong answers of one another.
        query = self.rows.of(drop(query))
        return tower(ops, self._part("query"), query), tower(ops, self._part("candidate"), drop(candidate))

    def compute_loss(self, x: Any = None, y: Any = None, y_pred: Any = None, *_: Any, **__: Any) -> Any:
        query, candidate = (ops.cast(part, "float32") for part in y_pred)
        loss = 0.0
        if self.tasks.retrieval:
            loss += self.tasks.retrieval * self._retrieval(x, query, candidate)
        if self.tasks.ranking:
            found = rating(ops, self._part("head", "float32"), query, self.rows.of(candidate))
            wrong = found - self.rows.of(x["rating"])
            loss += self.tasks.ranking * ops.sum(wrong * wrong) / ops.cast(ops.shape(candidate)[0], "float32")
        return loss

    def _retrieval(self, x: Any, query: Any, candidate: Any) -> Any:
        """Which item of the batch was bought? The popular ones are in it more often, which is corrected."""
        width, item = self.sizes.product, x["item"]
        logits = ops.matmul(query[:, :width], ops.transpose(candidate[:, :width]))
        logits = self.correction(logits, ops.take(self.share, item)[None, :])
        own = self.rows.of(ops.eye(ops.shape(item)[0], dtype="bool"))
        # The same item bought by others is no wrong answer. (keras-rs has a layer for this, whose mask is too small
        # a number to change anything.)
        again = ops.logical_and(self.rows.of(item)[:, None] == item[None, :], ops.logical_not(own))
        logits = ops.where(again, MASKED, logits)
        right = ops.sum(ops.where(own, logits, 0.0), axis=1)
        liked = x["liked"]
        return ops.sum((ops.logsumexp(logits, axis=1) - right) * self.rows.of(liked)) / ops.maximum(ops.sum(liked), 1)

    def _sometimes_a_stranger(self, codes: Any, stranger: int, training: bool) -> Any:
        if not training:
            return codes
        hidden = keras.random.uniform(ops.shape(codes), seed=self.random) < self.tasks.strangers
        return ops.where(hidden, stranger, codes)

    def _looked_up(self, table: str, codes: Any) -> Any:
        return ops.cast(ops.take(self.learned[f"table.{table}"], codes, axis=0), self.compute_dtype)

    def _bag(self, table: str, codes: Any, weights: Any) -> Any:
        return ops.sum(self._looked_up(table, codes) * ops.cast(weights, self.compute_dtype)[:, :, None], axis=1)

    def _part(self, prefix: str, dtype: str = "") -> dict[str, Any]:
        kind = dtype or self.compute_dtype
        found = {name.partition("."): one for name, one in self.learned.items()}
        return {name: ops.cast(one, kind) for (first, _, name), one in found.items() if first == prefix}

    def arrays(self) -> dict[str, Floats]:
        """What was learned."""
        return {name: np.array(one.value.numpy(), np.float32) for name, one in self.learned.items()}


def moments(time: npt.NDArray[np.int64] | None, rows: int) -> Codes:
    """Of each time (microseconds since 1970) the places of its month, day of the week and hour among MOMENTS."""
    if time is None:
        return np.full((rows, 3), MOMENTS - 1, np.int32)
    moment = time.astype("datetime64[us]")
    month = moment.astype("datetime64[M]").astype(np.int64) % 12
    day = (moment.astype("datetime64[D]").astype(np.int64) + 3) % 7  # 1970 began on a Thursday
    hour = moment.astype("datetime64[h]").astype(np.int64) % 24
    return np.stack([month, 12 + day, 19 + hour], axis=1).astype(np.int32)


def _initial(name: str, seed: int) -> Any:
    group, _, part = name.partition(".")
    if part == "bias" or name.endswith("_out"):
        return "zeros"
    if group == "table":
        return keras.initializers.RandomNormal(stddev=SPREAD, seed=own_seed(name, seed))
    if part == "skip":
        return keras.initializers.Identity()
    return keras.initializers.GlorotUniform(seed=own_seed(name, seed))
