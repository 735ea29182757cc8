"""Pages for people: one file each with everything inside, no script and nothing from elsewhere, all in one dress."""

from __future__ import annotations

from importlib.resources import files
from typing import Any


def render(name: str, **values: Any) -> str:
    """The page of a template of this folder; what comes from data is escaped."""
    from jinja2 import Environment, FunctionLoader

    surroundings = Environment(autoescape=True, trim_blocks=True, lstrip_blocks=True, loader=FunctionLoader(_text))
    surroundings.filters["short"] = short
    return surroundings.get_template(name).render(**values)


def short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value) or "none"


def _text(name: str) -> str:
    return files("steps.artifacts").joinpath(name).read_text(encoding="utf-8")
