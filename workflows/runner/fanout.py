"""What a task fans out over: withItems, withParam, withSequence."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from workflows.runner.substitution import item_name, item_scope, substitute

FORMAT = re.compile(r"(?:[^%]|%%)*%0?\d*[dxXo](?:[^%]|%%)*")


class FanoutError(ValueError):
    """The items of a task cannot be told."""


@dataclass(frozen=True)
class Item:
    """One of a fan-out's nodes: its name, and what `{{item}}` stands for in it."""

    name: str
    scope: Mapping[str, str]


def items(task: Mapping[str, Any], scope: Mapping[str, str]) -> list[Item] | None:
    """The items in order; None for a task that runs once."""
    if "withItems" in task:
        values = substitute(task["withItems"], scope)
    elif "withParam" in task:
        values = _from_text(task, substitute(task["withParam"], scope))
    elif "withSequence" in task:
        values = list(_sequence(task["name"], substitute(task["withSequence"], scope)))
    else:
        return None
    return [Item(item_name(task["name"], index, value), item_scope(value)) for index, value in enumerate(values)]


def _from_text(task: Mapping[str, Any], text: str) -> list[Any]:
    try:
        values = json.loads(text)
    except ValueError:
        values = None
    if not isinstance(values, list):
        raise FanoutError(f"withParam of {task['name']!r} is {text!r}, which is no JSON list")
    return values


def _sequence(task: str, sequence: Mapping[str, Any]) -> Iterator[str]:
    """From `start` on, `count` numbers, or until `end`, downwards too."""
    try:
        start = int(str(sequence.get("start", 0)))
        if "end" in sequence:
            end = int(str(sequence["end"]))
            numbers = range(start, end + 1) if start <= end else range(start, end - 1, -1)
        else:
            numbers = range(start, start + int(str(sequence["count"])))
    except (KeyError, ValueError) as error:
        raise FanoutError(
            f"withSequence of {task!r} is {dict(sequence)}; it needs a whole count, or start and end"
        ) from error
    form = str(sequence.get("format", "")) or "%d"
    if not FORMAT.fullmatch(form):
        raise FanoutError(f"withSequence of {task!r} has the format {form!r}; it needs one %d, as in shard-%02d")
    return (form % number for number in numbers)
