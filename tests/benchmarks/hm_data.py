"""Makes up purchases in the form of the H&M competition's three files: of any size, and the same each time."""

from __future__ import annotations

import argparse
import json
import math
import resource
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import asdict, dataclass
from datetime import date
from pathlib import Path

import numpy as np
import numpy.typing as npt
import polars as pl

ROOT = Path(__file__).parents[2]
sys.path.insert(0, str(ROOT))

from steps.runtime.progress import progress  # noqa: E402

CUSTOMERS, ARTICLES, ROWS = 1_371_980, 105_542, 31_788_324
FIRST_DAY, DAYS = date(2018, 9, 20), 734
PERIOD = 28
"""Days for which the articles of a cluster are equally wanted."""
CLUSTERS, SECTIONS = 200, 12
"""Of articles that the same people like, and of clusters whose people are much the same: ladies, sport, children."""
LEAST_ARTICLES = 10
"""Of a cluster, where there are few."""
TASTE = (0.24, 0.17, 0.13, 0.10, 0.08, 0.07, 0.12, 0.09)
"""How much of what somebody buys is of their first cluster, their second, and so on."""
ELSEWHERE = 2
"""The last of them may be of any section."""
SPREAD = 1.32
"""Of the logarithm of how much people buy: the mean is 2.4 times the median."""
MOST = 2000
NEVER = 0.007
"""Of the customers have bought nothing."""
BASKET = 3.4
REPEATS = 0.05
"""Of the rows are what the customer bought just before."""
AT_ONCE = 2_000_000
"""Rows that are written together."""
CUSTOMERS_FILE, ARTICLES_FILE, ROWS_FILE = "customers.csv", "articles.csv", "transactions_train.csv"
ABOUT = "about.json"
"""Written last: a folder that has it is whole."""
FORMAT = 1
KINDS = ("Top", "Trousers", "Dress", "Sweater", "Shirt", "Skirt", "Jacket", "Socks", "Scarf", "Shoes", "Bag", "Belt")

Whole = npt.NDArray[np.integer]
Reals = npt.NDArray[np.floating]


def parser() -> argparse.ArgumentParser:
    flags = argparse.ArgumentParser(
        prog="python tests/benchmarks/hm_data.py",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
        epilog="""\
example: python tests/benchmarks/hm_data.py --scale 0.1 --folder hm-0.1

At scale 1 there are as many customers, articles and purchases as in the competition (3 GB, half a minute). Below,
customers and purchases shrink with the scale, and articles with its root. A customer's number of purchases is
log-normal, as is an article's popularity, which fades after its release; people like some clusters of articles.""",
    )
    flags.add_argument("--scale", type=float, default=0.01, help="1 is the whole competition (default: %(default)s)")
    flags.add_argument("--customers", type=int, help="so many, whatever the scale")
    flags.add_argument("--articles", type=int, help="so many, whatever the scale")
    flags.add_argument("--rows", type=int, help="so many, whatever the scale")
    flags.add_argument("--seed", type=int, default=7, help="another one, other purchases (default: %(default)s)")
    flags.add_argument("--folder", type=Path, required=True, help="where the files go; used again if they are there")
    return flags


@dataclass(frozen=True)
class Size:
    """How many there are."""

    customers: int
    articles: int
    rows: int

    @classmethod
    def of(cls, scale: float) -> Size:
        return cls(round(CUSTOMERS * scale), round(ARTICLES * min(1.0, math.sqrt(scale))), round(ROWS * scale))


@dataclass(frozen=True)
class Articles:
    """What is on sale: the cluster, how much it is wanted, when it came, how fast it fades, in periods; its price."""

    cluster: Whole
    popularity: Reals
    released: Reals
    lasts: Reals
    price: Reals

    @classmethod
    def made(cls, rng: np.random.Generator, count: int) -> Articles:
        clusters = max(1, min(CLUSTERS, count // LEAST_ARTICLES))
        periods = DAYS / PERIOD
        # A tenth is always on sale; the others come at some time and are wanted for some months.
        always = rng.random(count) < 0.1
        return cls(
            cluster=np.sort(drawn(rng, rng.pareto(2.0, clusters) + 0.3, count)).astype(np.int16),
            popularity=np.exp(0.95 * rng.standard_normal(count)),
            released=np.where(always, -1, rng.uniform(-0.3, 1, count) * periods),
            lasts=np.where(always, 10 * periods, 2.5 * np.exp(0.6 * rng.standard_normal(count))),
            price=np.exp(0.6 * rng.standard_normal(count) - 3.7),
        )

    def wanted(self, period: int) -> Reals:
        """How much each is bought in a period, next to the others."""
        age = period - self.released
        return self.popularity * np.where(age >= 0, np.exp(-np.maximum(age, 0) / self.lasts), 1e-5)


@dataclass(frozen=True)
class Purchases:
    """The rows, by day and then by customer."""

    customer: Whole
    article: Whole
    day: Whole
    price: Reals
    channel: Whole


def drawn(rng: np.random.Generator, weights: Reals, count: int) -> Whole:
    """As many places, each as often as it weighs."""
    sums = np.cumsum(weights)
    found = np.searchsorted(sums, rng.random(count) * sums[-1], side="right")
    return np.asarray(np.minimum(found, len(weights) - 1))


def numbers_of_purchases(rng: np.random.Generator, customers: int, rows: int) -> Whole:
    """Of each customer, `rows` in all."""
    buys = rng.random(customers) >= NEVER
    activity = np.where(buys, np.exp(SPREAD * rng.standard_normal(customers)), 0)
    for _ in range(30):  # what is cut off above goes to the others
        activity *= rows / np.clip(activity, buys, MOST).sum()
    counts = np.clip(np.floor(activity), buys, MOST).astype(np.int64)
    # One by one, what rounding has left over.
    while missing := rows - int(counts.sum()):
        able = np.flatnonzero((counts > 0) & (counts < MOST) if missing > 0 else counts > 1)
        counts[rng.choice(able, min(abs(missing), len(able)), replace=False)] += np.sign(missing)
    return counts


def tastes(rng: np.random.Generator, sizes: Reals, customers: int) -> Whole:
    """The clusters that each customer likes, the most liked first: most of them of one section."""
    sections = np.arange(len(sizes)) % min(SECTIONS, len(sizes))
    home = drawn(rng, np.bincount(sections, sizes).astype(np.float64), customers)
    found = np.empty((customers, len(TASTE)), np.int16)
    for section in range(int(sections.max()) + 1):
        own, people = np.flatnonzero(sections == section), np.flatnonzero(home == section)
        found[people] = own[drawn(rng, sizes[own], people.size * len(TASTE))].reshape(-1, len(TASTE))
    found[:, -ELSEWHERE:] = drawn(rng, sizes, customers * ELSEWHERE).reshape(-1, ELSEWHERE)
    return found


def days(rng: np.random.Generator, counts: Whole) -> Whole:
    """Of each row, while customers follow each other; who buys much in a day has one basket."""
    joined = 0.7 * rng.random(len(counts), dtype=np.float32)
    stays = rng.random(len(counts)) < 0.5
    left = np.where(stays, 1, joined + (1 - joined) * rng.random(len(counts), dtype=np.float32))
    baskets = np.ceil(counts / BASKET).astype(np.int64)
    day = np.repeat(joined, baskets) + np.repeat(left - joined, baskets) * rng.random(baskets.sum(), dtype=np.float32)
    first, mine = np.cumsum(baskets) - baskets, np.repeat(np.arange(len(counts), dtype=np.int32), counts)
    basket = first[mine] + (rng.random(len(mine), dtype=np.float32) * baskets[mine]).astype(np.int64)
    return np.asarray(np.minimum(day[np.minimum(basket, len(day) - 1)] * DAYS, DAYS - 1), np.int16)


def bought(rng: np.random.Generator, articles: Articles, cluster: Whole, period: Whole) -> Whole:
    """An article of each row's cluster, as they are wanted in its period."""
    periods = int(period.max()) + 1
    bucket = (cluster * np.int16(periods) + period).astype(np.int16)  # so short that it is sorted in two passes
    order, found = np.argsort(bucket, kind="stable"), np.empty(len(bucket), np.int32)
    ends = np.cumsum(np.bincount(bucket, minlength=(int(articles.cluster.max()) + 1) * periods))
    for now in range(periods):
        wanted = articles.wanted(now)
        for own in range(int(articles.cluster[-1]) + 1):
            rows = order[ends[own * periods + now - 1] if own or now else 0 : ends[own * periods + now]]
            there = slice(*np.searchsorted(articles.cluster, [own, own + 1]))
            if len(rows):
                found[rows] = there.start + drawn(rng, wanted[there], len(rows))
    return found


def made(size: Size, seed: int) -> Purchases:
    rng = np.random.Generator(np.random.SFC64(seed))
    articles = Articles.made(rng, size.articles)
    counts = numbers_of_purchases(rng, size.customers, size.rows)
    likes = tastes(rng, np.bincount(articles.cluster).astype(np.float64), size.customers)
    customer = np.repeat(np.arange(size.customers, dtype=np.int32), counts)
    day = days(rng, counts)
    shares = np.cumsum(TASTE).astype(np.float32)
    place = np.searchsorted(shares, rng.random(size.rows, dtype=np.float32) * shares[-1], side="right").astype(np.int8)
    article = bought(rng, articles, likes[customer, np.minimum(place, len(TASTE) - 1)], day // np.int16(PERIOD))
    again = rng.random(size.rows, dtype=np.float32) < REPEATS
    again[0], again[1:] = False, again[1:] & (customer[1:] == customer[:-1])
    article = article[np.maximum.accumulate(np.where(again, 0, np.arange(size.rows, dtype=np.int32)))]
    order = np.argsort(day, kind="stable")
    customer, article, day = customer[order], article[order], day[order]
    reduced = np.where(rng.random(size.rows, dtype=np.float32) < 0.25, np.float32(0.7), np.float32(1))
    channel = np.where(rng.random(size.rows, dtype=np.float32) < 0.3, np.int8(1), np.int8(2))
    price = (articles.price.astype(np.float32)[article] * reduced).round(6)
    return Purchases(customer, article, day, price, channel)


def customer_ids(seed: int, count: int) -> pl.Series:
    """Sorted, of 64 hexadecimal digits."""
    text = np.random.Generator(np.random.SFC64([seed, 1])).bytes(32 * count).hex()
    return pl.Series("customer_id", sorted(text[start : start + 64] for start in range(0, len(text), 64)))


def article_ids(seed: int, count: int) -> pl.Series:
    """Sorted, of ten digits of which the first is a zero."""
    rng = np.random.Generator(np.random.SFC64([seed, 2]))
    numbers = np.sort(rng.choice(850_000_000, count, replace=False)) + 100_000_000
    return pl.Series("article_id", numbers).cast(pl.String).str.zfill(10)


def frames(purchases: Purchases, customers: pl.Series, articles: pl.Series) -> Iterator[pl.DataFrame]:
    """The rows as they are in the file, some at a time."""
    first = FIRST_DAY.toordinal() - date(1970, 1, 1).toordinal()
    for start in range(0, len(purchases.day), AT_ONCE):
        part = slice(start, start + AT_ONCE)
        yield pl.DataFrame(
            {
                "t_dat": pl.Series(purchases.day[part].astype(np.int32) + first).cast(pl.Date),
                "customer_id": customers.gather(purchases.customer[part]),
                "article_id": articles.gather(purchases.article[part]),
                "price": purchases.price[part],
                "sales_channel_id": purchases.channel[part],
            }
        )


def write(folder: Path, size: Size, seed: int) -> None:
    """The three files, and then what they are."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / ABOUT).unlink(missing_ok=True)
    with progress("making up purchases", 1) as bar:
        purchases = made(size, seed)
        bar.advance()
    customers, articles = customer_ids(seed, size.customers), article_ids(seed, size.articles)
    customers.to_frame().write_csv(folder / CUSTOMERS_FILE)
    names = [f"{KINDS[number % len(KINDS)]} {number}" for number in range(size.articles)]
    pl.DataFrame([articles, pl.Series("prod_name", names)]).write_csv(folder / ARTICLES_FILE)
    with progress("writing purchases", size.rows) as bar, (folder / ROWS_FILE).open("wb") as file:
        for frame in frames(purchases, customers, articles):
            frame.write_csv(file, include_header=bar.done == 0)
            bar.advance(frame.height)
    sizes = {name: (folder / name).stat().st_size for name in (CUSTOMERS_FILE, ARTICLES_FILE, ROWS_FILE)}
    (folder / ABOUT).write_text(json.dumps({**asked(size, seed), "files": sizes}, indent=1))


def asked(size: Size, seed: int) -> dict[str, object]:
    return {"format": FORMAT, "seed": seed, "size": asdict(size)}


def whole(folder: Path, size: Size, seed: int) -> bool:
    """Whether just these files are there."""
    if not (folder / ABOUT).is_file():
        return False
    about = json.loads((folder / ABOUT).read_text())
    files = about.get("files", {})
    there = all((folder / name).is_file() and (folder / name).stat().st_size == size for name, size in files.items())
    return bool(files) and there and asked(size, seed).items() <= about.items()


def require(folder: Path, size: Size, seed: int) -> bool:
    """Makes the files unless they are there; whether it had to."""
    if whole(folder, size, seed):
        return False
    write(folder, size, seed)
    return True


def main(arguments: Sequence[str] | None = None) -> None:
    flags = parser().parse_args(arguments)
    if not 0.0001 <= flags.scale <= 10:
        parser().error(f"--scale is {flags.scale}: 0.0001 to 10 are allowed")
    scaled = Size.of(flags.scale)
    size = Size(flags.customers or scaled.customers, flags.articles or scaled.articles, flags.rows or scaled.rows)
    if not 10 <= size.customers <= size.rows <= size.customers * (1 - 2 * NEVER) * MOST:
        parser().error(f"{size.customers} customers cannot have {size.rows} purchases: one to {MOST} of each, about")
    began = time.perf_counter()
    new = require(flags.folder, size, flags.seed)
    counts = f"{size.rows:,} purchases of {size.articles:,} articles by {size.customers:,} customers"
    memory = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    how = f"made in {time.perf_counter() - began:.1f} s with {memory:.2f} GiB" if new else "there already"
    print(f"{counts} in {flags.folder}: {how}")


if __name__ == "__main__":
    main()
