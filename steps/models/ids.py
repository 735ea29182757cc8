"""Ids as texts and as row numbers: one compact table that can be mapped from a file and shared by processes."""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

Codes = npt.NDArray[np.int32]
UNKNOWN = -1
STEP = 64
"""Ids of a stretch that is searched one by one."""


@dataclass(frozen=True)
class IdTable(Sequence[str]):
    """Distinct ids in the order of their UTF-8 bytes; the place of an id is its code.

    `offsets` has one entry more than there are ids: id `i` is `text[offsets[i]:offsets[i + 1]]`.
    """

    text: npt.NDArray[np.uint8]
    offsets: npt.NDArray[np.int64]

    @classmethod
    def of(cls, ids: Sequence[str]) -> IdTable:
        """Builds a table from ids that are sorted and distinct already; raises ValueError otherwise."""
        raw = [one.encode() for one in ids]
        if any(left >= right for left, right in pairwise(raw)):
            raise ValueError("ids must be distinct and sorted by their UTF-8 bytes")
        offsets = np.zeros(len(raw) + 1, np.int64)
        np.cumsum([len(one) for one in raw], out=offsets[1:])
        return cls(np.frombuffer(b"".join(raw), np.uint8), offsets)

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, code: int) -> str:  # type: ignore[override]
        return self._raw(range(len(self))[code]).decode()

    @cached_property
    def _raw(self) -> Callable[[int], bytes]:
        """The bytes of an id. From views of both arrays: one by one, numpy takes ten times as long."""
        text, offsets = np.ascontiguousarray(self.text).data, np.ascontiguousarray(self.offsets).data

        def raw(code: int) -> bytes:
            return bytes(text[offsets[code] : offsets[code + 1]])

        return raw

    def code(self, one: str) -> int:
        """The code of an id, or UNKNOWN: a binary search, so that a mapped table needs next to no memory."""
        wanted, raw = one.encode("utf-8", "surrogatepass"), self._raw
        end = STEP * bisect_right(self._every_so_often, wanted)
        first, end = max(end - STEP, 0), min(end, len(self))
        place = bisect_left(range(first, end), wanted, key=raw) + first
        return place if place < end and raw(place) == wanted else UNKNOWN

    @cached_property
    def _every_so_often(self) -> list[bytes]:
        """The first id of each stretch: it is found a few times faster among these than in the table."""
        return [self._raw(code) for code in range(0, len(self), STEP)]

    def codes(self, ids: Sequence[str]) -> Codes:
        """The codes of some ids, UNKNOWN where there is none."""
        return np.fromiter((self.code(one) for one in ids), np.int32, len(ids))

    def names(self, codes: npt.NDArray[np.integer]) -> list[str]:
        """The ids of some codes; of codes that follow each other far more quickly."""
        if len(codes) and (np.diff(codes) == 1).all():
            return self._stretch(int(codes[0]), int(codes[-1]) + 1)
        raw = self._raw
        return [raw(code).decode() for code in codes.tolist()]

    def _stretch(self, first: int, end: int) -> list[str]:
        places = (self.offsets[first : end + 1] - self.offsets[first]).tolist()
        raw = self.text[self.offsets[first] : self.offsets[end]].tobytes()
        if raw.isascii():  # a character is a byte
            whole = raw.decode()
            return [whole[start:stop] for start, stop in pairwise(places)]
        return [raw[start:stop].decode() for start, stop in pairwise(places)]

    def aligned(self, other: IdTable) -> Codes:
        """For each id of `other` its code here, UNKNOWN where there is none: one merge of two sorted tables."""
        mine, place = len(self), 0
        result = np.full(len(other), UNKNOWN, np.int32)
        for code in range(len(other)):
            wanted = other._raw(code)
            while place < mine and self._raw(place) < wanted:
                place += 1
            if place < mine and self._raw(place) == wanted:
                result[code] = place
        return result

    def save(self, folder: Path, name: str) -> None:
        np.save(folder / f"{name}.text.npy", self.text)
        np.save(folder / f"{name}.offsets.npy", self.offsets)

    @classmethod
    def load(cls, folder: Path, name: str) -> IdTable:
        """Maps the files of `save`; nothing is read before it is asked for."""
        text = np.load(folder / f"{name}.text.npy", mmap_mode="r", allow_pickle=False)
        return cls(text, np.load(folder / f"{name}.offsets.npy", mmap_mode="r", allow_pickle=False))
