"""Serves a made-up release behind our own HTTP interface by another way of finding the best items."""

from __future__ import annotations

import argparse
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import numpy as np
from serving_release import models_of

from steps.artifacts import candidate, release
from steps.models.blas import one_thread
from steps.models.factors import Factors
from steps.models.recommender import Recommendations
from steps.runtime.processor import calculate_in_one_thread
from steps.serving.messages import Recommendation, Scored
from steps.serving.models import Bought, Model, Serving, Wanted

WAYS = ("implicit", "tensorflow")


@dataclass(frozen=True, kw_only=True)
class ByImplicit(Model):
    """`implicit`'s own recommend, given all that is asked in a turn."""

    als: Any

    def answer(self, wanted: Sequence[Wanted], recent: Bought) -> list[Recommendation]:
        k, items = wanted[0].k, self.scorer.items
        if wanted[0].items is None:
            codes = self.scorer.users.codes([one.user or "" for one in wanted])
            bought, again = self.bought[codes], False
        else:
            codes = np.zeros(len(wanted), np.int32)  # anybody's, for they are calculated anew
            bought, again = self._matrix([items.codes(one.items or ()) for one in wanted]), True
        with one_thread():
            found = self.als.recommend(codes, bought, N=k, filter_already_liked_items=True, recalculate_user=again)
        return self._named(wanted, Recommendations(*found, self.scorer.known(codes)))


@dataclass(frozen=True, kw_only=True)
class ByTensorFlow(Model):
    """A SavedModel that multiplies with every item, as TensorFlow Serving would run it, without the way there."""

    signature: Any

    def answer(self, wanted: Sequence[Wanted], recent: Bought) -> list[Recommendation]:
        import tensorflow as tf

        users = tf.constant([one.user or "" for one in wanted])
        found = self.signature(users=users, k=tf.constant(wanted[0].k, tf.int32))
        lists = zip(wanted, found["items"].numpy(), found["scores"].numpy(), strict=True)
        return [
            Recommendation(1, self.name, True, [Scored(i.decode(), float(s)) for i, s in zip(*best, strict=True)], user)
            for user, *best in ((one.user, items, scores) for one, items, scores in lists)
        ]


def by_implicit(scorer: Factors, plain: Model) -> Model:
    from implicit.als import AlternatingLeastSquares

    assert scorer.fold_in
    als = AlternatingLeastSquares(
        factors=scorer.item_factors.shape[1], regularization=scorer.fold_in.regularization, alpha=1.0
    )
    als.user_factors, als.item_factors = scorer.user_factors, scorer.item_factors
    als.YtY  # noqa: B018 (found once, before anybody asks)
    return ByImplicit(
        version=plain.version, name="implicit", scorer=scorer, bought=plain.bought.astype("float32"), als=als
    )


def by_tensorflow(scorer: Factors, plain: Model, folder: Path) -> Model:
    import tensorflow as tf

    tf.config.threading.set_intra_op_parallelism_threads(1)
    tf.config.threading.set_inter_op_parallelism_threads(1)
    from steps.models.saved_model import export

    export(scorer, plain.bought, folder)
    signature = tf.saved_model.load(str(folder)).signatures["recommend"]
    return ByTensorFlow(
        version=plain.version, name="tensorflow", scorer=scorer, bought=plain.bought, signature=signature
    )


def main() -> None:
    flags = argparse.ArgumentParser(prog="python tests/benchmarks/serving_ways.py", description=__doc__)
    flags.add_argument("--folder", type=Path, required=True, help="of the store, as serving_release.py made it")
    flags.add_argument("--way", choices=WAYS, required=True)
    asked = flags.parse_args()

    import os

    calculate_in_one_thread(os.environ)
    from steps.serving.api import Api, application
    from steps.serving.server import bind, in_foreground

    with tempfile.TemporaryDirectory(dir=asked.folder) as work, bind("127.0.0.1", 0) as bound:
        models = models_of(asked.folder)
        live = release.require(models, "live")
        scorer, seen = candidate.scorer(models, candidate.read(models, live.candidate), Path(work) / "candidate")
        assert isinstance(scorer, Factors)
        plain = Model(live.version, live.model, scorer, seen)
        if asked.way == "implicit":
            model = by_implicit(scorer, plain)
        else:
            model = by_tensorflow(scorer, plain, Path(work) / "saved_model")
        only = SimpleNamespace(serving=Serving(model), release=None, canary=None, problem="", looked=0.0)
        # The address is told once it answers, as with the server itself.
        print(f"serving on http://127.0.0.1:{bound.getsockname()[1]}", file=sys.stderr, flush=True)
        in_foreground(application(Api(cast(Any, only))), bound)


if __name__ == "__main__":
    main()
