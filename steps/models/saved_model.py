"""A scorer as a self-contained SavedModel with both signatures. Only this module needs TensorFlow."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from steps.models.blend import Blend
from steps.models.deep_cf import Dense
from steps.models.factors import Factors
from steps.models.ids import UNKNOWN, IdTable
from steps.models.item_to_item import ItemToItem
from steps.models.quiet_tensorflow import FingerprintDef, tf
from steps.models.scorer import LEAST_SPREAD, Scorer
from steps.models.sequence import NextItem
from steps.models.signature import (
    ITEMS,
    KNOWN,
    LOWEST,
    NO_ITEM,
    PREDICT,
    PREDICTIONS,
    PRODUCTS,
    RECOMMEND,
    SCORES,
    USERS,
    K,
)
from steps.models.two_stage import TwoStage, rating

FINGERPRINT = "fingerprint.pb"


def export(scorer: Scorer, seen: sp.csr_matrix, folder: Path) -> None:
    """Writes the model; it needs nothing but TensorFlow to run."""
    module = Served(scorer, seen)
    signatures = {PREDICT: module.predict, RECOMMEND: module.recommend}
    tf.saved_model.save(module, str(folder), signatures=signatures)
    name_by_content(folder / FINGERPRINT)


def name_by_content(fingerprint: Path) -> None:
    """Puts what the checksums say in the place of a random id, so that the same model is the same bytes."""
    found = FingerprintDef.FromString(fingerprint.read_bytes())
    found.uuid = f"{found.saved_model_checksum:020d}{found.checkpoint_hash:020d}"
    fingerprint.write_bytes(found.SerializeToString(deterministic=True))


class FactorGraph(tf.Module):  # type: ignore[misc]
    """Multiplies a user's vector with the items'."""

    def __init__(self, scorer: Factors) -> None:
        super().__init__(name="factors")
        self.user_factors = constant(scorer.user_factors)
        self.item_factors = constant(scorer.item_factors)

    def personal(self, users: Any) -> Any:
        return tf.matmul(tf.gather(self.user_factors, users), self.item_factors, transpose_b=True)

    def pairs(self, users: Any, items: Any) -> Any:
        return tf.reduce_sum(tf.gather(self.user_factors, users) * tf.gather(self.item_factors, items), axis=1)


class ItemToItemGraph(tf.Module):  # type: ignore[misc]
    """Multiplies a user's history with the matrix of items × items."""

    def __init__(self, scorer: ItemToItem) -> None:
        super().__init__(name="item_to_item")
        # One more column than there are: the zero that stands for an item which takes no part.
        columns = np.full(len(scorer.items), len(scorer.part), np.int64)
        columns[scorer.part] = np.arange(len(scorer.part))
        self.columns = constant(columns)
        self.width = len(scorer.part)
        self.history = Rows(scorer.history)
        weights = scorer.weights
        self.sparse = isinstance(weights, sp.csr_matrix)
        self.weights = Rows(weights) if isinstance(weights, sp.csr_matrix) else constant(weights)

    def personal(self, users: Any) -> Any:
        return tf.gather(tf.pad(self._within(users), [[0, 0], [0, 1]]), self.columns, axis=1)

    def _within(self, users: Any) -> Any:
        """The scores of the items that take part."""
        owners, bought, weights = self.history.of(users)
        shape = tf.stack([tf.shape(users, tf.int64)[0], self.width])
        if not self.sparse:
            history = tf.sparse.SparseTensor(tf.stack([owners, bought], axis=1), weights, shape)
            return tf.sparse.sparse_dense_matmul(history, self.weights)
        places, found, values = self.weights.of(bought)
        cells = tf.stack([tf.gather(owners, places), found], axis=1)
        return tf.scatter_nd(cells, tf.gather(weights, places) * values, shape)

    def pairs(self, users: Any, items: Any) -> Any:
        return pairs_of(self.personal, users, items)


class TwoStageGraph(tf.Module):  # type: ignore[misc]
    """Retrieves by the product of two vectors, and ranks what it retrieved by a small network."""

    def __init__(self, scorer: TwoStage) -> None:
        super().__init__(name="two_stage")
        self.stages = scorer.stages
        self.queries, self.candidates = constant(scorer.queries), constant(scorer.candidates)
        self.offset = constant(scorer.offset)
        self.head = {name: constant(array) for name, array in scorer.head.items()}

    def personal(self, users: Any) -> Any:
        """Both stages for every item, one user after the other: all pairs at once would fill the memory."""
        second = tf.map_fn(lambda query: self._rating(query[None], self.candidates), tf.gather(self.queries, users))
        return self.first(users) + self.stages.ranking * second

    def first(self, users: Any) -> Any:
        width = self.stages.width
        query = tf.gather(self.queries, users)[:, :width]
        return self.stages.product * (tf.matmul(query, self.candidates[:, :width], transpose_b=True) + self.offset)

    def pairs(self, users: Any, items: Any) -> Any:
        query, candidate = tf.gather(self.queries, users), tf.gather(self.candidates, items)
        width = self.stages.width
        first = tf.reduce_sum(query[:, :width] * candidate[:, :width], axis=1) + tf.gather(self.offset, items)
        return self.stages.product * first + self.stages.ranking * self._rating(query, candidate)

    def ranked(self, users: Any, known: Any, values: Any, places: Any) -> tuple[Any, Any]:
        """What was retrieved in the order of both stages."""
        query = tf.gather(self.queries, users)[:, None, :]
        second = self.stages.ranking * self._rating(query, tf.gather(self.candidates, places))
        values = tf.where(known[:, None] & (values > LOWEST), values + second, values)
        order = tf.argsort(values, axis=1, direction="DESCENDING", stable=True)
        return tf.gather(values, order, batch_dims=1), tf.gather(places, order, batch_dims=1)

    def _rating(self, query: Any, candidate: Any) -> Any:
        return rating(tf.experimental.numpy, self.head, query, candidate)


class DenseGraph(tf.Module):  # type: ignore[misc]
    """Adds the product of two embeddings to a hidden layer over both."""

    def __init__(self, scorer: Dense) -> None:
        super().__init__(name="dense")
        self.user_factors, self.item_factors = constant(scorer.user_factors), constant(scorer.item_factors)
        self.user_hidden, self.item_hidden = constant(scorer.user_hidden), constant(scorer.item_hidden)
        self.bias, self.out = constant(scorer.bias), constant(scorer.out)

    def personal(self, users: Any) -> Any:
        products = tf.matmul(tf.gather(self.user_factors, users), self.item_factors, transpose_b=True)
        # One user after the other: a hidden layer for every pair at once would fill the memory.
        dense = tf.map_fn(
            lambda hidden: tf.linalg.matvec(tf.nn.relu(hidden + self.item_hidden), self.out),
            tf.gather(self.user_hidden, users),
        )
        return products + self.bias + dense

    def pairs(self, users: Any, items: Any) -> Any:
        user, item = tf.gather(self.user_factors, users), tf.gather(self.item_factors, items)
        hidden = tf.nn.relu(tf.gather(self.user_hidden, users) + tf.gather(self.item_hidden, items))
        return tf.reduce_sum(user * item, axis=1) + tf.gather(self.bias, items) + tf.linalg.matvec(hidden, self.out)


class BlendGraph(tf.Module):  # type: ignore[misc]
    """Adds what the members say, every row brought to mean 0 and deviation 1."""

    def __init__(self, scorer: Blend) -> None:
        super().__init__(name="blend")
        self.members = [graph_of(member) for member in scorer.members.values()]
        self.weights = [float(scorer.weights[name]) for name in scorer.members]

    def personal(self, users: Any) -> Any:
        said = [self._standard(one.personal(users)) for one in self.members]
        return tf.add_n([weight * scores for weight, scores in zip(self.weights, said, strict=True)])

    def pairs(self, users: Any, items: Any) -> Any:
        return pairs_of(self.personal, users, items)

    def _standard(self, scores: Any) -> Any:
        mean = tf.reduce_mean(scores, axis=1, keepdims=True)
        spread = tf.math.reduce_std(scores, axis=1, keepdims=True)
        return (scores - mean) / tf.maximum(spread, LEAST_SPREAD)


def pairs_of(personal: Callable[[Any], Any], users: Any, items: Any) -> Any:
    """The scores of pairs from whole rows, one a distinct user."""
    distinct, place = tf.unique(users)
    return tf.gather_nd(personal(distinct), tf.stack([tf.cast(place, tf.int64), items], axis=1))


def graph_of(scorer: Scorer) -> Any:
    return GRAPHS[type(scorer)](scorer)


GRAPHS: dict[type[Scorer], Callable[[Any], Any]] = {
    Factors: FactorGraph,
    ItemToItem: ItemToItemGraph,
    NextItem: FactorGraph,
    TwoStage: TwoStageGraph,
    Dense: DenseGraph,
    Blend: BlendGraph,
}
"""How each kind of scorer is told to TensorFlow: `personal` and `pairs`, of codes that are in the tables."""


class Served(tf.Module):  # type: ignore[misc]
    """Looks ids up, has the kind's graph score them, hides what was bought, and takes the best."""

    def __init__(self, scorer: Scorer, seen: sp.csr_matrix) -> None:
        super().__init__(name="served")
        ids = texts(scorer.items)
        self.user_codes = code_table(texts(scorer.users))
        self.item_codes = code_table(ids)
        self.item_ids = constant([*ids, NO_ITEM.encode()], tf.string)  # the last stands for "no item left"
        self.trained = constant(scorer.trained)
        groups = scorer.shared.groups
        self.grouped = groups is not None
        # The first row is everybody's, for those who are in no group.
        favourites = groups.favourites if groups else np.empty((0, len(ids)), np.float32)
        self.favourites = constant(np.concatenate([np.asarray(scorer.popularity, np.float32)[None], favourites]))
        self.group = constant(groups.of_user + 1 if groups else np.zeros(len(scorer.users), np.int32))
        self.seen = Rows(seen)
        self.number_of_items = len(scorer.items)
        self.scores = graph_of(scorer)
        self.two_stages = isinstance(scorer, TwoStage) and scorer.stages.both

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([None], tf.string, USERS), tf.TensorSpec([None], tf.string, PRODUCTS)]
    )
    def predict(self, users: Any, products: Any) -> dict[str, Any]:
        user, known = self._look_up(users)
        item = self.item_codes.lookup(products)
        place = tf.maximum(item, 0)
        cells = tf.stack([tf.cast(self._group(users), tf.int64), place], axis=1)
        score = tf.where(known, self.scores.pairs(user, place), tf.gather_nd(self.favourites, cells))
        return {PREDICTIONS: tf.where(item != UNKNOWN, score, 0.0)}

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([None], tf.string, USERS), tf.TensorSpec([], tf.int32, K)]
    )
    def recommend(self, users: Any, k: Any) -> dict[str, Any]:
        user, known = self._look_up(users)
        personal = self.scores.first(user) if self.two_stages else self.scores.personal(user)
        strangers = tf.gather(self.favourites, self._group(users)) if self.grouped else self.favourites[:1]
        scores = tf.where(known[:, None], personal, strangers)
        scores = self._hide_seen(scores, user, self.user_codes.lookup(users) != UNKNOWN)
        width = tf.minimum(k, self.number_of_items)
        if self.two_stages:
            retrieved = tf.minimum(tf.maximum(k, self.scores.stages.retrieved), self.number_of_items)
            values, places = self.scores.ranked(user, known, *tf.math.top_k(scores, retrieved))
            values, places = values[:, :width], places[:, :width]
        else:
            values, places = tf.math.top_k(scores, width)
        missing = [[0, 0], [0, k - width]]
        values = tf.pad(values, missing, constant_values=LOWEST)
        places = tf.where(values > LOWEST, tf.pad(places, missing), self.number_of_items)
        return {ITEMS: tf.gather(self.item_ids, places), SCORES: values, KNOWN: known}

    def _look_up(self, users: Any) -> tuple[Any, Any]:
        code = self.user_codes.lookup(users)
        user = tf.maximum(code, 0)
        return user, tf.logical_and(code != UNKNOWN, tf.gather(self.trained, user))

    def _group(self, users: Any) -> Any:
        """The row of what strangers get; who is not even in the table is in no group."""
        code = self.user_codes.lookup(users)
        return tf.where(code != UNKNOWN, tf.gather(self.group, tf.maximum(code, 0)), 0)

    def _hide_seen(self, scores: Any, user: Any, found: Any) -> Any:
        owners, items, _ = self.seen.of(user)
        theirs = tf.gather(found, owners)  # a stranger was looked up as the first user, whose items are not his
        cells = tf.boolean_mask(tf.stack([owners, items], axis=1), theirs)
        return tf.tensor_scatter_nd_update(scores, cells, tf.fill(tf.shape(cells)[:1], tf.constant(LOWEST)))


class Rows(tf.Module):  # type: ignore[misc]
    """A sparse matrix of which some rows are asked for."""

    def __init__(self, matrix: sp.csr_matrix) -> None:
        super().__init__(name="rows")
        self.starts = constant(matrix.indptr.astype(np.int64))
        self.columns = constant(matrix.indices.astype(np.int32))
        self.values = constant(matrix.data.astype(np.float32))

    def of(self, rows: Any) -> tuple[Any, Any, Any]:
        """Of every entry of some rows: the place in `rows`, the column, and the value."""
        places = tf.ragged.range(tf.gather(self.starts, rows), tf.gather(self.starts, rows + 1))
        columns = tf.cast(tf.gather(self.columns, places.values), tf.int64)
        return places.value_rowids(), columns, tf.gather(self.values, places.values)


def texts(ids: IdTable) -> list[bytes]:
    return [one.encode() for one in ids]


def code_table(ids: list[bytes]) -> Any:
    keys = tf.constant(ids, tf.string, [len(ids)])
    values = tf.range(len(ids), dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), UNKNOWN)


def constant(values: Any, dtype: Any = None) -> Any:
    # A variable, not a constant of the graph: a graph may not exceed two gigabytes.
    return tf.Variable(values, trainable=False, dtype=dtype)
