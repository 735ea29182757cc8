"""The model that answers: follows the releases, loads the newest beside the old one, and swaps them at once."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import scipy.sparse as sp

from steps.artifacts import candidate, release
from steps.artifacts.release import Release
from steps.clients.object_store import Bucket, remove_folder
from steps.models.ids import Codes
from steps.models.recommender import NOBODY, Floats, Recommendations
from steps.models.scorer import Scorer, rows_of
from steps.runtime.errors import StepError

log = logging.getLogger(__name__)


@dataclass(frozen=True)
class Model:
    """One release, ready to answer. Never changes: a request keeps the one that it began with."""

    release: Release
    scorer: Scorer
    bought: sp.csr_matrix

    def recommend(self, users: list[str], k: int) -> list[dict[str, object]]:
        codes: Codes = self.scorer.users.codes(users)
        found = self._named(self.scorer.recommend(codes, k, rows_of(self.bought, codes)))
        return [{"user": user, **one} for user, one in zip(users, found, strict=True)]

    def recommend_for(self, items: list[str], k: int) -> dict[str, object]:
        """For somebody of whom only this is known: what was just bought."""
        return self._named(self.scorer.recommend_for(self.scorer.items.codes(items), k))[0]

    def similar(self, item: int, k: int) -> list[dict[str, object]] | None:
        """What is most like an item; None where this model cannot tell."""
        found = self.scorer.similar(item, k)
        return None if found is None else self._items(found.items[0], found.scores[0])

    def because(self, user: int, item: int, k: int) -> list[dict[str, object]] | None:
        """Which of a user's purchases speak for an item, and the share of each; None where this model cannot tell."""
        bought = np.asarray(self.bought[[user]].indices, np.int32)
        found = self.scorer.because(user, bought, item, k)
        if found is None:
            return None
        return [
            {"item": self.scorer.items[int(code)], "share": float(share)} for code, share in zip(*found, strict=True)
        ]

    def _items(self, items: Codes, scores: Floats) -> list[dict[str, object]]:
        there = items != NOBODY
        found = zip(self.scorer.items.names(items[there]), scores[there].tolist(), strict=True)
        return [{"item": name, "score": score} for name, score in found]

    def _named(self, found: Recommendations) -> list[dict[str, object]]:
        return [
            {"known": bool(known), "items": self._items(items, scores)}
            for items, scores, known in zip(found.items, found.scores, found.known, strict=True)
        ]

    def predict(self, users: list[str], products: list[str]) -> list[float]:
        scores = self.scorer.score(self.scorer.users.codes(users), self.scorer.items.codes(products))
        return [float(score) for score in scores]


class Live:
    """Holds the live model and looks for a newer release in the background."""

    def __init__(self, models: Bucket, seconds: float) -> None:
        self.models = models
        self.seconds = seconds
        self.model: Model | None = None
        self.problem = "nothing has been looked up yet"
        self.looked = 0.0
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._cache = tempfile.TemporaryDirectory(prefix="serve-")

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._stopped.set()
        self._thread.join()
        self._cache.cleanup()

    def refresh(self) -> None:
        """Swaps in the newest release, if it is not the one that answers already."""
        newest = release.live(self.models)
        self.looked = time.time()
        if newest is None:
            self.problem = "nothing has been released yet"
            return
        if self.model is None or newest.version != self.model.release.version:
            began = time.perf_counter()
            self.model = self._load(newest)
            seconds = time.perf_counter() - began
            log.info("version %d (%s) answers now, loaded in %.2f s", newest.version, newest.model, seconds)
            self._forget_others(newest.version)
        self.problem = ""

    def _load(self, newest: Release) -> Model:
        chosen = candidate.read(self.models, newest.candidate)
        return Model(newest, *candidate.scorer(self.models, chosen, Path(self._cache.name) / str(newest.version)))

    def _forget_others(self, version: int) -> None:
        # Requests that began with the old model go on: its files stay readable while they are mapped.
        for folder in Path(self._cache.name).iterdir():
            if folder.name != str(version):
                remove_folder(folder)

    def _follow(self) -> None:
        while not self._stopped.is_set():
            try:
                self.refresh()
            except StepError as error:
                self.problem = str(error)
                log.warning("the model stays as it is: %s", error)
            except Exception as error:
                self.problem = f"{type(error).__name__}: {error}"
                log.exception("the model stays as it is")
            self._stopped.wait(self.seconds)
