"""Judges the candidates of a run on held-out purchases, against popularity and the live model, and leaves a verdict."""

from __future__ import annotations

import logging
import sys
import tempfile
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.artifacts import candidate, names, records, release, verdict
from steps.clients.object_store import Store, open_store
from steps.models import families
from steps.models.rules import read_rules
from steps.runtime.errors import BadDataError, UsageError
from steps.runtime.flags import whole_number
from steps.runtime.program import Parser, Step, main

if TYPE_CHECKING:
    from steps.artifacts.dataset import Dataset
    from steps.artifacts.report import Figures
    from steps.artifacts.verdict import Verdict
    from steps.models.evaluation import HeldOut, Measured
    from steps.models.ids import Codes
    from steps.models.rules import Rules
    from steps.models.scorer import Scorer

log = logging.getLogger(__name__)

SAMPLE_USERS = 5
SAMPLE_ITEMS = 5


def parser() -> Parser:
    flags = Parser(
        prog="evaluate",
        description=__doc__ or "",
        epilog="example: RUN=first python -m steps.evaluate --snapshot s-0123456789abcdef",
    )
    flags.add_argument("--snapshot", required=True, help="the snapshot that the candidates were trained on")
    flags.add_argument("--models", default="", help="which candidates of $RUN, such as popularity,als (default: all)")
    flags.add_argument("--metric", default="ndcg@10", help="what decides (default: %(default)s)")
    flags.add_argument(
        "--tolerance", default="0.01", help="the share by which a candidate may be below the live model (default: 0.01)"
    )
    flags.add_argument("--min-metric", default="", help="a figure that alone suffices, such as recall@10=0.05")
    flags.add_argument(
        "--fingerprint", default="", help="what plan printed; lets the next run see that nothing changed"
    )
    flags.add_argument("--max-users", default="50000", help="ask about at most so many users (default: %(default)s)")
    flags.add_argument("--seed", default="7", help="for drawing users and the bootstrap (default: %(default)s)")
    return flags


def run(step: Step) -> None:
    flags, store = step.flags, open_store(step.settings)
    run_name = names.require_run(step.settings.run)
    models = families.parse_names(flags.models) if flags.models else []
    rules = read_rules(flags.metric or "ndcg@10", flags.tolerance or "0.01", flags.min_metric)
    most = whole_number("--max-users", flags.max_users or "50000", low=1)
    seed = whole_number("--seed", flags.seed or "7")
    found = {one.model: one for one in candidates(store, run_name, models)}
    for one in found.values():
        if one.snapshot != flags.snapshot:
            raise UsageError(f"{one.path} was trained on {one.snapshot}, not on {flags.snapshot}")

    judged = verdict.find(store.models, run_name)
    if judged is None:
        judged = judge(step, store, found, rules, most, seed)
    log.info("%s: %s", "promote" if judged.promote else "keep what is live", judged.reason)
    step.output("promote", "true" if judged.promote else "false")
    step.output("reason", judged.reason)
    step.output("winner", judged.winner)
    step.output("metrics", {name: one["metrics"] for name, one in everybody(judged).items()})
    step.output("report", store.models.address(f"{judged.winner}/report.html"))
    step.output("sample", judged.sample)


def candidates(store: Store, run_name: str, models: list[str]) -> list[candidate.Candidate]:
    """Those that were named, each of which must be there; else all that the run has."""
    if models:
        return [candidate.read(store.models, names.candidate(run_name, name)) for name in models]
    found = candidate.of_run(store.models, run_name)
    if not found:
        raise UsageError(f"run {run_name!r} has no candidates in {store.models.address()}: train comes before evaluate")
    return found


def everybody(judged: Verdict) -> dict[str, dict[str, Any]]:
    """The candidates and the bars; popularity is often both, and then one row is enough."""
    return {**judged.bars, **judged.candidates}


def judge(
    step: Step, store: Store, found: dict[str, candidate.Candidate], rules: Rules, most: int, seed: int
) -> Verdict:
    """Measures everybody on the same users, decides, and writes figures, report and, last, the verdict."""
    from steps.artifacts import dataset, making, report
    from steps.artifacts.dataset import Split
    from steps.artifacts.evidence import Evidence
    from steps.models import evaluation

    with tempfile.TemporaryDirectory() as scratch:
        data = dataset.load(store, step.flags.snapshot, Path(scratch))
        bought = data.bought(Split.TRAIN, Split.VALIDATION)
        held = evaluation.held_out(bought, data.bought(Split.TEST), most, seed)
        if len(held.users) == 0:
            raise BadDataError(f"snapshot {data.id} has nobody who bought something new in its test split")
        k = max(rules.k, rules.floor[1] if rules.floor else 0)

        scorers = {name: candidate.scorer(store.models, one, Path(scratch))[0] for name, one in found.items()}
        measured = {name: evaluation.measure(one, held, k) for name, one in scorers.items()}
        if evaluation.POPULARITY in measured:
            bars = {evaluation.POPULARITY: measured[evaluation.POPULARITY]}
        else:
            learnt = data.interactions(Split.TRAIN, Split.VALIDATION)
            popular = making.baseline(data, learnt, rules.metric, rules.k, seed)
            bars = {evaluation.POPULARITY: evaluation.measure(popular, held, k)}
        live = release.live(store.models)
        if live:
            theirs, _ = candidate.scorer(store.models, candidate.read(store.models, live.candidate), Path(scratch))
            bars[evaluation.LIVE] = evaluation.measure_foreign(theirs, data.users, data.items, held, k)

        decision = evaluation.decide(rules, measured, bars, seed)
        buyers = bought.getnnz(axis=0)
        groups = evaluation.slices(held, buyers)

        def figures(one: Measured) -> Figures:
            return report.figures(one, rules, groups, buyers, len(data.users))

        judged = verdict.Verdict(
            run=step.settings.run,
            snapshot=data.id,
            fingerprint=step.flags.fingerprint,
            promote=decision.promote,
            winner=found[decision.winner].path,
            reason=decision.reason,
            metric=f"{rules.metric}@{rules.k}",
            thresholds={"tolerance": rules.tolerance, "min_metric": step.flags.min_metric},
            users=len(held.users),
            candidates={
                name: {**figures(one), "settings": found[name].chosen, "seconds": found[name].seconds}
                for name, one in measured.items()
            },
            bars={name: dict(figures(one)) for name, one in bars.items()},
            differences={
                name: asdict(evaluation.against(rules, measured[decision.winner], one, seed))
                for name, one in bars.items()
            },
            live_version=live.version if live else 0,
            sample=sample(data, scorers[decision.winner], held),
            created=records.now(),
        )
        shown = Evidence(
            data=data,
            learnt=bought,
            held=held,
            rules=rules,
            found=found,
            candidates=measured,
            bars=bars,
            winner=decision.winner,
            live=live,
            stranger=stranger(scorers[decision.winner]),
        )
        page = report.render(judged, shown)
        for name, one in found.items():
            store.models.put(f"{one.path}/metrics.json", records.encode(judged.candidates[name]))
            store.models.put(f"{one.path}/report.html", page.encode())
        return verdict.write(store.models, judged)


def stranger(scorer: Scorer) -> Codes:
    """What somebody is shown of whom nothing is known."""
    import numpy as np

    from steps.models.ids import UNKNOWN

    found: Codes = scorer.recommend(np.array([UNKNOWN], np.int32), SAMPLE_ITEMS).items[0]
    return found


def sample(data: Dataset, scorer: Scorer, held: HeldOut) -> list[dict[str, object]]:
    """A few users as a person would look at them: what they bought last, and what they would be shown."""
    had = held.before.getnnz(axis=1)
    order = held.users[had.argsort(kind="stable")[::-1]]
    chosen = order[:: max(1, len(order) // SAMPLE_USERS)][:SAMPLE_USERS]
    return [sample_of(data, scorer, int(user)) for user in chosen]


def sample_of(data: Dataset, scorer: Scorer, user: int) -> dict[str, object]:
    import numpy as np

    from steps.models.recommender import NOBODY
    from steps.models.scorer import rows_of

    def name(item: int) -> str:
        return data.item_names[item] if data.item_names else data.items[item]

    codes = np.array([user], np.int32)
    shown = scorer.recommend(codes, SAMPLE_ITEMS, rows_of(data.seen, codes)).items[0]
    last = dict.fromkeys(int(item) for item in data.item[(data.user == user) & data.purchase][::-1])
    return {
        "user": data.users[user],
        "bought": [name(item) for item in list(last)[:SAMPLE_ITEMS]],
        "recommended": [name(int(item)) for item in shown if item != NOBODY],
    }


if __name__ == "__main__":
    sys.exit(main(parser(), run))
