"""Kinds of event: which of them are the purchases that a shop wants more of, and what the others tell of a taste."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import numpy.typing as npt

PURCHASES = {
    *("purchase", "purchases", "purchased", "buy", "bought", "order", "orders", "ordered", "sale", "sold"),
    *("transaction", "transactions", "checkout", "paid", "payment", "subscribe", "subscribed"),
}
AGAINST = {
    *("dislike", "disliked", "hide", "hidden", "skip", "skipped", "return", "returned", "refund", "refunded"),
    *("remove", "removed", "removefromcart", "cancel", "cancelled", "unsubscribe", "report", "reported"),
}
GUESS = 0.2
"""What an event that is no purchase may count against one, before anything was tried."""


@dataclass(frozen=True)
class Kinds:
    """The kinds of event of a snapshot, in the order of their codes."""

    names: tuple[str, ...]
    goals: tuple[str, ...]
    """Purchases: they are held out, judged by, and not shown again. The others only tell of a taste."""
    weights: Mapping[str, float] = field(default_factory=dict)
    """What each kind counts where somebody has said it, and the purchases' weights hold that; else it is searched."""

    @property
    def searched(self) -> tuple[str, ...]:
        return () if self.weights else tuple(name for name in self.names if name not in self.goals)

    def goal(self) -> npt.NDArray[np.bool_]:
        """By code, whether a kind is a purchase."""
        return np.isin(self.names, self.goals)

    def factors(self, worth: Mapping[str, float]) -> npt.NDArray[np.float32]:
        """By code, what the weight of an event is multiplied with; what `worth` does not name tells nothing."""
        if self.weights:
            return np.ones(len(self.names), np.float32)
        return np.array([1.0 if name in self.goals else worth.get(name, 0.0) for name in self.names], np.float32)


def purchases_among(names: Sequence[str]) -> tuple[str, ...]:
    """The kinds that are purchases by their names."""
    return tuple(name for name in names if _plain(name) in PURCHASES)


def guess(names: Sequence[str]) -> dict[str, float]:
    """What kinds may be worth, by their names."""
    return {name: -GUESS if _plain(name) in AGAINST else GUESS for name in names}


def _plain(name: str) -> str:
    return re.sub(r"[^a-z]", "", name.lower())
