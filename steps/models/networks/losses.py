"""The loss of guessing which item was bought."""

from __future__ import annotations

from typing import Any

import numpy as np

from steps.models.quiet_keras import keras

ops = keras.ops

OUT = -3e4
"""A score that no item can have."""


def against_drawn(right: Any, wrong: Any, same: Any, catalogue: int) -> Any:
    """The cross-entropy of each wanted item against items drawn alike from the catalogue.

    `right` holds the scores of the wanted items, `wrong` (rows × drawn) those of the others; `same` marks where one
    of the drawn is the wanted item. What is drawn stands for the whole catalogue, so that the loss is the same on
    average however many are drawn.
    """
    drawn = wrong.shape[-1]
    weighted = wrong + float(np.log(max(catalogue - 1, 1) / drawn))
    logits = ops.concatenate([right[:, None], ops.where(same, OUT, weighted)], axis=1)
    return ops.logsumexp(logits, axis=1) - right
