"""Purchases that a training keeps apart from itself, to notice when it stops to learn what helps."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import scipy.sparse as sp

from steps.models.evaluation import HeldOut, held_out, measure
from steps.models.ids import Codes
from steps.models.scorer import Scorer

USERS_SHARE, MOST_USERS, LEAST_USERS = 0.25, 500, 20
PURCHASES_SHARE = 0.25
LEAST_PURCHASES = 4
"""Of a user with fewer nothing is held back."""
K = 10


@dataclass(frozen=True)
class Holding:
    """What is learned from, and what is held back."""

    learnt: npt.NDArray[np.bool_]
    held: HeldOut | None
    """None where there are too few users to judge by; then everything is learned from."""


def hold_back(user: Codes, item: Codes, shape: tuple[int, int], seed: int) -> Holding:
    """Holds back a quarter of the purchases of a quarter of the users, of 500 at most."""
    rng = np.random.default_rng([seed, 1])
    able = np.flatnonzero(np.bincount(user, minlength=shape[0]) >= LEAST_PURCHASES)
    count = min(MOST_USERS, int(len(able) * USERS_SHARE))
    chosen = np.zeros(shape[0], np.bool_)
    chosen[rng.choice(able, count, replace=False)] = True
    learnt = ~(chosen[user] & (rng.random(len(user)) < PURCHASES_SHARE))

    def matrix(part: npt.NDArray[np.bool_]) -> sp.csr_matrix:
        return sp.csr_matrix((np.ones(int(part.sum()), np.float32), (user[part], item[part])), shape)

    held = held_out(matrix(learnt), matrix(~learnt), MOST_USERS, seed)
    if len(held.users) < LEAST_USERS:
        return Holding(np.ones(len(user), np.bool_), None)
    return Holding(learnt, held)


def figure(scorer: Scorer, held: HeldOut) -> float:
    """nDCG@10 of what was held back, over the whole catalogue without what was learned from."""
    return measure(scorer, held, K).mean("ndcg", K)
