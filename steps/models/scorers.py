"""The kinds of scorers by name, and the one way to load whichever lies in a folder."""

from __future__ import annotations

from importlib import import_module
from pathlib import Path

import scipy.sparse as sp

from steps.models.scorer import Scorer, Shared, about

KINDS = {
    "factors": ("steps.models.factors", "Factors"),
    "blend": ("steps.models.blend", "Blend"),
    "item_to_item": ("steps.models.item_to_item", "ItemToItem"),
    "dense": ("steps.models.deep_cf", "Dense"),
    "two_stage": ("steps.models.two_stage", "TwoStage"),
    "next_item": ("steps.models.sequence", "NextItem"),
}


def kind(name: str) -> type[Scorer]:
    """The class of a kind, imported only now."""
    if name not in KINDS:
        raise ValueError(f"there is no scorer of kind {name!r}; known are {', '.join(sorted(KINDS))}")
    module, attribute = KINDS[name]
    found: type[Scorer] = getattr(import_module(module), attribute)
    return found


def load(folder: Path) -> tuple[Scorer, sp.csr_matrix]:
    """Maps the scorer of a folder, and what every user had bought."""
    shared, seen = Shared.load(folder)
    return read(folder, shared), seen


def read(folder: Path, shared: Shared) -> Scorer:
    """Maps the part of a scorer that its kind adds."""
    described = about(folder)
    return kind(str(described["kind"])).read(folder, shared, described)
