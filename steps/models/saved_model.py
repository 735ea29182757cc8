"""Factors as a self-contained SavedModel with both signatures. The only module here that needs TensorFlow."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import scipy.sparse as sp

from steps.models.factors import Factors
from steps.models.ids import UNKNOWN, IdTable
from steps.models.quiet_tensorflow import tf
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


def export_factors(factors: Factors, seen: sp.csr_matrix, folder: Path) -> None:
    """Writes the model; it needs nothing but TensorFlow to run."""
    module = FactorModule(factors, seen)
    signatures = {PREDICT: module.predict, RECOMMEND: module.recommend}
    tf.saved_model.save(module, str(folder), signatures=signatures)


class FactorModule(tf.Module):  # type: ignore[misc]
    """Looks ids up, multiplies, hides what was bought, and takes the best."""

    def __init__(self, factors: Factors, seen: sp.csr_matrix) -> None:
        super().__init__(name="factors")
        ids = _texts(factors.items)
        self.user_codes = _codes(_texts(factors.users))
        self.item_codes = _codes(ids)
        self.item_ids = _constant([*ids, NO_ITEM.encode()], tf.string)  # the last stands for "no item left"
        self.user_factors = _constant(factors.user_factors)
        self.item_factors = _constant(factors.item_factors)
        self.trained = _constant(factors.trained)
        self.popularity = _constant(factors.popularity)
        self.seen_starts = _constant(seen.indptr.astype(np.int64))
        self.seen_items = _constant(seen.indices.astype(np.int64))
        self.number_of_items = len(factors.items)

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([None], tf.string, USERS), tf.TensorSpec([None], tf.string, PRODUCTS)]
    )
    def predict(self, users: Any, products: Any) -> dict[str, Any]:
        user, known = self._look_up(users)
        item = self.item_codes.lookup(products)
        place = tf.maximum(item, 0)
        personal = tf.reduce_sum(tf.gather(self.user_factors, user) * tf.gather(self.item_factors, place), axis=1)
        score = tf.where(known, personal, tf.gather(self.popularity, place))
        return {PREDICTIONS: tf.where(item != UNKNOWN, score, 0.0)}

    @tf.function(  # type: ignore[untyped-decorator]
        input_signature=[tf.TensorSpec([None], tf.string, USERS), tf.TensorSpec([], tf.int32, K)]
    )
    def recommend(self, users: Any, k: Any) -> dict[str, Any]:
        user, known = self._look_up(users)
        personal = tf.matmul(tf.gather(self.user_factors, user), self.item_factors, transpose_b=True)
        scores = tf.where(known[:, None], personal, self.popularity[None, :])
        scores = self._hide_seen(scores, user, self.user_codes.lookup(users) != UNKNOWN)
        width = tf.minimum(k, self.number_of_items)
        values, places = tf.math.top_k(scores, width)
        missing = [[0, 0], [0, k - width]]
        values = tf.pad(values, missing, constant_values=LOWEST)
        places = tf.where(values > LOWEST, tf.pad(places, missing), self.number_of_items)
        return {ITEMS: tf.gather(self.item_ids, places), SCORES: values, KNOWN: known}

    def _look_up(self, users: Any) -> tuple[Any, Any]:
        code = self.user_codes.lookup(users)
        user = tf.maximum(code, 0)
        return user, tf.logical_and(code != UNKNOWN, tf.gather(self.trained, user))

    def _hide_seen(self, scores: Any, user: Any, found: Any) -> Any:
        starts = tf.gather(self.seen_starts, user)
        ends = tf.where(found, tf.gather(self.seen_starts, user + 1), starts)
        places = tf.ragged.range(starts, ends)
        cells = tf.stack([places.value_rowids(), tf.gather(self.seen_items, places.values)], axis=1)
        return tf.tensor_scatter_nd_update(scores, cells, tf.fill(tf.shape(cells)[:1], tf.constant(LOWEST)))


def _texts(ids: IdTable) -> list[bytes]:
    return [one.encode() for one in ids]


def _codes(ids: list[bytes]) -> Any:
    keys = tf.constant(ids, tf.string, [len(ids)])
    values = tf.range(len(ids), dtype=tf.int64)
    return tf.lookup.StaticHashTable(tf.lookup.KeyValueTensorInitializer(keys, values), UNKNOWN)


def _constant(values: Any, dtype: Any = None) -> Any:
    # A variable, not a constant of the graph: a graph may not exceed two gigabytes.
    return tf.Variable(values, trainable=False, dtype=dtype)
