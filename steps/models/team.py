"""Several workers that train one model together: who they are, as TF_CONFIG says, and where they keep things."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from steps.runtime.errors import UsageError

TF_CONFIG = "TF_CONFIG"
KINDS = ("chief", "worker")
"""The kinds of process that train, in the order in which they are counted. Others have other work."""
EXAMPLE = '{"cluster": {"worker": ["HOST:PORT", …]}, "task": {"type": "worker", "index": 0}}'


@dataclass(frozen=True)
class Team:
    """This process among others. The first of them is the chief, who alone writes what comes of it."""

    workers: tuple[str, ...]
    index: int

    @property
    def chief(self) -> bool:
        return self.index == 0

    @classmethod
    def from_environment(cls, environ: Mapping[str, str]) -> Team | None:
        """The team that TF_CONFIG names; None where it names one process at most, or is not set.

        >>> Team.from_environment({}) is None
        True
        """
        text = environ.get(TF_CONFIG, "").strip()
        if not text:
            return None
        try:
            told = json.loads(text)
            cluster, task = told["cluster"], told["task"]
            addresses = {kind: [str(one) for one in cluster[kind]] for kind in cluster}
            kind, index = str(task["type"]), int(task["index"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise UsageError(f"{TF_CONFIG} is {text[:200]!r}: write {EXAMPLE}") from error
        other = sorted({*addresses, kind} - {*KINDS})
        if other:
            raise UsageError(f"{TF_CONFIG} has {', '.join(other)}: only {' and '.join(KINDS)} can train here")
        if not 0 <= index < len(addresses.get(kind, [])):
            raise UsageError(f"{TF_CONFIG} calls this process {kind} {index}, and its cluster has no such task")
        workers = [(one, place, address) for one in KINDS for place, address in enumerate(addresses.get(one, []))]
        wrong = [address for _, _, address in workers if not _is_address(address)]
        if wrong or len({address for _, _, address in workers}) < len(workers):
            raise UsageError(f"{TF_CONFIG} has {wrong[0] if wrong else 'an address twice'!r}: each task is a HOST:PORT")
        if len(workers) == 1:
            return None
        own = [(one, place) for one, place, _ in workers].index((kind, index))
        return cls(tuple(address for _, _, address in workers), own)


def _is_address(text: str) -> bool:
    host, _, port = text.rpartition(":")
    return bool(host) and port.isascii() and port.isdigit() and 0 < int(port) < 1 << 16


@dataclass(frozen=True)
class Keeping:
    """Where all workers find what one of them kept: pods have no disk in common, but they have the store."""

    load: Callable[[str], bytes | None]
    save: Callable[[str, bytes], None]


@dataclass(frozen=True)
class Together:
    """A team that has met."""

    team: Team
    keeping: Keeping
    strategy: Any
    """TensorFlow's, by which what all workers have is added up."""
    total: Callable[[float], float]
    """The sum of what every worker has; all of them have to ask."""
