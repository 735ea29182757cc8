"""What somebody will buy next, from what they bought in order: one formula that numpy and Keras both calculate.

The encoder of SASRec (Kang and McAuley, 2018) with the norms before the layers. Training needs its gradient and
serving must not need Keras, so it is written once over the functions that `numpy` and `keras.ops` have in common.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from steps.models.ids import Codes
from steps.models.recommender import Floats

Drop = Callable[[Any], Any]

PADDING = 0
"""The number before a history that is shorter than the encoder looks back; item `i` has the number `i + 1`."""
AT_ONCE = 256
MASKED = -3e4
"""Far enough below every score, and still a number where a graphics card calculates with half the digits."""


@dataclass(frozen=True)
class Shape:
    """The sizes of an encoder."""

    items: int
    length: int
    """How many purchases it looks back; less than what was learned is fine, the last places count."""
    width: int
    blocks: int
    heads: int

    def weights(self) -> dict[str, tuple[int, ...]]:
        """The name and shape of everything that is learned."""
        width, norm = self.width, {"scale": (self.width,), "shift": (self.width,)}
        shapes: dict[str, tuple[int, ...]] = {
            "items": (self.items + 1, width),
            "bias": (self.items + 1,),
            "places": (self.length, width),
        }
        for block in range(self.blocks):
            layers = {
                "attention": {**norm, "mix": (width, 3 * width), "out": (width, width)},
                "dense": {**norm, "in": (width, 2 * width), "bias": (2 * width,), "out": (2 * width, width)},
            }
            shapes |= {f"{block}.{layer}.{part}": size for layer, all_ in layers.items() for part, size in all_.items()}
        return shapes | {f"last.{part}": size for part, size in norm.items()}


def encode(
    xp: Any, weights: Mapping[str, Any], shape: Shape, sequences: Any, drop: Drop = lambda values: values
) -> Any:
    """The state after each purchase: rows × length × width. `xp` is numpy or keras.ops; `drop` forgets in training."""
    states = xp.take(weights["items"], sequences, axis=0) * shape.width**0.5 + weights["places"][-shape.length :]
    states = drop(states)
    earlier = np.tril(np.ones((shape.length, shape.length), np.bool_))
    allowed = xp.logical_and(earlier[None, None], (sequences > PADDING)[:, None, None, :])
    for block in range(shape.blocks):
        of_block = {name.partition(".")[2]: one for name, one in weights.items() if name.startswith(f"{block}.")}
        states = states + drop(_attend(xp, _part(of_block, "attention"), shape, states, allowed))
        states = states + drop(_dense(xp, _part(of_block, "dense"), states))
    return _norm(xp, _part(weights, "last"), states)


def _part(weights: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(f"{prefix}."): one for name, one in weights.items() if name.startswith(f"{prefix}.")}


def _attend(xp: Any, weights: Mapping[str, Any], shape: Shape, states: Any, allowed: Any) -> Any:
    """Each purchase looks at those before it and at itself."""
    each = shape.width // shape.heads
    mixed = xp.matmul(_norm(xp, weights, states), weights["mix"])
    mixed = xp.reshape(mixed, (-1, shape.length, 3, shape.heads, each))
    query, key, value = mixed[:, :, 0], mixed[:, :, 1], mixed[:, :, 2]
    scores = xp.where(allowed, xp.einsum("blhd,bmhd->bhlm", query, key) / each**0.5, MASKED)
    exponents = xp.exp(scores - xp.max(scores, axis=-1, keepdims=True))
    shares = exponents / xp.sum(exponents, axis=-1, keepdims=True)
    found = xp.einsum("bhlm,bmhd->blhd", shares, value)
    return xp.matmul(xp.reshape(found, (-1, shape.length, shape.width)), weights["out"])


def _dense(xp: Any, weights: Mapping[str, Any], states: Any) -> Any:
    hidden = xp.maximum(xp.matmul(_norm(xp, weights, states), weights["in"]) + weights["bias"], 0)
    return xp.matmul(hidden, weights["out"])


def _norm(xp: Any, weights: Mapping[str, Any], states: Any) -> Any:
    centred = states - xp.mean(states, axis=-1, keepdims=True)
    spread = xp.sqrt(xp.mean(centred * centred, axis=-1, keepdims=True) + 1e-6)
    return centred / spread * weights["scale"] + weights["shift"]


def last_states(weights: Mapping[str, Floats], shape: Shape, histories: Sequence[Codes]) -> Floats:
    """The state of somebody after each of these histories (item codes, the last purchase last)."""
    states = np.zeros((len(histories), shape.width), np.float32)
    lengths = np.array([min(len(history), shape.length) for history in histories])
    order = np.argsort(lengths, kind="stable")
    for start in range(0, len(order), AT_ONCE):
        # Histories of about the same length, so that little is calculated about padding.
        chosen = order[start : start + AT_ONCE]
        fitting = replace(shape, length=max(1, int(lengths[chosen].max())))
        sequences = right_aligned([histories[place] for place in chosen], fitting.length)
        states[chosen] = encode(np, weights, fitting, sequences)[:, -1]
    return states


def right_aligned(histories: Sequence[Codes], length: int) -> Codes:
    """The numbers of the last items of each history, behind as much padding as fills the row."""
    rows = np.full((len(histories), length), PADDING, np.int32)
    for row, history in zip(rows, histories, strict=True):
        last = history[-length:]
        row[length - len(last) :] = last + 1
    return rows
