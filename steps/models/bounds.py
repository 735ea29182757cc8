"""Checks settings against their bounds, with one sentence that names the setting, its value and what is allowed."""

from __future__ import annotations

from steps.runtime.errors import UsageError


def require(model: str, settings: object, **bounds: tuple[float, float]) -> None:
    """`require("als", settings, factors=(1, 2048))`: both ends are allowed, and NaN is in no range."""
    for name, (least, most) in bounds.items():
        value = getattr(settings, name)
        if not least <= value <= most:
            raise UsageError(f"{model}.{name} is {value}: {least:g} to {most:g} are allowed")
