"""Publishes purchases as a snapshot: read, check, divide into train, validation and test, write once."""

from __future__ import annotations

import logging
import sys

from steps.runtime.program import Parser, Step, main

log = logging.getLogger(__name__)

EXAMPLES = """examples:
  python -m steps.data_publish                                     a generated shop
  python -m steps.data_publish --source purchases.csv --columns user=customer,item=sku,time=bought_at
"""


def parser() -> Parser:
    flags = Parser(prog="data_publish", description=__doc__ or "", epilog=EXAMPLES)
    flags.add_argument("--source", default="demo:", metavar="ADDRESS")
    flags.add_argument("--columns", default="", metavar="NAME=COLUMN,…")
    flags.add_argument("--event-weights", default="", metavar="EVENT=WEIGHT,…")
    flags.add_argument("--query", default="", metavar="SQL")
    flags.add_argument("--split", default="auto", metavar="RULE")
    flags.add_argument("--max-rejects", default="0.01", metavar="SHARE")
    flags.add_argument("--seed", default="7", metavar="NUMBER")
    return flags


def run(step: Step) -> None:
    from steps.artifacts import dataset, splits
    from steps.clients.object_store import open_store
    from steps.sources import address
    from steps.sources.clean import clean

    rule = splits.Rule.parse(step.flags.split or "auto")
    seed = int(step.flags.seed or 7)
    store = open_store(step.settings)
    with address.opened(step.flags.source or "demo:") as found:
        cleaned = clean(found, {}, 0.01)
    users, items = dataset.id_table(cleaned.users["id"]), dataset.id_table(cleaned.items["id"])
    bought = {name: cleaned.purchases[name].to_numpy() for name in cleaned.purchases.columns}
    rule = rule.resolve(bought.get("time"))
    split = splits.divide(rule, users, items, bought["user"], bought["item"], bought.get("time"), seed)
    import polars as pl

    draft = dataset.Draft(
        cleaned.purchases.with_columns(pl.Series("split", split)), cleaned.users, cleaned.items, cleaned.rejects
    )
    published = dataset.publish(store, draft)
    step.output("snapshot", published.id)
    step.output("purchases", published.manifest["counts"]["purchases"])
    step.output("users", published.manifest["counts"]["users"])
    step.output("items", published.manifest["counts"]["items"])
    step.output("new", published.new)


if __name__ == "__main__":
    sys.exit(main(parser(), run))
