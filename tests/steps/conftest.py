"""Every model family by name, and a small shop that was published, trained and judged."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import polars as pl
import pytest

from steps.artifacts import candidate, dataset, release, verdict
from steps.artifacts.candidate import Candidate
from steps.artifacts.dataset import Draft
from steps.artifacts.release import Release
from steps.artifacts.verdict import Verdict
from steps.clients.object_store import Store
from steps.models import families
from steps.models.als import ALS, ALSSettings
from steps.models.blend import Blend
from steps.models.factors import Factors
from steps.models.ids import UNKNOWN
from steps.models.interactions import Interactions
from steps.models.recommender import Recommender, Report
from steps.models.scorer import rows_of
from steps.models.scorer_model import ScorerModel

Made = Callable[..., Candidate]
MakeModel = Callable[[str, str], Recommender]


class Blended(ScorerModel):
    """A blend as if it were a family, so that it passes the suite of the families."""

    name = families.BLEND
    settings_type = SimpleNamespace

    def learn(self, interactions: Interactions, seed: int, report: Report) -> Blend:
        weights = {"als": 0.2, "ease": 0.5, "item_knn": 0.3}
        members = {name: families.make(name, self.settings.text).fit(interactions, seed).scorer for name in weights}
        return Blend(members["als"].shared, members, weights)


@pytest.fixture(scope="session")
def make_model() -> MakeModel:
    """`make_model("ease", "als.factors=8")` → a model to fit; `blend` is made like any other."""

    def make(name: str, settings: str) -> Recommender:
        return Blended(SimpleNamespace(text=settings)) if name == families.BLEND else families.make(name, settings)

    return make


@pytest.fixture(params=[*sorted(families.FAMILIES), families.BLEND])
def family(request: pytest.FixtureRequest) -> str:
    """The name of each family in turn: a new one joins by its name in `families.FAMILIES`."""
    return str(request.param)


@pytest.fixture
def make_candidate(checkerboard: Interactions, tmp_path: Path) -> Made:
    """`make_candidate(store, "run-1")` → a whole candidate with factors, and a SavedModel of nothing but a name."""

    def make(
        store: Store, run: str, *, seed: int = 1, wrong: bool = False, snapshot: str = "s-0000000000000000"
    ) -> Candidate:
        model = ALS(ALSSettings(factors=2, regularization=0.1)).fit(checkerboard, seed)
        folder = tmp_path / "candidates" / run
        model.scorer.save(folder / "factors", checkerboard.matrix)
        (folder / "saved_model").mkdir()
        (folder / "saved_model" / "saved_model.pb").write_bytes(b"graph")
        codes = np.array([0, 7, UNKNOWN], np.int32)
        found = model.recommend(codes, 5, rows_of(checkerboard.matrix, codes))
        expected = [
            {
                "user": checkerboard.users[code] if code != UNKNOWN else "nobody",
                "items": checkerboard.items.names(items),
                "scores": [float(score) + (1.0 if wrong else 0.0) for score in scores],
                "known": bool(known),
            }
            for code, items, scores, known in zip(codes, found.items, found.scores, found.known, strict=True)
        ]
        manifest = Candidate(
            run=run, model="als", snapshot=snapshot, settings={}, seed=seed, metrics={}, expected=expected,
            libraries={}, source_revision="test", seconds=1.0, peak_memory=1, created="2026-01-01T00:00:00Z",
        )  # fmt: skip
        return candidate.write(store.models, manifest, folder)

    return make


@pytest.fixture
def things(checkerboard: Interactions) -> pl.DataFrame:
    """The items of the checkerboard: the even ones are lamps, the odd ones chairs; each costs its number and a half."""
    numbers = range(len(checkerboard.items))
    return pl.DataFrame(
        {
            "id": list(checkerboard.items),
            "name": [f"Blue Lamp {one}" if one % 2 == 0 else f"Oak  Chair {one}" for one in numbers],
            "category": ["lamp" if one % 2 == 0 else "chair" for one in numbers],
            "price": [None if one == 7 else one + 0.5 for one in numbers],
            "article": [f"{one:05d}" for one in numbers],
            "shelf": [one // 10 for one in numbers],
        }
    )


@pytest.fixture
def make_snapshot(checkerboard: Interactions, things: pl.DataFrame) -> Callable[..., str]:
    """`make_snapshot(store)` → the id of a snapshot of the checkerboard, with these things or others."""

    def make(store: Store, items: pl.DataFrame | None = None) -> str:
        pairs = checkerboard.matrix.tocoo()
        purchases = pl.DataFrame(
            {
                "user": pairs.row.astype(np.int32),
                "item": pairs.col.astype(np.int32),
                "weight": pairs.data,
                "split": np.zeros(pairs.nnz, np.int8),
            }
        )
        users = pl.DataFrame({"id": list(checkerboard.users)})
        rejects = pl.DataFrame({"reason": pl.Series([], dtype=pl.String)})
        return dataset.publish(store, Draft(purchases, users, things if items is None else items, rejects)).id

    return make


@pytest.fixture
def make_verdict(make_candidate: Made) -> Callable[..., Verdict]:
    """`make_verdict(store, "run-1")` → a verdict that promotes the run's candidate against what is live."""

    def make(store: Store, run: str, *, promote: bool = True, wrong: bool = False) -> Verdict:
        made = make_candidate(store, run, wrong=wrong)
        live = release.live(store.models)
        return verdict.write(
            store.models,
            Verdict(
                run=run, snapshot=made.snapshot, fingerprint=f"fingerprint of {run}", promote=promote, winner=made.path,
                reason="a test says so", metric="ndcg@10", thresholds={}, users=1,
                candidates={"als": {"metrics": {"ndcg@10": 0.5}, "slices": {}}}, bars={}, differences={},
                live_version=live.version if live else 0, sample=[], created="2026-01-01T00:00:00Z",
            ),
        )  # fmt: skip

    return make


@pytest.fixture
def make_release() -> Callable[..., Release]:
    """`make_release(store, candidate, version=2)` → a release as model_publish would have written it."""

    def make(store: Store, made: Candidate, version: int = 1, slot: str = "blue") -> Release:
        one = Release(
            version=version, slot=slot, candidate=made.path, model=made.model, snapshot=made.snapshot, run=made.run,
            previous=version - 1, reason="promoted", metrics={}, created="2026-01-01T00:00:00Z",
        )  # fmt: skip
        release.create(store.models, one)
        return one

    return make


@pytest.fixture
def factors(checkerboard: Interactions) -> Factors:
    """Trained factors of the checkerboard."""
    return ALS(ALSSettings(factors=2, regularization=0.1)).fit(checkerboard, 1).scorer
