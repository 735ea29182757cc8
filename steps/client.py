"""Asks the model server for recommendations at a rate, and measures the answers; or plays the shoppers too."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
import time
import uuid
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from steps.clients.object_store import open_store
from steps.runtime.errors import TryAgainError, UsageError
from steps.runtime.flags import number, whole_number
from steps.runtime.processor import calculate_in_one_thread
from steps.runtime.program import Parser, Step, main
from steps.runtime.progress import progress

if TYPE_CHECKING:
    from steps.artifacts.dataset import Dataset
    from steps.serving.asking import Feedback
    from steps.serving.load import Asker, Schedule, Server, Tally
    from steps.serving.shopper import Taste

log = logging.getLogger(__name__)

EXAMPLES = """examples:
  python -m steps.client --rate 200 --seconds 30
  python -m steps.client --shopper --count 2000 --rate 0
  python -m steps.client --shopper --taste new --kinds none --on-their-own 0.5
                                           (nobody likes what they did, nor does a column tell what goes together)
  KAFKA_BROKERS=localhost:9092 python -m steps.client --kafka --rate 500 --count 10000
  python -m steps.client --schema          (of the messages that go through Kafka)

environment:
  STORE           where the users come from, unless --users names a file
  API_TOKEN       sent to the model server as a bearer token
  KAFKA_BROKERS   and the other settings of Kafka, for --kafka
"""
LOOK_SECONDS = 0.2
TASTES = ("history", "new")


def parser() -> Parser:
    flags = Parser(prog="client", description=__doc__ or "", epilog=EXAMPLES)
    flags.add_argument("--url", default="http://127.0.0.1:8080", help="the model server (default: %(default)s)")
    flags.add_argument("--kafka", action="store_true", help="ask through Kafka instead; feedback still goes to --url")
    flags.add_argument("--rate", default="20", help="requests a second; 0 is as fast as answers come (default: 20)")
    flags.add_argument("--count", default="", help="how many requests (default: 200)")
    flags.add_argument("--seconds", default="", help="for how long, instead of --count")
    flags.add_argument("--k", default="10", help="the length of a list (default: %(default)s)")
    flags.add_argument("--at-once", default="32", help="requests that wait at the same time by HTTP (default: 32)")
    flags.add_argument("--patience", default="10", help="seconds that an answer may take (default: %(default)s)")
    flags.add_argument("--users", default="", metavar="FILE", help="who asks: a file with one id a line")
    flags.add_argument("--snapshot", default="", help="who asks: its users (default: the live release's snapshot)")
    flags.add_argument(
        "--shopper", action="store_true", help="look at the lists, click, buy, and send that as feedback"
    )
    flags.add_argument(
        "--taste", default="history",
        help="what they like: `history` as in the snapshot, or `new` as if they had all changed (default: history)",
    )  # fmt: skip
    flags.add_argument("--kinds", default="category", metavar="COLUMN", help="of the items, by which tastes differ")
    flags.add_argument(
        "--on-their-own", default="0.3", metavar="SHARE",
        help="visits that end with a purchase which no list has led to; only by such are models judged, so 0 leaves "
        "nothing to judge by, and nor does --users, whose file names no products (default: %(default)s)",
    )  # fmt: skip
    flags.add_argument(
        "--taste-seed",
        default="7",
        help="another seed is another taste, where the past has no say (default: %(default)s)",
    )
    flags.add_argument("--seed", default="7", help="the same seed asks the same users (default: %(default)s)")
    flags.add_argument("--schema", action="store_true", help="print the JSON Schema of the Kafka messages, and end")
    return flags


@dataclass(frozen=True)
class Plan:
    """The flags, checked."""

    rate: float
    count: int
    k: int
    at_once: int
    patience: float
    seed: int
    taste_seed: int
    on_their_own: float

    @classmethod
    def of(cls, step: Step) -> Plan:
        flags = step.flags
        rate = number("--rate", flags.rate or "20", 0, 100_000)
        if flags.count and flags.seconds:
            raise UsageError("give --count or --seconds, not both")
        if flags.seconds and not rate:
            raise UsageError("--seconds needs a --rate: as fast as answers come, only --count can end it")
        count = whole_number("--count", flags.count or "200", low=1)
        if flags.seconds:
            count = max(1, round(rate * number("--seconds", flags.seconds, 0.001, 1e7)))
        if flags.taste not in TASTES:
            raise UsageError(f"--taste is {flags.taste!r}: {' or '.join(TASTES)}")
        if flags.kafka and not step.settings.kafka:
            raise UsageError("--kafka needs KAFKA_BROKERS: HOST:PORT, with commas between several")
        return cls(
            rate=rate,
            count=count,
            k=whole_number("--k", flags.k or "10", low=1, high=1000),
            at_once=whole_number("--at-once", flags.at_once or "32", low=1, high=1000),
            patience=number("--patience", flags.patience or "10", 0.1, 3600),
            seed=whole_number("--seed", flags.seed or "7"),
            taste_seed=whole_number("--taste-seed", flags.taste_seed or "7"),
            on_their_own=number("--on-their-own", flags.on_their_own or "0.3", 0, 1),
        )


def run(step: Step) -> None:
    if step.flags.schema:
        show_schema()
        return
    plan = Plan.of(step)
    calculate_in_one_thread(os.environ)
    from steps.serving.asking import Feedback
    from steps.serving.load import Schedule, Server, Tally
    from steps.serving.shopper import Shoppers

    server = Server(step.flags.url, step.settings.api_token, plan.patience)
    name = f"client-{uuid.uuid4().hex[:12]}"
    with tempfile.TemporaryDirectory(prefix="client-") as folder:
        users, taste = who_asks(step, plan, Path(folder))
    shoppers = Shoppers(taste, name, plan.on_their_own, plan.seed)
    feedback = Feedback(shoppers, server) if step.flags.shopper else None
    tally = Tally()
    schedule = Schedule(plan.rate, plan.count, users)
    began = time.perf_counter()
    try:
        with asking(step, plan, name, server, tally, feedback) as asker:
            ask(schedule, asker, plan, tally, threads=1 if step.flags.kafka else plan.at_once)
    finally:
        schedule.stopped.set()
        tell(step, tally, feedback, time.perf_counter() - began)
    if not tally.answered:
        faults = ", ".join(f"{what} ({count})" for what, count in tally.faults.most_common(3))
        where = f"Kafka at {step.settings.kafka.brokers}" if step.flags.kafka else server.url
        raise TryAgainError(f"nothing was answered by {where}: {faults or 'silence'}")
    log.info("next: %s", next_command(step, server, len(tally.versions)))


@contextmanager
def asking(
    step: Step, plan: Plan, name: str, server: Server, tally: Tally, feedback: Feedback | None
) -> Iterator[Asker]:
    """What sends the questions, one way or the other."""
    from steps.serving.asking import ByHttp, ByKafka

    if not step.flags.kafka:
        yield ByHttp(server, tally, plan.k, feedback)
        return
    with ByKafka(step.settings.kafka, name, tally, plan.k, feedback) as asker:
        yield asker


def ask(schedule: Schedule, asker: Asker, plan: Plan, tally: Tally, threads: int) -> None:
    """Shows how far it is until all are answered, or nothing has come for as long as an answer may take."""
    from steps.serving.load import ask_all

    with progress("asking", plan.count) as shown:
        working = ask_all(schedule, asker, threads)
        done, since = 0, time.monotonic()
        while done < plan.count:
            time.sleep(LOOK_SECONDS)
            now, before = tally.done, done
            shown.advance(now - done)
            done = now
            if done > before or any(thread.is_alive() for thread in working):
                since = time.monotonic()
            elif time.monotonic() - since > plan.patience:
                break
        for thread in working:  # of which some may still send what their shoppers did
            thread.join()


def who_asks(step: Step, plan: Plan, folder: Path) -> tuple[Callable[[int], str], Taste]:
    """The user of each question, and what everybody likes."""
    import random

    from steps.serving.shopper import Taste

    if step.flags.users and step.flags.snapshot:
        raise UsageError("give --users or --snapshot, not both")
    if step.flags.users:
        users: Sequence[str] = read_users(Path(step.flags.users))
        taste = Taste(seed=plan.taste_seed)
    else:
        data = read_snapshot(step, folder)
        users = data.users
        taste = taste_of(data, step.flags.kinds, plan.taste_seed, past=step.flags.taste == "history")
    return lambda place: random.Random(f"{plan.seed} {place}").choice(users), taste


def read_users(path: Path) -> list[str]:
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "it is not UTF-8"
        raise UsageError(f"--users is {str(path)!r}, which cannot be read: {reason}") from error
    users = [line.strip() for line in lines if line.strip()]
    if not users:
        raise UsageError(f"--users is {str(path)!r}, which names nobody")
    return users


def read_snapshot(step: Step, folder: Path) -> Dataset:
    from steps.artifacts import dataset, release

    store = open_store(step.settings)
    snapshot = step.flags.snapshot
    if not snapshot:
        live = release.live(store.models)
        if live is None:
            raise UsageError(
                f"nothing has been released in {store.models.address()}, so nobody is known: name users by --users FILE"
            )
        snapshot = live.snapshot
    return dataset.load(store, snapshot, folder)


def taste_of(data: Dataset, column: str, seed: int, *, past: bool) -> Taste:
    """By a column of the items; where there is none, kinds have to do with nothing but the items' ids, and so with
    nothing that the past tells.
    """
    from steps.serving.shopper import Taste

    kinds = kinds_of_items(data, column)
    if not kinds:
        log.info("the items have no column %r: tastes differ by the ids of items", column)
    items, seen = data.items, data.seen  # read now: the files go
    plain = Taste(kinds, seed=seed)
    kinds = kinds or {item: plain.kind(item) for item in items}

    def before(user: str) -> list[str]:
        row = seen[[data.users.code(user)]].indices
        return [kind for kind, _ in Counter(plain.kind(items[int(item)]) for item in row).most_common()]

    return Taste(kinds, before if past else None, seed)


def kinds_of_items(data: Dataset, column: str) -> dict[str, str]:
    """What a column says of each item that it says anything of."""
    import polars as pl

    from steps.artifacts.manifest import ITEMS

    table = pl.read_parquet(data.folder / ITEMS)
    if column not in table.columns:
        return {}
    told = table.select("id", pl.col(column).cast(pl.String)).drop_nulls()
    return dict(zip(told["id"].to_list(), told[column].to_list(), strict=True))


def tell(step: Step, tally: Tally, feedback: Feedback | None, seconds: float) -> None:
    """What came of it, for people on the log and for programs as outputs."""
    from steps.serving.load import percentiles

    times = tally.percentiles()
    log.info(
        "asked %d in %.1f s: %d answered, %d not; %d for unknown users, %d degraded; versions: %s",
        tally.asked, seconds, tally.answered, tally.asked - tally.answered, tally.unknown, tally.degraded,
        ", ".join(f"{version} ({count})" for version, count in sorted(tally.versions.items())) or "none",
    )  # fmt: skip
    log.info("milliseconds from when each was due: %s", in_words(times))
    log.info("milliseconds from when each was sent: %s", in_words(percentiles(tally.sent_seconds)))
    for what, count in tally.faults.most_common():
        log.warning("not answered %d times: %s", count, what)
    step.output("asked", str(tally.asked))
    step.output("answered", str(tally.answered))
    step.output("ms", times)
    if feedback:
        tell_of_shoppers(step, feedback)


def in_words(times: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:g}" for name, value in times.items()) or "none"


def tell_of_shoppers(step: Step, feedback: Feedback) -> None:
    """Whether the lists were to the shoppers' taste, by the version that made them."""
    told = ", ".join(f"{count} {kind}" for kind, count in sorted(feedback.events.items()))
    log.info("feedback accepted: %s", told or "none")
    for what, count in feedback.faults.most_common():
        log.warning("feedback not accepted %d times: %s", count, what)
    for version, visits in sorted(feedback.shoppers.versions.items()):
        log.info(
            "version %d: %d lists, clicked on %.1f %%, bought from %.1f %%; %.1f %% of it to their taste",
            version, visits.lists, share(visits.clicked, visits.lists), share(visits.bought, visits.lists),
            share(visits.liked, visits.shown),
        )  # fmt: skip
    step.output("events", str(feedback.events.total()))
    step.output(
        "bought-from",
        {str(version): round(one.bought / one.lists, 4) for version, one in sorted(feedback.shoppers.versions.items())},
    )


def share(part: int, whole: int) -> float:
    return 100 * part / max(whole, 1)


def next_command(step: Step, server: Server, versions: int) -> str:
    """What somebody would type now."""
    if not step.flags.shopper:
        return f"curl -s {server.url}/state"
    return "python -m steps.monitor --canary" if versions > 1 else "python workflows/submit.py monitor"


def show_schema() -> None:
    import json

    from steps.serving.stream_messages import schema

    sys.stdout.write(json.dumps(schema(), indent=2, ensure_ascii=False) + "\n")


if __name__ == "__main__":
    sys.exit(main(parser(), run))
