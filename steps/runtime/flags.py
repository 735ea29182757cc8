"""Flags that come as text, because a workflow's parameters are texts: read with one sentence for a wrong one."""

from __future__ import annotations

from steps.runtime.errors import UsageError


def whole_number(flag: str, text: str, low: int = 0, high: int = 2**31 - 1) -> int:
    try:
        value = int(text)
    except ValueError as error:
        raise UsageError(f"{flag} is {text!r}: a whole number is required") from error
    if not low <= value <= high:
        raise UsageError(f"{flag} is {value}: {low} to {high} are allowed")
    return value


def number(flag: str, text: str, low: float, high: float) -> float:
    try:
        value = float(text)
    except ValueError as error:
        raise UsageError(f"{flag} is {text!r}: a number is required") from error
    if not low <= value <= high:
        raise UsageError(f"{flag} is {text}: {low:g} to {high:g} are allowed")
    return value


def yes_or_no(flag: str, text: str) -> bool:
    if text not in ("true", "false"):
        raise UsageError(f"{flag} is {text!r}: true or false")
    return text == "true"
