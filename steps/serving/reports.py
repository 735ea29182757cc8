"""The pages for people that steps leave in the store: of every look of monitor, and of every run's models."""

from __future__ import annotations

import logging
from functools import lru_cache
from typing import Any

from steps.artifacts import candidate, names, records
from steps.clients.object_store import Bucket, ObjectMissingError
from steps.runtime.errors import BadDataError
from steps.runtime.settings import NAME
from steps.serving.asgi import RefusedError, Text

log = logging.getLogger(__name__)

MOST = 100
POLICY = (
    "default-src 'none'; style-src 'unsafe-inline'; img-src data:; sandbox; "
    "frame-ancestors 'self'; base-uri 'none'; form-action 'none'"
)
"""They have their style inside, and need nothing else: no script runs in them, and they may ask this server nothing."""


class Looks:
    """What monitor has found. A look never changes, so that each is read once."""

    def __init__(self, models: Bucket) -> None:
        self.models = models
        self._known = lru_cache(2 * MOST)(self._read)

    def newest(self) -> list[dict[str, Any]]:
        """The last so many, the newest first."""
        found = (self._found(name) for name in self._listed()[:MOST])
        return [one for one in found if one is not None]

    def page(self, name: str) -> str | None:
        """A look's page; None where there is no such look, or where it has none."""
        from steps.artifacts import monitoring

        # No text of a client's is made into a key: it has to be one of those that there are.
        return _text(self.models, monitoring.page_of(name)) if name in self._listed() else None

    def _listed(self) -> list[str]:
        from steps.artifacts import monitoring  # with all that it calculates by: no server waits for that at its start

        return monitoring.listed(self.models)

    def _found(self, name: str) -> dict[str, Any] | None:
        try:
            return self._known(name)
        except ObjectMissingError:  # too old since it was listed
            return None
        except BadDataError as error:
            # One damaged object must not keep everybody from all the others.
            log.warning("a look is left out: %s", error)
            return None

    def _read(self, name: str) -> dict[str, Any]:
        found = records.read_json(self.models, names.monitoring(name))
        if not isinstance(found, dict):
            raise BadDataError(f"{self.models.address(names.monitoring(name))} is not a look")
        return {**found, "name": name, "page": f"monitoring/{name}"}


def of_run(models: Bucket, run: str) -> str | None:
    """The page that says how a run's models did; None where there is none."""
    key = candidate.reports(models, run).get(run) if NAME.fullmatch(run) else None
    return _text(models, key) if key else None


def shown(page: str | None, otherwise: str) -> Text:
    """A page as it is sent, or 404 with a sentence."""
    if page is None:
        raise RefusedError(404, otherwise)
    return Text(page, "text/html; charset=utf-8", {"content-security-policy": POLICY})


def _text(models: Bucket, key: str) -> str | None:
    try:
        return models.get(key).decode("utf-8", "replace")
    except ObjectMissingError:
        return None
