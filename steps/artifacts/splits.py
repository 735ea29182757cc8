"""How purchases are divided into train, validation and test; a rule in a flag, such as `time:0.1`."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from typing import Literal, cast

import numpy as np
import numpy.typing as npt

from steps.artifacts.dataset import Split
from steps.models.ids import IdTable
from steps.runtime.errors import BadDataError, UsageError

Times = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int32]
Splits = npt.NDArray[np.int8]
Mask = npt.NDArray[np.bool_]

ALLOWED = "auto, time, time:SHARE, last:N, random or random:SHARE, where SHARE is between 0 and 0.5 and N at least 1"
SHARES = {"time": 0.1, "random": 0.25}
RANDOM_VALIDATION = 0.1


@dataclass(frozen=True)
class Rule:
    """A rule as the flag gives it; `auto` becomes a definite rule when the purchases are known."""

    kind: Literal["auto", "time", "last", "random"]
    share: float = 0.0
    count: int = 0

    @classmethod
    def parse(cls, text: str) -> Rule:
        kind, colon, amount = text.strip().partition(":")
        if kind == "auto" and not colon:
            return cls("auto")
        if kind == "last" and re.fullmatch(r"[1-9][0-9]{0,5}", amount):
            return cls("last", count=int(amount))
        if kind in SHARES and not colon:
            return cls(cast(Literal["time", "random"], kind), share=SHARES[kind])
        if kind in SHARES and re.fullmatch(r"0?\.[0-9]+", amount) and 0 < float(amount) < 0.5:
            return cls(cast(Literal["time", "random"], kind), share=float(amount))
        raise UsageError(f"--split is {text!r}: it may be {ALLOWED}")

    def resolve(self, time: Times | None) -> Rule:
        """What `auto` means here: by time where the purchases have different times, else at random."""
        if self.kind == "auto":
            return Rule.parse("time" if time is not None and len(time) and time.min() < time.max() else "random")
        if time is None and self.kind != "random":
            raise UsageError(f"--split {self} needs a time, and the purchases have none: use random:{SHARES['random']}")
        return self

    def __str__(self) -> str:
        if self.kind == "auto":
            return "auto"
        return f"{self.kind}:{self.count or f'{self.share:g}'}"


def divide(
    rule: Rule,
    users: IdTable,
    items: IdTable,
    user: Codes,
    item: Codes,
    time: Times | None,
    seed: int,
    goal: Mask | None = None,
    led: Mask | None = None,
) -> Splits:
    """The split of each purchase under a resolved rule; train and test are never empty.

    Where only some events are purchases, as `goal` says, those are divided, and no other event is known earlier than
    it could be: it falls into the part of its user's purchases of that time, or of its pair where chance decides.

    What a list has `led` to is for training alone: held out, it would be right of whoever made the list to foretell it.
    """
    chosen = np.ones(len(user), bool) if goal is None else goal
    if led is not None:
        chosen = chosen & ~led
    if rule.kind == "random" or time is None:
        split = _random(rule.share, users, items, user, item, seed, chosen)
    elif rule.kind == "last":
        split = np.full(len(user), Split.TRAIN, np.int8)
        split[chosen] = _last(rule.count, user[chosen], item[chosen], time[chosen])
        for part in (Split.VALIDATION, Split.TEST):
            began = np.full(len(users), np.iinfo(np.int64).max)
            held = chosen & (split == part)
            np.minimum.at(began, user[held], time[held])
            split[~chosen & (time >= began[user])] = part
    else:
        split = _by_time(rule.share, time, chosen)
    if led is not None:
        split[led] = Split.TRAIN
    if not all((chosen & (split == part)).any() for part in (Split.TRAIN, Split.TEST)):
        raise BadDataError(_why_not(rule, user[chosen], 0 if led is None else int(led.sum())))
    return split


def _by_time(share: float, time: Times, chosen: Mask) -> Splits:
    """Cuts at two moments of the chosen: purchases of one moment stay on one side of a cut."""
    times = np.sort(time if chosen.all() else time[chosen])
    total = len(times)
    first = np.flatnonzero(np.concatenate([np.ones(min(total, 1), bool), times[1:] != times[:-1]]))
    moments = times[first]
    split = np.full(len(time), Split.TRAIN, np.int8)
    if len(moments) < 2:
        return split
    # A cut is the number of a moment that begins a part; the first moment is train's.
    test = 1 + int(np.abs(first[1:] - total * (1 - share)).argmin())
    split[time >= moments[test]] = Split.TEST
    if test >= 2:
        validation = 1 + int(np.abs(first[1:test] - total * (1 - 2 * share)).argmin())
        split[(time >= moments[validation]) & (time < moments[test])] = Split.VALIDATION
    return split


def _last(count: int, user: Codes, item: Codes, time: Times) -> Splits:
    """The last purchases of each user; who has too few to leave one for training keeps all in train."""
    order = np.lexsort((item, time, user))
    totals = np.bincount(user)
    ends = np.cumsum(totals)
    from_end = ends[user[order]] - np.arange(len(order))  # 1 is the user's last purchase
    enough = totals[user[order]] > 2 * count
    split = np.full(len(user), Split.TRAIN, np.int8)
    split[order[enough & (from_end <= 2 * count)]] = Split.VALIDATION
    split[order[enough & (from_end <= count)]] = Split.TEST
    return split


def _random(share: float, users: IdTable, items: IdTable, user: Codes, item: Codes, seed: int, chosen: Mask) -> Splits:
    """By a hash of seed, user and item: the purchases of a pair fall together, and stay there when the data grows."""
    with np.errstate(over="ignore"):
        mixed = _mix(_hashes(users, f"{seed}/user")[user] + np.uint64(0x9E3779B97F4A7C15))
        mixed = _mix(mixed ^ _hashes(items, f"{seed}/item")[item])
    place = (mixed >> np.uint64(11)).astype(np.float64) / 2.0**53
    split = np.full(len(user), Split.TRAIN, np.int8)
    split[place < share + min(share, RANDOM_VALIDATION)] = Split.VALIDATION
    split[place < share] = Split.TEST
    # A handful of purchases may all fall on one side: then the outermost pair changes over.
    if chosen.any() and not (split[chosen] == Split.TEST).any():
        split[place == place[chosen].min()] = Split.TEST
    if chosen.any() and not (split[chosen] == Split.TRAIN).any():
        split[place == place[chosen].max()] = Split.TRAIN
    return split


def _hashes(ids: IdTable, salt: str) -> npt.NDArray[np.uint64]:
    """A hash an id that is the same on every machine and in every version."""
    key = salt.encode()
    digests = b"".join(hashlib.blake2b(one.encode(), digest_size=8, key=key).digest() for one in ids)
    return np.frombuffer(digests, "<u8").astype(np.uint64)


def _mix(value: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint64]:
    """The finaliser of splitmix64: each input bit changes half of the output bits."""
    value = (value ^ (value >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    value = (value ^ (value >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return value ^ (value >> np.uint64(31))


def _why_not(rule: Rule, user: Codes, led: int) -> str:
    also = f" ({led} more came from lists of recommendations, and are never held out)" if led else ""
    if rule.kind == "time":
        return (
            f"--split {rule} cannot leave purchases for both training and testing: "
            f"all {len(user)} happened at the same time{also}; use random:{SHARES['random']}"
        )
    if rule.kind == "last":
        return (
            f"--split {rule} cannot leave purchases for testing: no user has more than {2 * rule.count} purchases "
            f"({len(np.unique(user))} users, {len(user)} purchases){also}; use time or random:{SHARES['random']}"
        )
    few = "only one pair" if len(user) else "no pair"
    return (
        f"--split {rule} cannot leave purchases for both training and testing: "
        f"there is {few} of a user and an item among {len(user)} purchases{also}"
    )
