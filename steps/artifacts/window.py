"""The feedback of some hours as arrays, and what it says of each version, in figures that are stored and shown."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import datetime
from typing import Any

import numpy as np

from steps.artifacts.feedback import BOUGHT, CLICKED, SHOWN, Event
from steps.artifacts.served import Minute
from steps.models import online
from steps.models.online import PLACES, Actions, Estimate, Figures, Followed, Lists, Numbers, Values


@dataclass(frozen=True)
class Window:
    """What was shown and done, as numbers; the place of an id in its list is its code."""

    events: int
    users: list[str]
    items: list[str]
    lists: Lists
    actions: Actions
    followed: Followed

    @classmethod
    def of(cls, events: Iterable[Event], within: int) -> Window:
        """Joins lists and what followed at most `within` seconds later."""
        rows = _Rows()
        for event in events:
            rows.add(event)
        lists, actions = rows.lists(), rows.actions()
        followed = online.followed(lists, actions, 1000 * within)
        return cls(rows.events, list(rows.users), list(rows.items), lists, actions, followed)

    @property
    def newest_purchase(self) -> int | None:
        """When something was bought last: milliseconds since 1970."""
        bought = self.actions.time[self.actions.bought]
        return int(bought.max()) if len(bought) else None


def by_version(window: Window, minutes: Iterable[Minute]) -> dict[int, Figures]:
    """The figures of every version that was shown or asked, the oldest first."""
    served = _served(minutes)
    shown = set(np.unique(window.lists.version).tolist())
    return {
        version: Figures(**_shown(window, version), **served.get(version, {}))
        for version in sorted(shown | set(served))
    }


def shown_until(window: Window, version: int, last: datetime) -> Figures:
    """The figures of those lists of a version that were not shown after this time."""
    return Figures(**_shown(window, version, round(last.timestamp() * 1000)))


def _shown(window: Window, version: int, last: int | None = None) -> dict[str, Any]:
    """What users did with the lists of a version, up to a time in milliseconds since 1970."""
    lists, followed = window.lists, window.followed
    mine = lists.version == version
    if last is not None:
        mine &= lists.time <= last
    if not mine.any():
        return {}
    places = mine[lists.owner]
    user, long = lists.user[mine], np.diff(lists.starts)[mine]
    bought, clicked = (online.per_list(lists, flags)[mine] for flags in (followed.bought, followed.clicked))

    def share(gained: Values | Numbers, of: Numbers) -> Estimate:
        return online.estimate(gained, of, user)

    one = np.ones(len(user), np.int64)
    taken = online.classes(online.rank(lists)[places & followed.taken], PLACES)
    return {
        "lists": int(mine.sum()),
        "users": len(np.unique(user)),
        "places": int(long.sum()),
        "clicks": int(clicked.sum()),
        "purchases": int(bought.sum()),
        "metrics": {
            "ndcg": share(online.ndcg(lists, followed.taken)[mine], one),
            "hit_rate": share((bought > 0).astype(np.int64), one),
            "ctr": share(clicked, long),
        },
        "taken_at": tuple(np.bincount(taken, minlength=len(PLACES)).tolist()),
    }


def _served(minutes: Iterable[Minute]) -> dict[int, dict[str, Any]]:
    """What the servers counted, by version; times and overlaps are means, weighted by how often there was one."""
    totals: dict[int, dict[str, float]] = {}
    for minute in minutes:
        for version, one in minute.versions.items():
            total = totals.setdefault(version, dict.fromkeys(("requests", "errors", "degraded", "p50", "p99"), 0.0))
            for name in ("requests", "errors", "degraded"):
                total[name] += getattr(one, name)
            total["p50"] += one.requests * one.ms[0]
            total["p99"] += one.requests * one.ms[1]
            if one.shadow:
                total["asked"] = total.get("asked", 0) + one.shadow.asked
                total["shared"] = total.get("shared", 0) + one.shadow.asked * one.shadow.overlap
    return {
        version: {
            **{name: int(total[name]) for name in ("requests", "errors", "degraded")},
            "ms": (total["p50"] / max(total["requests"], 1), total["p99"] / max(total["requests"], 1)),
            "shadow": (int(total.get("asked", 0)), total.get("shared", 0.0) / max(total.get("asked", 0), 1)),
        }
        for version, total in totals.items()
    }


class _Rows:
    """Gathers events one by one, with a code for every user and item."""

    def __init__(self) -> None:
        self.events = 0
        self.users: dict[str, int] = {}
        self.items: dict[str, int] = {}
        self._shown: list[tuple[int, int, int]] = []
        self._sizes: list[int] = []
        self._items: list[int] = []
        self._done: list[tuple[int, int, int, bool]] = []

    def add(self, event: Event) -> None:
        self.events += 1
        user = self.users.setdefault(event.user, len(self.users))
        items = [self.items.setdefault(item, len(self.items)) for item in event.items]
        time = round(event.moment.timestamp() * 1000)
        if event.kind == SHOWN:
            self._shown.append((user, time, event.version))
            self._sizes.append(len(items))
            self._items += items
        elif event.kind in (CLICKED, BOUGHT):
            self._done.append((user, items[0], time, event.kind == BOUGHT))

    def lists(self) -> Lists:
        user, time, version = np.array(self._shown, np.int64).reshape(-1, 3).T
        starts = np.concatenate([[0], np.cumsum(self._sizes, dtype=np.int64)]).astype(np.int64)
        return Lists(user, time, version, starts, np.array(self._items, np.int64))

    def actions(self) -> Actions:
        user, item, time, bought = np.array(self._done, np.int64).reshape(-1, 4).T
        return Actions(user, item, time, bought.astype(bool))
