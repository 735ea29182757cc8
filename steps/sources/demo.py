"""A generated shop whose structure is known: taste groups, seasons, products that come and go, and names."""

from __future__ import annotations

import re
from dataclasses import dataclass, fields, replace
from itertools import pairwise

import numpy as np
import numpy.typing as npt
import polars as pl

from steps.runtime.errors import UsageError
from steps.sources.found import Found, Part

FIRST_DAY = 1_704_067_200  # 2024-01-01, in seconds since 1970
DAY, WEEK = 86_400, 7
LIMITS = {
    "users": 20_000_000,
    "items": 2_000_000,
    "days": 20_000,
    "purchases": 500_000_000,
    "groups": 12,
    "sequences": 1,
}
PER_USER = 25
MAIN, SECOND = 0.6, 0.25  # shares of a user's purchases from the first and the second taste group; the rest is chance
REPEATED = 0.04
FOLLOWED = 0.7  # of the purchases of a shop with sequences, those of the product that belongs after the one before
SEASONAL, NEW, DYING = 0.25, 0.15, 0.15  # shares of the products

GROUPS = (
    ("Books", ("Novel", "Atlas", "Cookbook", "Comic", "Diary")),
    ("Garden", ("Rake", "Seeds", "Planter", "Hose", "Lantern")),
    ("Kitchen", ("Pan", "Kettle", "Knife", "Bowl", "Grater")),
    ("Hiking", ("Boots", "Backpack", "Tent", "Compass", "Flask")),
    ("Music", ("Guitar", "Drum", "Record", "Speaker", "Flute")),
    ("Toys", ("Puzzle", "Train", "Kite", "Robot", "Blocks")),
    ("Office", ("Lamp", "Notebook", "Pen", "Chair", "Calendar")),
    ("Winter", ("Scarf", "Gloves", "Sledge", "Parka", "Hat")),
    ("Cycling", ("Helmet", "Saddle", "Bell", "Pump", "Jersey")),
    ("Baking", ("Whisk", "Tin", "Apron", "Rolling Pin", "Scale")),
    ("Pets", ("Leash", "Basket", "Brush", "Feeder", "Collar")),
    ("Art", ("Easel", "Brushes", "Canvas", "Clay", "Sketchbook")),
)
WORDS = (
    "Amber",
    "Birch",
    "Cobalt",
    "Dune",
    "Ember",
    "Fjord",
    "Granite",
    "Harbour",
    "Ivory",
    "Juniper",
    "Linen",
    "Moss",
)


@dataclass(frozen=True)
class Options:
    """`demo:users=2000,items=600`: every option may be left out."""

    users: int = 2000
    items: int = 600
    days: int = 365
    purchases: int = 0
    """How many in all; 0 means 25 a user on average."""
    groups: int = 12
    seed: int = 7
    sequences: int = 0
    """1 for a shop in which every product has another that people buy next."""

    @classmethod
    def parse(cls, text: str) -> Options:
        known = [one.name for one in fields(cls)]
        given: dict[str, int] = {}
        for option in filter(None, (one.strip() for one in text.split(","))):
            name, _, value = option.partition("=")
            if name not in known or not re.fullmatch(r"[0-9]{1,9}", value):
                raise UsageError(
                    f"--source demo: has no option {option!r}: it takes NAME=NUMBER with {', '.join(known)}"
                )
            given[name] = int(value)
        options = cls(**given)
        options._check()
        return options

    def _check(self) -> None:
        for name, most in LIMITS.items():
            value = getattr(self, name)
            least = 0 if name in ("purchases", "sequences") else 1
            if not least <= value <= most:
                raise UsageError(f"--source demo:{name}={value}: {name} is between {least} and {most}")

    def __str__(self) -> str:
        shown = [one.name for one in fields(self) if one.name != "sequences" or self.sequences]
        return "demo:" + ",".join(f"{name}={getattr(self, name)}" for name in shown)


Numbers = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Catalogue:
    """The products of the shop."""

    group: Numbers
    """The taste group of each product, ascending: the products of a group are neighbours."""
    begins: Numbers
    """The first day on which a product is sold."""
    ends: Numbers
    """The first day on which it is no longer sold."""
    season: Numbers
    """The day of the year around which a product sells; -1 for one that sells all year."""
    appeal: npt.NDArray[np.float64]
    """How much it sells beside the others of its group."""
    follower: Numbers | None = None
    """In a shop with sequences, what people buy after each product; the products of a group form one ring."""


@dataclass(frozen=True)
class Shop:
    """The truth behind the purchases, for tests: who likes what, and when a product is sold."""

    products: Catalogue
    first_group: Numbers
    """The group that each user buys most from."""
    second_group: Numbers
    user: Numbers
    item: Numbers
    day: Numbers


def read(options: Options) -> Found:
    """The shop in the form of every other source."""
    shop = generate(options)
    users, items = _ids("u", options.users), _ids("p", options.items)
    seconds = np.random.default_rng([options.seed, 1]).integers(8 * 3600, 22 * 3600, len(shop.user))
    if options.sequences:  # a user's purchases of one day stay in their order
        seconds = seconds[np.lexsort((seconds, shop.user, shop.day))]
    rows = pl.DataFrame(
        {
            "user": users.gather(shop.user),
            "item": items.gather(shop.item),
            "time": FIRST_DAY + shop.day * DAY + seconds,
        }
    )
    category = pl.Series([name for name, _ in GROUPS]).gather(shop.products.group)
    listed = pl.DataFrame({"id": items, "name": _names(shop.products.group), "category": category})
    return Found(str(options), (Part("demo", rows.lazy()),), pl.DataFrame({"id": users}), listed)


def generate(options: Options) -> Shop:
    """Draws the shop; the same options give the same shop on every machine."""
    rng = np.random.default_rng([options.seed, 0])
    groups = min(options.groups, options.items)
    products = _products(rng, options, groups)
    liking = rng.dirichlet(np.full(groups, 8.0))
    first = rng.choice(groups, options.users, p=liking)
    second = rng.choice(groups, options.users, p=liking)

    user = _buyers(rng, options)
    day = _days(rng, options, user)
    taste = rng.random(len(user))
    anything = rng.choice(groups, len(user), p=liking)
    group = np.where(taste < MAIN, first[user], np.where(taste < MAIN + SECOND, second[user], anything))

    order = np.lexsort((user, day))
    user, day = user[order], day[order]
    item = _with_repeats(rng, user, _choose(rng, options.days, products, group[order], day))
    if options.sequences:
        # Draws of its own: the shop without sequences stays as it is.
        rng = np.random.default_rng([options.seed, 2])
        products = replace(products, follower=_followers(rng, products.group))
        item = _with_sequences(rng, products, user, item, day)
    return Shop(products, first, second, user, item, day)


def _products(rng: np.random.Generator, options: Options, groups: int) -> Catalogue:
    fate = rng.random(options.items)
    moment = rng.integers(0, options.days, options.items)
    return Catalogue(
        group=np.sort(np.concatenate([np.arange(groups), rng.integers(0, groups, options.items - groups)])),
        begins=np.where(fate < NEW, moment, 0),
        ends=np.where(fate > 1 - DYING, moment + 1, options.days),
        season=np.where(rng.random(options.items) < SEASONAL, rng.integers(0, 365, options.items), -1),
        appeal=np.exp(0.7 * rng.standard_normal(options.items)),
    )


def _buyers(rng: np.random.Generator, options: Options) -> Numbers:
    """The user of each purchase: some buy much, most buy little, and everybody buys once where that can be."""
    total = options.purchases or PER_USER * options.users
    once = np.arange(min(options.users, total))
    activity = np.exp(0.8 * rng.standard_normal(options.users))
    more = np.searchsorted(np.cumsum(activity) / activity.sum(), rng.random(total - len(once)))
    return np.concatenate([once, np.minimum(more, options.users - 1)])


def _days(rng: np.random.Generator, options: Options, user: Numbers) -> Numbers:
    """Users join during the first three quarters, and stay."""
    joins = rng.random(options.users) ** 2 * 0.75
    day = (joins[user] + rng.random(len(user)) * (1 - joins[user])) * options.days
    return np.minimum(day.astype(np.int64), options.days - 1)


def _choose(rng: np.random.Generator, days: int, products: Catalogue, group: Numbers, day: Numbers) -> Numbers:
    """An item of the wanted group for each purchase, by what is sold in that week; `day` ascends."""
    edges = np.searchsorted(products.group, np.arange(products.group[-1] + 2))
    item = np.empty(len(group), np.int64)
    draw = rng.random(len(group))
    for start in range(0, days, WEEK):
        week = slice(*np.searchsorted(day, [start, start + WEEK]))
        # One table of sums serves all groups, because the products of a group are neighbours in it.
        below = np.concatenate([[0.0], np.cumsum(_demand(products, min(start + WEEK // 2, days - 1)))])
        first, last = edges[group[week]], edges[group[week] + 1]
        wanted = below[first] + draw[week] * (below[last] - below[first])
        item[week] = np.clip(np.searchsorted(below, wanted, side="right") - 1, first, last - 1)
    return item


def _demand(products: Catalogue, day: int) -> npt.NDArray[np.float64]:
    """How much each product sells on a day, relative to the others."""
    sold = (products.begins <= day) & (day < products.ends)
    distance = np.abs((day - products.season + 182) % 365 - 182)
    in_season = np.where(products.season < 0, 1.0, 2 * np.exp(-((distance / 45) ** 2)))
    # A group with nothing on sale still sells its remainders: the small constant keeps every sum positive.
    return products.appeal * (sold * in_season + 1e-9)


def _with_repeats(rng: np.random.Generator, user: Numbers, item: Numbers) -> Numbers:
    """People buy some things again: a few purchases become the user's previous one."""
    by_user = np.argsort(user, kind="stable")
    again = rng.random(len(user)) < REPEATED
    again[:1] = False
    again[1:] &= user[by_user][1:] == user[by_user][:-1]
    origin = np.maximum.accumulate(np.where(again, 0, np.arange(len(user))))
    result = np.empty_like(item)
    result[by_user] = item[by_user][origin]
    return result


def _followers(rng: np.random.Generator, group: Numbers) -> Numbers:
    """One ring a group: products, which are ordered by their group, are shuffled within it and shifted by one."""
    ring = np.lexsort((rng.random(len(group)), group))
    first = np.searchsorted(group, group)
    last = np.searchsorted(group, group, side="right") - 1
    place = np.arange(len(group))
    follower = np.empty_like(group)
    follower[ring] = ring[np.where(place == last, first, place + 1)]
    return follower


def _with_sequences(
    rng: np.random.Generator, products: Catalogue, user: Numbers, item: Numbers, day: Numbers
) -> Numbers:
    """Most purchases become what belongs after the user's previous one, where that is on sale."""
    assert products.follower is not None
    by_user = np.argsort(user, kind="stable")
    buyer, moment, bought = user[by_user], day[by_user], item[by_user]
    follows = rng.random(len(user)) < FOLLOWED
    place = np.arange(len(user)) - np.searchsorted(buyer, buyer)
    # The first purchases of everybody, then the second ones, each after what the one before has become.
    in_turn = np.argsort(place, kind="stable")
    turns = np.searchsorted(place[in_turn], np.arange(1, place.max(initial=0) + 2))
    for start, end in pairwise(turns.tolist()):
        now = in_turn[start:end]
        following = products.follower[bought[now - 1]]
        sold = (products.begins[following] <= moment[now]) & (moment[now] < products.ends[following])
        bought[now] = np.where(follows[now] & sold, following, bought[now])
    result = np.empty_like(item)
    result[by_user] = bought
    return result


def _ids(letter: str, count: int) -> pl.Series:
    digits = max(4, len(str(count - 1)))
    return pl.Series("id", np.arange(count)).cast(pl.String).str.zfill(digits).str.replace("^", letter)


def _names(group_of_item: Numbers) -> list[str]:
    """Names that tell the group, and are different: "Amber Novel", later "Amber Novel 2"."""
    names, place = [], 0
    for number, group in enumerate(group_of_item):
        place = place + 1 if number and group == group_of_item[number - 1] else 0
        nouns = GROUPS[group][1]
        edition, kind = divmod(place, len(WORDS) * len(nouns))
        word, noun = WORDS[kind % len(WORDS)], nouns[kind % len(nouns)]
        names.append(f"{word} {noun}" if not edition else f"{word} {noun} {edition + 1}")
    return names
