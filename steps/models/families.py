"""The model families by name, and their settings from text such as `als.factors=64,als.alpha=2`."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import fields
from importlib import import_module
from typing import TYPE_CHECKING

from steps.runtime.errors import UsageError
from steps.runtime.flags import yes_or_no

if TYPE_CHECKING:
    from steps.models.recommender import Recommender

FAMILIES = {
    "popularity": ("steps.models.popularity", "Popularity"),
    "als": ("steps.models.als", "ALS"),
    "ease": ("steps.models.ease", "Ease"),
    "item_knn": ("steps.models.item_knn", "ItemKNN"),
    "deep_cf": ("steps.models.deep_cf", "DeepCF"),
    "sequence": ("steps.models.sequence", "Sequence"),
    "two_tower": ("steps.models.two_tower", "TwoTower"),
    "implicit": ("steps.models.implicit_als", "Implicit"),
}
TOGETHER = ("deep_cf", "two_tower")
"""Those that several workers can train together."""

BLEND = "blend"
"""Not a family to train: it is made of the others, once they are."""
DEFAULT = "popularity,als,ease,item_knn,blend"
"""What a plain run tries."""


def family(name: str) -> type[Recommender]:
    """The class of a family; its module, and with it any framework, is imported only now."""
    check_name(name)
    module, attribute = FAMILIES[name]
    found: type[Recommender] = getattr(import_module(module), attribute)
    return found


def parse_names(text: str) -> list[str]:
    """`als,popularity` or `["als","popularity"]`, each known and named once; `blend` may be among them."""
    names = [name for name in (part.strip(" \"'[]") for part in text.split(",")) if name]
    if not names:
        raise UsageError(f"no model is named; allowed are {', '.join(sorted(FAMILIES))}")
    if len(set(names)) < len(names):
        raise UsageError(f"a model is named twice in {text!r}")
    for name in names:
        if name != BLEND:
            check_name(name)
    if names == [BLEND]:
        raise UsageError("a blend is made of other models: name them too")
    return names


def check_name(name: str) -> None:
    if name == BLEND:
        raise UsageError("a blend is not trained, but made of the run's other models by steps.blend")
    if name not in FAMILIES:
        raise UsageError(f"there is no model {name!r}; allowed are {', '.join(sorted(FAMILIES))}")


def make(name: str, settings: str = "") -> Recommender:
    """A model with the settings that concern it; the others of the text belong to other families."""
    made = family(name)
    return made(made.settings_type(**settings_of(name, settings)))


def settings_of(name: str, text: str) -> dict[str, object]:
    """Reads `als.factors=64,als.alpha=2` and keeps what belongs to `name`, as the types that its settings have."""
    chosen: dict[str, object] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        key, equals, value = part.partition("=")
        model, dot, field_name = key.strip().partition(".")
        if not (equals and dot):
            raise UsageError(f"{part!r} is not a setting: write MODEL.NAME=VALUE, such as als.factors=64")
        if model == name:
            chosen[field_name] = _typed(name, field_name, value.strip())
        elif model not in FAMILIES:
            raise UsageError(f"{part!r} names no model; allowed are {', '.join(sorted(FAMILIES))}")
    return chosen


def _typed(name: str, field_name: str, value: str) -> object:
    known = {field.name: field.type for field in fields(family(name).settings_type)}
    if field_name not in known:
        allowed = ", ".join(known) or "none"
        raise UsageError(f"{name} has no setting {field_name!r}; allowed are {allowed}")
    kind = {"int": int, "float": float, "str": str, "bool": bool}[str(known[field_name])]
    if kind is bool:
        return yes_or_no(f"{name}.{field_name}", value)
    try:
        return kind(value)
    except ValueError as error:
        raise UsageError(f"{name}.{field_name} is {value!r}: a value of type {kind.__name__} is required") from error


def check_settings(names: Sequence[str], text: str) -> None:
    """Makes every family once, so that a wrong setting is found before anything is trained."""
    for name in names:
        if name != BLEND:
            make(name, text)
