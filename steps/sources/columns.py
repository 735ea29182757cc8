"""Which column of a table means what: as `--columns` says, else by the usual names."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from steps.runtime.errors import UsageError

USUAL = {
    "user": (
        *("user", "userid", "username", "customer", "customerid", "customernumber", "client", "clientid", "buyer"),
        *(
            "buyerid",
            "shopper",
            "shopperid",
            "member",
            "memberid",
            "visitorid",
            "account",
            "accountid",
            "uid",
            "reviewerid",
        ),
    ),
    "item": (
        *("item", "itemid", "product", "productid", "productcode", "article", "articleid", "articlenumber", "sku"),
        *("stockcode", "asin", "parentasin", "isbn", "movieid", "bookid", "trackid", "gameid", "goodsid", "iid"),
    ),
    "time": (
        *("time", "timestamp", "datetime", "date", "ts", "tdat", "eventtime", "purchasedate", "purchasetime"),
        *("purchasedat", "boughtat", "orderdate", "ordertime", "orderedat", "invoicedate", "transactiondate"),
        *("transactiontime", "createdat", "reviewtime", "unixreviewtime"),
    ),
    "weight": ("weight", "quantity", "qty", "rating", "score", "count"),
    "event": ("event", "eventtype", "eventname", "behavior", "behaviour", "behaviortype", "action", "actiontype"),
    "name": ("itemname", "productname", "producttitle", "itemtitle", "prodname", "articlename", "title", "movietitle"),
}
NEEDED = ("user", "item")
ONE = re.compile(rf"({'|'.join(USUAL)})=(.*)", re.DOTALL)
BETWEEN = re.compile(rf",\s*(?=(?:{'|'.join(USUAL)})=)")
SHOWN = 40


@dataclass(frozen=True)
class Columns:
    """`--columns user=customer,time=bought_at`; a column named by nothing, as in `weight=`, is not used."""

    named: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def parse(cls, text: str) -> Columns:
        named: dict[str, str] = {}
        for one in BETWEEN.split(text.strip()) if text.strip() else ():
            found = ONE.fullmatch(one.strip())
            if not found:
                raise UsageError(f"--columns has {one!r}: it takes NAME=COLUMN with {', '.join(USUAL)}, between commas")
            if found[1] in named:
                raise UsageError(f"--columns names {found[1]} twice")
            named[found[1]] = found[2]
        for name in NEEDED:
            if named.get(name) == "":
                raise UsageError(f"--columns has {name}= without a column: purchases need a {name}")
        return cls(named)

    def __bool__(self) -> bool:
        return bool(self.named)

    def __str__(self) -> str:
        return ",".join(f"{name}={column}" for name, column in self.named.items())

    def find(self, header: Sequence[str], where: str) -> dict[str, int]:
        """The place of each meaning that the table has; UsageError where one that is needed cannot be told."""
        found: dict[str, int] = {}
        for meaning, usual in USUAL.items():
            place = self._named(meaning, header, where) if meaning in self.named else _guess(usual, header)
            if place is not None and place not in found.values():
                found[meaning] = place
        lacking = [name for name in NEEDED if name not in found]
        if lacking:
            raise UsageError(
                f"cannot tell which column of {where} is the {' and which the '.join(lacking)}: it has "
                f"{listed(header)}; say so with --columns {','.join(f'{name}=COLUMN' for name in lacking)}"
            )
        return found

    def _named(self, meaning: str, header: Sequence[str], where: str) -> int | None:
        column = self.named[meaning]
        if not column:
            return None
        if column not in header:
            raise UsageError(f"--columns {meaning}={column}: {where} has no such column; it has {listed(header)}")
        if list(header).count(column) > 1:
            raise UsageError(f"--columns {meaning}={column}: {where} has more than one column of that name")
        return list(header).index(column)


def _guess(usual: Sequence[str], header: Sequence[str]) -> int | None:
    """The column whose name is the most usual one, however it is spelt: userId, user_id, USER ID."""
    spelt = [re.sub(r"[^a-z0-9]", "", name.lower()) for name in header]
    for name in usual:
        if spelt.count(name) == 1:
            return spelt.index(name)
    return None


def guess(meaning: str, header: Sequence[str]) -> int | None:
    """The place of a column with one of the usual names for a meaning."""
    return _guess(USUAL[meaning], header)


def listed(header: Sequence[str]) -> str:
    """The columns of a table for a message."""
    names = [repr(name) for name in header[:SHOWN]]
    more = f" and {len(header) - SHOWN} more" if len(header) > SHOWN else ""
    return f"{', '.join(names)}{more}" if names else "no columns"


def event_weights(text: str) -> dict[str, float]:
    """What `--event-weights purchase=1,view=0.1` says; an event of weight 0 is left out."""
    weights: dict[str, float] = {}
    for one in filter(None, (part.strip() for part in text.split(","))):
        event, equals, number = one.rpartition("=")
        event = event.strip()
        try:
            weight = float(number) if equals and event else math.nan
        except ValueError:
            weight = math.nan
        if not math.isfinite(weight):
            raise UsageError(f"--event-weights has {one!r}: it takes EVENT=NUMBER between commas")
        if event in weights:
            raise UsageError(f"--event-weights names {event!r} twice")
        weights[event] = weight
    if weights and not any(weight > 0 for weight in weights.values()):
        raise UsageError(f"--event-weights is {text!r}: at least one event needs a weight above 0")
    return weights
