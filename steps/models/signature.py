"""The served contract, declared once: what goes into a SavedModel, what comes out, and how an answer is judged."""

from __future__ import annotations

from dataclasses import dataclass

MODEL_NAME = "recommender"

PREDICT = "predict"
"""`users` and `products`, strings of the same length → `predictions`, one float a pair.

An unknown user is scored by popularity, an unknown product is 0.
"""
RECOMMEND = "recommend"
"""`users`, strings, and the scalar `k` → `items` (n × k, strings), `scores` (n × k, floats), `known` (n, bools).

Items that the user bought are left out. A row with fewer than k items left ends with empty ids and the score LOWEST.
"""
USERS, PRODUCTS, PREDICTIONS, K = "users", "products", "predictions", "k"
ITEMS, SCORES, KNOWN = "items", "scores", "known"
NO_ITEM = ""

LOWEST = -3.4028234663852886e38
"""The least float32: finite, because JSON knows no infinity."""

TOLERANCE = 1e-3
"""Relative difference of two scores that another BLAS or batch size explains."""


@dataclass(frozen=True)
class Answer:
    """What `recommend` says of one user."""

    user: str
    items: list[str]
    scores: list[float]
    known: bool


def differs(expected: Answer, found: Answer) -> str:
    """Why an answer is not the expected one, or an empty text. Items whose scores tie may change places."""
    who = f"user {expected.user!r}"
    if found.known != expected.known:
        return f"{who}: known is {found.known}, {expected.known} was recorded"
    if not len(found.scores) == len(found.items) == len(expected.items):
        return f"{who}: {len(found.items)} items, {len(expected.items)} were recorded"
    largest = max((abs(score) for score in expected.scores if score > LOWEST), default=0.0)
    allowed = TOLERANCE * max(largest, 1e-6)
    recorded_scores = dict(zip(expected.items, expected.scores, strict=True))
    for place, (item, score, wanted) in enumerate(zip(found.items, found.scores, expected.scores, strict=True), 1):
        if item == NO_ITEM and wanted <= LOWEST:
            continue  # LOWEST has more digits than an answer in JSON need have
        # Asked this way round, because NaN is neither above nor below anything.
        if not abs(score - wanted) <= allowed:
            return f"{who}: place {place} has score {score:.6g}, {wanted:.6g} was recorded"
        recorded = recorded_scores.get(item, expected.scores[-1])
        if not abs(score - recorded) <= allowed:
            return f"{who}: place {place} is {item!r} with {score:.6g}, recorded with {recorded:.6g}"
    return ""
