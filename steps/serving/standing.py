"""The shop's standing rules, followed live: those of a file that is wrong never take the place of good ones."""

from __future__ import annotations

import logging
import threading
from typing import Any

from steps.artifacts import names, records, shop_rules
from steps.artifacts.shop_rules import ShopRules
from steps.clients.object_store import Bucket
from steps.runtime.errors import StepError
from steps.runtime.program import one_line
from steps.serving.catalogue import Catalogue
from steps.serving.models import Serving

log = logging.getLogger(__name__)


class Standing:
    """Holds the rules that are in force; `look` at every turn brings them up to what the store says."""

    def __init__(self, models: Bucket) -> None:
        self.models = models
        self.now: ShopRules | None = None
        """None where no rule asks for anything."""
        self.problem = ""
        self.since = ""
        """When these came here."""
        self._content: bytes | None = None
        self._one_look = threading.Lock()
        """Those who look, which no request for recommendations does."""

    def look(self) -> None:
        """Never raises: what is wrong is told, and what held before goes on."""
        with self._one_look:
            try:
                self._take(shop_rules.content(self.models))
            except Exception as error:
                sentence = str(error) if isinstance(error, StepError) else f"{type(error).__name__}: {error}"
                if sentence != self.problem:
                    log.warning(
                        "the rules stay as they are: %s",
                        one_line(sentence),
                        exc_info=not isinstance(error, StepError),
                    )
                self.problem = sentence

    def _take(self, content: bytes | None) -> None:
        if content != self._content:
            rules = ShopRules() if content is None else shop_rules.parse(content)
            self.now, self._content = rules or None, content
            self.since = records.now() if rules else ""
            log.info("%s", f"{names.RULES} holds for every list now" if rules else "no rules hold any more")
        self.problem = ""

    def write(self, rules: ShopRules) -> None:
        """In place of those that were there, here at once and elsewhere at the next look."""
        shop_rules.write(self.models, rules)
        self.look()

    def state(self, serving: Serving | None) -> dict[str, Any]:
        """For people."""
        rules, loaded = self.now, serving.loaded if serving is not None else []
        absent = {} if rules is None else {str(one.version): missing(rules, one.shelf.catalogue) for one in loaded}
        return {
            "in_force": rules is not None,
            "since": self.since,
            "problem": self.problem,
            "without_columns": {version: columns for version, columns in absent.items() if columns},
        }


def missing(rules: ShopRules, catalogue: Catalogue | None) -> list[str]:
    """The columns that rules speak of and a release does not have, or not yet: what is said of them cannot hold."""
    return sorted(rules.columns - set(catalogue.columns if catalogue is not None else ()))
