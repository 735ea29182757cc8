"""From train to evaluate and model_publish: a trained model with everything that is known of it."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from steps.artifacts import names, records
from steps.clients.object_store import Bucket, FileRecord, ObjectExistsError, ObjectMissingError
from steps.models.signature import Answer
from steps.runtime.errors import UsageError

if TYPE_CHECKING:
    import scipy.sparse as sp

    from steps.models.scorer import Scorer


@dataclass(frozen=True)
class Candidate:
    """The manifest of one model of one run, written after all its files and never changed."""

    run: str
    model: str
    snapshot: str
    settings: dict[str, Any]
    seed: int
    metrics: dict[str, float]
    """Measured on the validation split, to choose settings by. The verdict is about the test split."""
    expected: list[dict[str, Any]]
    """What `recommend` must answer for some users: the health check of publishing compares with it."""
    libraries: dict[str, str]
    source_revision: str
    seconds: float
    peak_memory: int
    created: str
    files: dict[str, dict[str, Any]] = field(default_factory=dict)
    """Of each file its sha256 and size."""
    search: list[dict[str, Any]] = field(default_factory=list)
    """What was tried on the validation split, in its order."""
    events: dict[str, float] = field(default_factory=dict)
    """What events that are no purchases count, where the search has found it."""
    curve: list[dict[str, Any]] = field(default_factory=list)
    """Where a family learns in passes: of each `pass` the `figure` that held-back purchases gave, or the `loss`."""

    @property
    def path(self) -> str:
        return names.candidate(self.run, self.model)

    @property
    def chosen(self) -> dict[str, Any]:
        """All that was set or found out, for people."""
        return {**self.settings, **{f"event {kind}": round(worth, 3) for kind, worth in self.events.items()}}

    @property
    def answers(self) -> list[Answer]:
        return [Answer(**answer) for answer in self.expected]

    @property
    def records(self) -> dict[str, FileRecord]:
        return {name: FileRecord.from_json(record) for name, record in self.files.items()}

    def part(self, folder: str) -> dict[str, FileRecord]:
        """The files below `folder/`, by their names inside it."""
        prefix = f"{folder}/"
        return {name.removeprefix(prefix): record for name, record in self.records.items() if name.startswith(prefix)}


def find(models: Bucket, path: str) -> Candidate | None:
    """The candidate, if it is whole; one without a manifest was never finished."""
    try:
        return records.read(models, f"{path}/{names.MANIFEST}", Candidate)
    except ObjectMissingError:
        return None


def read(models: Bucket, path: str) -> Candidate:
    names.parse_candidate(path)
    found = find(models, path)
    if found is None:
        raise UsageError(f"there is no candidate {path} in {models.address()}")
    return found


def write(models: Bucket, candidate: Candidate, folder: Path) -> Candidate:
    """Uploads the files, then the manifest. A second writer of the same candidate yields to the first."""
    uploaded = models.upload(folder, candidate.path)
    whole = Candidate(**{**candidate.__dict__, "files": {name: one.as_json() for name, one in uploaded.items()}})
    try:
        models.create(f"{candidate.path}/{names.MANIFEST}", records.encode(whole))
    except ObjectExistsError:
        return read(models, candidate.path)
    return whole


def of_run(models: Bucket, run: str) -> list[Candidate]:
    """The whole candidates of a run, by their names."""
    prefix = names.candidates(run)
    found = sorted({entry.key.removeprefix(prefix).partition("/")[0] for entry in models.list(prefix)})
    whole = (find(models, names.candidate(run, model)) for model in found)
    return [one for one in whole if one is not None]


def reports(models: Bucket, run: str = "") -> dict[str, str]:
    """Where the page lies that says how the candidates of a run did: of one run, or of all that have one."""
    found: dict[str, str] = {}
    for entry in models.list(names.candidates(run) if run else "candidates/"):
        page = re.fullmatch(r"candidates/([^/]+)/[^/]+/report\.html", entry.key)
        if page:
            found.setdefault(page[1], entry.key)  # beside every candidate lies the same
    return found


def scorer(models: Bucket, candidate: Candidate, cache: Path) -> tuple[Scorer, sp.csr_matrix]:
    """What answers for a candidate, mapped from files that are what was recorded; and what every user had bought."""
    from steps.models import scorers

    for folder in names.ARRAYS:
        part = candidate.part(folder)
        if part:
            return scorers.load(models.fetch(f"{candidate.path}/{folder}", part, cache))
    raise UsageError(f"{candidate.path} ({candidate.model}) has no arrays that could be asked here")
