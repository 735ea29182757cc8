"""One release ready to answer, and which of several answers whom."""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from typing import Protocol

import numpy as np
import scipy.sparse as sp

from steps.models.ids import UNKNOWN, Codes
from steps.models.recommender import NOBODY, Floats, Recommendations
from steps.models.scorer import Scorer, marked
from steps.serving.catalogue import Catalogue, Shelf
from steps.serving.limits import NONE, Choice, Limits
from steps.serving.messages import Reason, Recommendation, Scored

MOST_NAMES = 100_000
MOST_CHOICES = 32
Hidden = dict[int, Codes]
"""Of limits that only hide, by their identity, what they hide."""
"""Of which it is known which items may be there: each takes some bytes an item."""


@dataclass(frozen=True)
class Wanted:
    """One list that somebody asked for."""

    k: int
    user: str | None = None
    items: tuple[str, ...] | None = None
    """What was just bought, where no user is named."""
    exclude: tuple[str, ...] = ()
    names: bool = False
    """Whether to say what people call the items."""
    limits: Limits | None = None
    """What else may not be in the list, and how many of a kind; None where everything may."""


class Bought(Protocol):
    """What users have bought since the models were trained."""

    def of(self, user: str) -> Sequence[str]: ...


class Nothing:
    """Where nobody tells."""

    def of(self, user: str) -> Sequence[str]:
        return ()


@dataclass(frozen=True)
class Model:
    """One release, ready to answer. Never changes: a request keeps the one that it began with."""

    version: int
    name: str
    """Of the family."""
    scorer: Scorer
    bought: sp.csr_matrix
    snapshot: str = ""
    """What it was trained on."""
    shelf: Shelf = field(default_factory=Shelf, compare=False, repr=False)
    """What people call its items, once that is read."""

    def answer(self, wanted: Sequence[Wanted], recent: Bought) -> list[Recommendation]:
        """A list for each, in order; those of one length are scored together."""
        found: dict[int, Recommendation] = {}
        learned: dict[int, list[int]] = {}
        new: dict[int, list[int]] = {}
        hidden: Hidden = {}
        for place, one in enumerate(wanted):
            if one.limits is not None and id(one.limits) not in hidden:
                # Looked up once: another catalogue, which may come at any moment, gives another choice.
                choice = self._choice(one.limits)
                if not choice.only_hides:
                    found[place] = self._limited(one, choice, recent)
                    continue
                hidden[id(one.limits)] = choice.hidden
            (new if self._new(one, recent) else learned).setdefault(one.k, []).append(place)
        for k, places in new.items():
            lists = self._folded([wanted[place] for place in places], k, recent, hidden)
            for place, folded in zip(places, lists, strict=True):
                if folded is None:
                    learned.setdefault(k, []).append(place)
                else:
                    found[place] = folded
        for k, places in learned.items():
            found |= zip(places, self._users([wanted[place] for place in places], k, recent, hidden), strict=True)
        return [found[place] for place in range(len(wanted))]

    def _new(self, wanted: Wanted, recent: Bought) -> Sequence[str]:
        """What was bought since the training."""
        return recent.of(wanted.user) if wanted.user is not None else wanted.items or ()

    def _users(self, wanted: Sequence[Wanted], k: int, recent: Bought, hidden: Hidden) -> list[Recommendation]:
        codes = self.scorer.users.codes([one.user or "" for one in wanted])
        excluded: dict[tuple[int, int], Codes] = {}  # a request for many users has one list of these
        rows = []
        for code, one in zip(codes.tolist(), wanted, strict=True):
            same = id(one.exclude), id(one.limits)
            if same not in excluded:
                excluded[same] = self._excluded(one, hidden.get(id(one.limits), NONE))
            rows.append(self._row(code, excluded[same], self._new(one, recent)))
        return self._named(wanted, self.scorer.recommend(codes, k, self._matrix(rows)))

    def _folded(self, wanted: Sequence[Wanted], k: int, recent: Bought, hidden: Hidden) -> list[Recommendation | None]:
        """From what was bought before and what is new; None where this model needs a training for that."""
        baskets = [
            # The newest last, for that is what the next purchase may depend on.
            np.append(self._history(one.user), self.scorer.items.codes(self._new(one, recent))).astype(np.int32)
            for one in wanted
        ]
        excluded = self._matrix([self._excluded(one, hidden.get(id(one.limits), NONE)) for one in wanted])
        found = self.scorer.recommend_for(baskets, k, excluded if excluded.nnz else None)
        lists = self._named(wanted, found)
        return [one if known else None for one, known in zip(lists, found.known.tolist(), strict=True)]

    def _limited(self, wanted: Wanted, choice: Choice, recent: Bought) -> Recommendation:
        """Of what may be in this list."""
        new, excluded = self._new(wanted, recent), self._excluded(wanted, choice.hidden)
        if new:
            basket = np.append(self._history(wanted.user), self.scorer.items.codes(new)).astype(np.int32)
            hidden = self._matrix([excluded])
            folded = choice.best(lambda k: self.scorer.recommend_for([basket], k, hidden), wanted.k)
            if folded.known[0]:
                return self._named([wanted], folded)[0]
        code = UNKNOWN if wanted.user is None else self.scorer.users.code(wanted.user)
        return self._named([wanted], self._chosen(choice, wanted.k, code, self._row(code, excluded, new)))[0]

    def _chosen(self, choice: Choice, k: int, user: int, row: Codes) -> Recommendations:
        """The best of what may be there for a user, without what is in the row."""
        users = np.array([user], np.int32)
        if choice.few is not None:
            items = choice.few[~np.isin(choice.few, row)]
            items, scores = choice.ordered(items, self.scorer.score_some(user, items), k)
            return Recommendations(items[None], scores[None], self.scorer.known(users))
        hidden = self._matrix([row])
        return choice.best(lambda count: self.scorer.recommend(users, count, hidden), k)

    def _choice(self, limits: Limits) -> Choice:
        """What limits mean here; with the catalogue, which may come between two requests, they may mean more."""
        if limits.large:
            return Choice.of(limits, self.scorer.items, self.shelf, self.shelf.catalogue)
        return self._choices(limits, self.shelf.catalogue)

    @cached_property
    def _choices(self) -> Callable[[Limits, Catalogue | None], Choice]:
        items, shelf = self.scorer.items, self.shelf
        return lru_cache(MOST_CHOICES)(lambda limits, catalogue: Choice.of(limits, items, shelf, catalogue))

    def _history(self, user: str | None) -> Codes:
        return self.history(UNKNOWN if user is None else self.scorer.users.code(user))

    def history(self, user: int) -> Codes:
        """What a user had bought when the model was trained."""
        if user == UNKNOWN:
            return np.zeros(0, np.int32)
        return np.asarray(self.bought.indices[self.bought.indptr[user] : self.bought.indptr[user + 1]], np.int32)

    def _row(self, user: int, excluded: Codes, new: Sequence[str]) -> Codes:
        """What must not be shown: what the user has, what is new, and these."""
        history = self.history(user)
        if not len(excluded) and not new:
            return history
        others = np.concatenate([excluded, self._known_items(new)])
        return np.union1d(history, others).astype(np.int32)

    def _excluded(self, wanted: Wanted, hidden: Codes) -> Codes:
        """What must not be shown to anybody who asks like this, beside what is hidden."""
        excluded = self._known_items(wanted.exclude)
        return np.union1d(excluded, hidden).astype(np.int32) if len(hidden) else excluded

    def _known_items(self, items: Sequence[str]) -> Codes:
        codes = self.scorer.items.codes(items)
        known: Codes = codes[codes != UNKNOWN]
        return known

    def _matrix(self, rows: Sequence[Codes]) -> sp.csr_matrix:
        return marked(rows, len(self.scorer.items))

    def _named(self, wanted: Sequence[Wanted], found: Recommendations) -> list[Recommendation]:
        return [
            Recommendation(self.version, self.name, known, self._items(items, scores, one.names), user=one.user)
            for one, items, scores, known in zip(wanted, found.items, found.scores, found.known.tolist(), strict=True)
        ]

    def _items(self, items: Codes, scores: Floats, names: bool = False) -> list[Scored]:
        there = items != NOBODY
        if not there.all():
            items, scores = items[there], scores[there]
        catalogue = self.shelf.catalogue if names else None
        if catalogue is not None:
            called = map(catalogue.name, items.tolist())
            return list(map(Scored, map(self._name, items.tolist()), scores.tolist(), called))
        return list(map(Scored, map(self._name, items.tolist()), scores.tolist()))

    @cached_property
    def _name(self) -> Callable[[int], str]:
        """The id of an item. Few items are recommended to many, so that these need not be read again each time."""
        return lru_cache(MOST_NAMES)(self.scorer.items.__getitem__)

    def popular(self, wanted: Wanted) -> Recommendation:
        """What anybody gets when nothing better can be had."""
        choice = self._choice(wanted.limits) if wanted.limits is not None else None
        row = self._row(UNKNOWN, self._excluded(wanted, choice.hidden if choice else NONE), wanted.items or ())
        if choice is not None:
            found = self._chosen(choice, wanted.k, UNKNOWN, row)
        else:
            found = self.scorer.recommend(np.array([UNKNOWN], np.int32), wanted.k, self._matrix([row]))
        return self._named([wanted], found)[0]

    def similar(self, item: int, k: int, limits: Limits | None = None, names: bool = False) -> list[Scored] | None:
        """What is most like an item; None where this model cannot tell."""
        first = self.scorer.similar(item, k)
        if first is None:
            return None
        if limits is None:
            found = first
        else:
            found = self._choice(limits).best(lambda count: self.scorer.similar(item, count) or first, k)
        return self._items(found.items[0], found.scores[0], names)

    def because(self, user: int, item: int, k: int) -> list[Reason] | None:
        """Which of a user's purchases speak for an item, and the share of each; None where this model cannot tell."""
        found = self.scorer.because(user, self.history(user), item, k)
        if found is None:
            return None
        return [Reason(self.scorer.items[int(code)], float(share)) for code, share in zip(*found, strict=True)]

    def predict(self, users: Sequence[str], products: Sequence[str]) -> list[float]:
        scores = self.scorer.score(self.scorer.users.codes(users), self.scorer.items.codes(products))
        return [float(score) for score in scores]


@dataclass(frozen=True)
class Serving:
    """The live release, one that is tried beside it, and the one before for when something breaks."""

    live: Model
    canary: Model | None = None
    """Its answers are shown to its share of the users."""
    shadow: Model | None = None
    """It is asked for its share of the users, and only compared."""
    percent: float = 0.0
    """That share."""
    before: Model | None = None

    @property
    def tried(self) -> Model | None:
        return self.canary or self.shadow

    @property
    def loaded(self) -> list[Model]:
        """All of them."""
        return [one for one in (self.live, self.tried, self.before) if one is not None]

    def version(self, number: int) -> Model | None:
        """The one that has given an answer."""
        return next((one for one in self.loaded if one.version == number), None)

    def in_share(self, user: str | None) -> bool:
        """Whether a user is of those for whom a version is tried: the same on every server, as long as it is tried."""
        return user is not None and self.tried is not None and place_of(user, self.tried.version) < self.percent

    def of(self, user: str | None) -> Model:
        """Whose turn it is."""
        return self.canary if self.canary is not None and self.in_share(user) else self.live

    def others(self, model: Model) -> list[Model]:
        """Whom to ask instead, best first."""
        return [one for one in (self.live, self.before) if one is not None and one is not model]


def place_of(user: str, version: int) -> float:
    """A user's place between 0 and 100, another one for every version."""
    digest = hashlib.blake2b(f"{version}:{user}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return 100 * int.from_bytes(digest, "big") / 2**64
