"""Simulated shoppers whose taste is known: they look at a list, click and buy, and so show whether a model learns.

A shopper likes one kind of products best and another second best. Further down a list fewer look; of what they look at
they click on what they like, and buy some of it. Now and then they buy on their own what they like, as people do who
search: without that, nobody could learn from lists that show nothing of it, and no model could be judged by what was
bought, for whoever made a list is right of what it has led to.
"""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property
from typing import Any

LOOKS = 0.85
"""Of those who looked at one place of a list, who look at the next."""
LIKES = (0.5, 0.25)
"""The chance of a click on what is of the best and of the second best kind."""
ANYTHING = 0.02
BUYS = 0.5
"""Of those who clicked."""
ON_THEIR_OWN = 0.3
"""The chance that a visit ends with a purchase that no list has led to."""
KINDS = 12
"""Into which products fall that nobody has told apart."""


@dataclass(frozen=True)
class Taste:
    """The truth: which kind each product is of, and which kinds each user likes. The same seed is the same truth."""

    kind_of: Mapping[str, str] = field(default_factory=dict)
    """Products that are not named fall into kinds by their ids."""
    past: Callable[[str], Sequence[str]] | None = None
    """The kinds of what a user has bought, most often first; without it nobody's taste has to do with the past."""
    seed: int = 7

    @cached_property
    def kinds(self) -> list[str]:
        found = sorted(set(self.kind_of.values()))
        return found if len(found) > 1 else [str(number) for number in range(KINDS)]

    @cached_property
    def _of_kind(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {kind: [] for kind in self.kinds}
        for item in sorted(self.kind_of):
            found[self.kind(item)].append(item)
        return found

    def kind(self, item: str) -> str:
        known = self.kind_of.get(item, "")
        return known if known in self.kinds else random.Random(f"{self.seed} {item}").choice(self.kinds)

    def favourites(self, user: str) -> tuple[str, str]:
        """What the user likes best, and second best."""
        drawn = random.Random(f"{self.seed} {user}").sample(self.kinds, 2)
        before = list(self.past(user))[:2] if self.past else []
        first, second, *_ = [*before, *(kind for kind in drawn if kind not in before)]
        return first, second

    def liking(self, user: str, item: str) -> float:
        """The chance that the user clicks on the item, once looked at."""
        return dict(zip(self.favourites(user), LIKES, strict=True)).get(self.kind(item), ANYTHING)

    def likes(self, user: str, item: str) -> bool:
        return self.kind(item) in self.favourites(user)

    def wish(self, user: str, chance: random.Random) -> str | None:
        """Something that the user would like, whether it is ever shown or not; None where no product is known."""
        [kind] = chance.choices(self.favourites(user), LIKES)
        known = self._of_kind[kind]
        return chance.choice(known) if known else None


@dataclass
class Visits:
    """What came of the lists of one version."""

    lists: int = 0
    clicked: int = 0
    """Lists with a click."""
    bought: int = 0
    """Lists that something was bought from."""
    shown: int = 0
    """Items."""
    liked: int = 0
    """Items that are to the user's taste, whatever came of them."""


class Shoppers:
    """Everybody who is sent a list. What one of them does depends on the seed, the user and the number of the visit."""

    def __init__(self, taste: Taste, name: str, on_their_own: float = ON_THEIR_OWN, seed: int = 7) -> None:
        self.taste = taste
        self.name = name
        """Of this run: events of two runs are different events."""
        self.on_their_own = on_their_own
        self.seed = seed
        self.versions: dict[int, Visits] = {}
        self._has: dict[str, set[str]] = {}
        self._lock = threading.Lock()

    def visit(self, number: int, user: str, version: int, items: Sequence[str]) -> list[dict[str, Any]]:
        """The events of a visit, in the form in which the model server takes them."""
        chance = random.Random(f"{self.seed} {user} {number}")
        with self._lock:
            has = self._has.setdefault(user, set())
            clicked, bought = self._take_up(chance, user, items, has)
            wish = self.taste.wish(user, chance) if chance.random() < self.on_their_own else None
            own = [wish] if wish is not None and wish not in has else []
            has.update(bought, own)
            self._count(user, version, items, clicked, bought)
        done = [("shown", list(items), version)] if items else []
        done += [("clicked", [item], version) for item in clicked]
        done += [("bought", [item], version) for item in bought]
        done += [("bought", [item], 0) for item in own]
        time = datetime.now(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
        return [
            {
                "id": f"{self.name}-{number}-{place}",
                "kind": kind,
                "user": user,
                "items": about,
                "version": by,
                "time": time,
            }
            for place, (kind, about, by) in enumerate(done)
        ]

    def _take_up(
        self, chance: random.Random, user: str, items: Sequence[str], has: set[str]
    ) -> tuple[list[str], list[str]]:
        clicked, bought = [], []
        for item in items:
            if chance.random() < self.taste.liking(user, item):
                clicked.append(item)
                if item not in has and chance.random() < BUYS:
                    bought.append(item)
            if chance.random() > LOOKS:
                break
        return clicked, bought

    def _count(self, user: str, version: int, items: Sequence[str], clicked: list[str], bought: list[str]) -> None:
        visits = self.versions.setdefault(version, Visits())
        visits.lists += 1
        visits.clicked += bool(clicked)
        visits.bought += bool(bought)
        visits.shown += len(items)
        visits.liked += sum(self.taste.likes(user, item) for item in items)
