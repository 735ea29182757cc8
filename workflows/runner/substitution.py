"""Replaces `{{tags}}` in every text below a value, as the controller does before it runs a template."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from typing import Any

TAG = re.compile(r"\{\{\s*([^{}]*?)\s*\}\}")


class TagError(ValueError):
    """A tag that stands for nothing."""


def tags(value: Any) -> Iterator[str]:
    """Every tag below the value."""
    if isinstance(value, str):
        yield from (match.group(1) for match in TAG.finditer(value))
    elif isinstance(value, Mapping):
        for inner in value.values():
            yield from tags(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from tags(inner)


def substitute(value: Any, scope: Mapping[str, str], *, strict: bool = True) -> Any:
    """The value with its tags replaced from the scope; a tag that is not in it is an error, or stays if not strict."""

    def replace(match: re.Match[str]) -> str:
        tag = match.group(1)
        if tag in scope:
            return scope[tag]
        if strict:
            raise TagError(f"{{{{{tag}}}}} stands for nothing here")
        return match.group(0)

    if isinstance(value, str):
        return TAG.sub(replace, value)
    if isinstance(value, Mapping):
        return {key: substitute(inner, scope, strict=strict) for key, inner in value.items()}
    if isinstance(value, list):
        return [substitute(inner, scope, strict=strict) for inner in value]
    return value


def as_text(value: Any) -> str:
    """A parameter's or an item's value as Argo writes it into a text."""
    if isinstance(value, str):
        return value
    if isinstance(value, (dict, list)):
        # A map's keys come out in order in Go, and the text of an item is part of what a step sees.
        return json.dumps(value, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return json.dumps(value)


def item_scope(item: Any) -> dict[str, str]:
    """What `{{item}}` and `{{item.key}}` stand for."""
    scope = {"item": as_text(item)}
    if isinstance(item, Mapping):
        scope |= {f"item.{key}": as_text(inner) for key, inner in item.items()}
    return scope


def item_name(task: str, index: int, item: Any) -> str:
    """`train(1:als)`: the name of one of a fan-out's nodes."""
    if isinstance(item, Mapping):
        text = ",".join(sorted(f"{key}:{as_text(inner)}" for key, inner in item.items()))
    else:
        text = as_text(item)
    return f"{task}({index}:{text.replace('(', '').replace(')', '')})"
