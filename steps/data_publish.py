"""Publishes purchases as a snapshot: reads and checks them, divides them for training and testing, writes them once."""

from __future__ import annotations

import logging
import os
import sys
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from steps.runtime.flags import number, whole_number, yes_or_no
from steps.runtime.program import Parser, Step, main

if TYPE_CHECKING:
    import polars as pl

    from steps.artifacts.dataset import Draft, Published
    from steps.artifacts.splits import Rule
    from steps.clients.object_store import Store
    from steps.sources.address import Source
    from steps.sources.clean import Clean

log = logging.getLogger(__name__)

EXAMPLES = """sources:
  demo:                        a generated shop; demo:users=100000,items=5000,days=730,purchases=2000000,seed=1
  PATH, file:PATH              a CSV or Parquet file, a folder or a zip archive of them; the files of MovieLens,
                               of the H&M competition and of the Kubeflow example are known by their names
  http(s)://…                  the same on the web
  s3://BUCKET/KEY              the same in S3, with the S3_ENDPOINT and the AWS_ keys of the environment
  kaggle:COMPETITION           with KAGGLE_USERNAME and KAGGLE_KEY, or the file that KAGGLE_KEY_FILE names
  postgresql://HOST/DATABASE   the answer to --query, with PGUSER and PGPASSWORD; also sqlite:///FILE

examples:
  python -m steps.data_publish
  python -m steps.data_publish --source purchases.csv --columns user=customer,item=sku,time=bought_at
  python -m steps.data_publish --source events.parquet --event-weights purchase=1,view=0.1,dislike=-1
  python -m steps.data_publish --source postgresql://shop@db/shop --query 'select buyer as user, sku as item from sales'

What the shop's site has sent as feedback joins the purchases of any source, unless --feedback is false: everything that
was bought, but for what the source has already. A store without feedback gives the same snapshot either way.
A purchase with the version of a release came from a list which that had made. It is learned from like any other, and
never held out, whatever --split says: it speaks for the model that made the list.

Rows that cannot be used go to rejects.parquet in the snapshot, each with its number and the reason. The same row
twice counts as two purchases. Publishing the same purchases again finds the snapshot that there is.
"""


@dataclass(frozen=True)
class Request:
    """The flags, understood and found to be in order."""

    source: Source
    rule: Rule
    event_weights: dict[str, float]
    max_rejects: float
    seed: int
    feedback: bool


def parser() -> Parser:
    flags = Parser(prog="data_publish", description=__doc__ or "", epilog=EXAMPLES)
    flags.add_argument("--source", default="demo:", metavar="ADDRESS", help="where the purchases are (default: demo:)")
    flags.add_argument(
        "--columns",
        default="",
        metavar="MEANING=COLUMN,…",
        help="which column is user, item, time, weight, event or name (of the item); "
        "those not given are guessed, and MEANING= leaves one out",
    )
    flags.add_argument(
        "--event-weights",
        default="",
        metavar="EVENT=WEIGHT,…",
        help="what each kind of event is worth; 0 leaves it out, less than 0 is a dislike; what counts most is what is "
        "recommended (default: purchases are known by their names, and train finds what the others are worth)",
    )
    flags.add_argument("--query", default="", metavar="SQL", help="the query whose answer is the purchases")
    flags.add_argument(
        "--split",
        default="auto",
        metavar="RULE",
        help="time[:SHARE], last:N (of each user) or random[:SHARE]; auto is time:0.1, or random:0.25 without times",
    )
    flags.add_argument(
        "--max-rejects", default="0.01", metavar="SHARE", help="how many rows may be unusable (default: 0.01)"
    )
    flags.add_argument("--seed", default="7", metavar="NUMBER", help="of the random split (default: 7)")
    flags.add_argument(
        "--feedback", default="true", metavar="true|false", help="add what feedback says was bought (default: true)"
    )
    return flags


def run(step: Step) -> None:
    from steps.clients.object_store import open_store
    from steps.sources import bought
    from steps.sources.clean import clean

    request = understood(step)
    store = open_store(step.settings)
    with request.source.opened() as found:
        log.info("reading %s", found.about)
        told = bought_by_feedback(store) if request.feedback else None
        whole = found if told is None else bought.beside(found, told, request.event_weights)
        purchases = clean(whole, request.event_weights, request.max_rejects)
        if purchases.rejects.height:
            log.warning("rows that cannot be used: %d of %d", purchases.rejects.height, purchases.rows)
        origin = {"source": found.about, **found.notes}
    if told is not None and told.height:
        before = purchases.purchases.height
        purchases = bought.once(purchases, told["led"])
        repeated = before - purchases.purchases.height
        led = 0 if purchases.led is None else int(purchases.led.sum())
        log.info(
            "purchases told by feedback: %d, of which %d are in the source already; %d came from lists of ours and are "
            "for training alone",
            *(told.height, repeated, led),
        )
        origin["feedback"] = {"purchases": told.height, "in_the_source": repeated, "led": led}
    draft = divided(purchases, request, origin | {"revision": step.settings.source_revision, "run": step.settings.run})
    report(step, publish(store, draft))


def bought_by_feedback(store: Store) -> pl.DataFrame:
    """Everything that feedback says was bought, each purchase once, and whether a list of ours has `led` to it."""
    import polars as pl

    from steps.artifacts import feedback

    bought = feedback.read(store.data, kinds=(feedback.BOUGHT,))
    rows = [(one.user, one.items[0], one.time, one.version > 0) for one in bought]
    schema = {"user": pl.String, "item": pl.String, "time": pl.String, "led": pl.Boolean}
    return pl.DataFrame(rows, schema=schema, orient="row")


def understood(step: Step) -> Request:
    """Checks every flag before anything is read or written."""
    from steps.artifacts.splits import Rule
    from steps.sources.address import Source
    from steps.sources.columns import Columns, event_weights
    from steps.sources.logins import Logins

    flags = step.flags
    return Request(
        feedback=yes_or_no("--feedback", flags.feedback or "true"),
        rule=Rule.parse(flags.split or "auto"),
        event_weights=event_weights(flags.event_weights),
        max_rejects=_share(flags.max_rejects or "0.01"),
        seed=whole_number("--seed", flags.seed or "7"),
        source=Source.parse(
            flags.source or "demo:",
            Columns.parse(flags.columns),
            flags.query.strip(),
            step.settings,
            Logins(dict(os.environ)),
        ),
    )


def divided(clean: Clean, request: Request, origin: dict[str, object]) -> Draft:
    """The purchases with their split, ready to be published."""
    import polars as pl

    from steps.artifacts import dataset, splits

    bought: dict[str, Any] = {name: clean.purchases[name].to_numpy() for name in clean.purchases.columns}
    time, led = bought.get("time"), clean.led
    rule = request.rule.resolve(time if time is None or led is None else time[~led])
    users, items = dataset.id_table(clean.users["id"]), dataset.id_table(clean.items["id"])
    goal = clean.kinds.goal()[bought["event"]] if clean.kinds else None
    split = splits.divide(rule, users, items, bought["user"], bought["item"], time, request.seed, goal, led)
    about = {
        "origin": origin,
        "split": {"rule": str(rule), "asked": str(request.rule), "seed": request.seed},
        "rows": {"read": clean.rows, "rejected": clean.rejects.height, "of_no_weight": clean.weightless},
        "event_weights": request.event_weights,
    }
    purchases = clean.purchases.with_columns(pl.Series("split", split))
    return dataset.Draft(purchases, clean.users, clean.items, clean.rejects, clean.kinds, about)


def publish(store: Store, draft: Draft) -> Published:
    from steps.artifacts import dataset

    return dataset.publish(store, draft)


def report(step: Step, published: Published) -> None:
    """Says what there is now, and leaves it for the next steps."""
    counts, span = published.manifest["counts"], published.manifest["time"]
    density = counts["pairs"] / (counts["users"] * counts["items"])
    log.info(
        "%s: %d purchases of %d items by %d users, %s, %.3g %% of all pairs; train %d, validation %d, test %d",
        *(published.id, counts["purchases"], counts["bought_items"], counts["buyers"]),
        f"{span['first'][:10]} to {span['last'][:10]}" if span else "without times",
        *(100 * density, counts["train"], counts["validation"], counts["test"]),
    )
    kinds = published.manifest.get("kinds")  # older snapshots say nothing of it
    if kinds:
        others = {name: kinds["weights"].get(name) for name in kinds["names"] if name not in kinds["goals"]}
        told = ", ".join(f"{name} counts {worth:g}" if worth else name for name, worth in others.items())
        how = "" if kinds["weights"] else "; train finds out what they are worth"
        log.info("purchases are the events %s; others are %s%s", ", ".join(kinds["goals"]), told, how)
    if counts["repeated_rows"]:
        log.info("%d purchases repeat another one exactly; each counts", counts["repeated_rows"])
    if not published.new:
        log.info("%s was published before: nothing is written", published.id)
    for name in ("purchases", "users", "items"):
        step.output(name, counts[name])
    step.output("snapshot", published.id)
    step.output("new", published.new)


def _share(text: str) -> float:
    """0.01 or 1%."""
    percent = text.strip().endswith("%")
    share = number("--max-rejects", text.strip().removesuffix("%"), 0, 100 if percent else 1)
    return share / 100 if percent else share


if __name__ == "__main__":
    sys.exit(main(parser(), run))
