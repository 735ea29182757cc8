"""Where in the store each artefact lies; nobody else spells a key."""

from __future__ import annotations

import re

from steps.runtime.errors import UsageError
from steps.runtime.settings import NAME

MANIFEST = "manifest.json"
SAVED_MODEL = "saved_model"
VALIDATION = "validation"
"""Where in a candidate lies what a blend is judged by."""
ARRAYS = ("scorer", "factors")
"""Where in a candidate the arrays may lie that answer without TensorFlow; dot products have a folder of their own."""


FEEDBACK, SERVING = "feedback", "serving"
"""Where in the data bucket lies, by the hour, what users did and what the model servers did."""
RULES = "rules.json"
"""Where in the models bucket lies what the shop asks of every list."""


def candidate(run: str, model: str) -> str:
    return f"candidates/{run}/{model}"


def candidates(run: str) -> str:
    return f"candidates/{run}/"


def trials(run: str, model: str) -> str:
    """Where a search keeps what it has tried, one object a trial."""
    return f"{candidate(run, model)}/search/"


def checkpoint(run: str, model: str) -> str:
    """Where several workers keep how far they have come; gone once the candidate is whole."""
    return f"{candidate(run, model)}/checkpoint/"


def parse_candidate(path: str) -> tuple[str, str]:
    """`candidates/RUN/MODEL` → the run and the model."""
    found = re.fullmatch(r"candidates/([^/]+)/([^/]+)", path)
    if not found or not NAME.fullmatch(found[1]):
        raise UsageError(f"{path!r} is not a candidate: write candidates/RUN/MODEL")
    return found[1], found[2]


def verdict(run: str) -> str:
    return f"verdicts/{run}.json"


def release(version: int) -> str:
    return f"releases/{version}.json"


def canary(version: int) -> str:
    return f"canaries/{version}.json"


def canary_end(version: int) -> str:
    return f"canaries/{version}.end.json"


def slot(name: str) -> str:
    return f"slots/{name}"


def slot_version(name: str, version: int) -> str:
    return f"slots/{name}/{version}"


def claim(version: int, turn: int) -> str:
    return f"claims/{version}/{turn}.json"


def predictions(version: int) -> str:
    return f"predictions/{version}"


def run_report(run: str) -> str:
    return f"runs/{run}.json"


def monitoring(stamp: str) -> str:
    """A look at how the live release does; the page beside it has the same name."""
    return f"monitoring/{stamp}.json"


def require_run(run: str) -> str:
    """The run's name, which every artefact of a run carries."""
    if not run:
        raise UsageError("RUN is not set: name the run that this step belongs to, such as RUN=first")
    return run
