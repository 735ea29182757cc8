"""Which models answer: follows the releases, loads the newest beside the old one, and swaps them at once."""

from __future__ import annotations

import logging
import tempfile
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path

from steps.artifacts import canary, candidate, release
from steps.artifacts.canary import Canary
from steps.artifacts.release import Release
from steps.clients.object_store import Bucket, remove_folder
from steps.runtime.errors import StepError
from steps.serving.catalogue import Catalogue
from steps.serving.models import Model, Serving

log = logging.getLogger(__name__)

FIRST_PAUSE, LONGEST_PAUSE = 10.0, 600.0
"""Seconds before a version that could not be loaded is loaded again."""


class Live:
    """Holds what answers, and looks for a newer release in the background."""

    def __init__(
        self,
        models: Bucket,
        seconds: float,
        cache: Path | None = None,
        data: Bucket | None = None,
        also: Sequence[Callable[[], None]] = (),
    ) -> None:
        self.models = models
        self.also = also
        """What else is looked at at each turn; none of it raises."""
        self.data = data
        """Where the names of the items come from; None where nobody asks for them."""
        self.seconds = seconds
        self.serving: Serving | None = None
        self.release: Release | None = None
        self.canary: Canary | None = None
        """What is tried beside it."""
        self.problem = "nothing has been looked up yet"
        self.looked = 0.0
        self._failed = (0, FIRST_PAUSE, 0.0)
        """The version that could not be tried, how long to wait, and until when."""
        self._warm: set[int] = set()
        """Versions that are warmed up, or could not be."""
        self._look = threading.Event()
        self._looked = threading.Event()
        self._over = False
        self._thread = threading.Thread(target=self._follow, daemon=True)
        self._cache = tempfile.TemporaryDirectory(prefix="serve-", dir=cache)

    def __enter__(self) -> Live:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._over = True
        self._look.set()
        self._thread.join()
        self._cache.cleanup()

    @property
    def model(self) -> Model | None:
        """What answers those who are not asked to try another one."""
        return self.serving.live if self.serving else None

    def wait(self, seconds: float) -> None:
        """Until the first look is over, but no longer than so: who comes right after a start finds a model."""
        self._looked.wait(seconds)

    def look(self) -> None:
        """Has heard of a release: looks now instead of at the next turn."""
        self._look.set()

    def refresh(self) -> None:
        """Swaps in the newest release and what is tried beside it, where these are not the ones that answer already."""
        for look in self.also:
            look()
        newest = release.live(self.models)
        self.looked = time.time()
        if newest is None:
            self.problem = "nothing has been released yet"
            return
        before = self.serving
        if before is None or newest.version != before.live.version:
            model = self._known(newest.version) or self._load(newest, "answers now")
            # The one before stays for when something breaks: its memory is that of its files, shared and let go.
            self.serving = Serving(model, before=before.live if before else None)
            self.release, self.canary = newest, None
        self.problem = self._tried(canary.running(self.models))
        self._forget_others()
        self._looked.set()
        self._warm_up()
        for model in self.serving.loaded if self.serving else ():
            self._describe(model)

    def _tried(self, wanted: Canary | None) -> str:
        """What is tried must not keep what is live from anything: returns why it cannot be, and waits before it looks
        at the same version again, twice as long each time."""
        failed, pause, again = self._failed
        if wanted and wanted.version == failed and time.monotonic() < again:
            return self.problem
        try:
            self._try(wanted)
        except Exception as error:
            pause = min(2 * pause, LONGEST_PAUSE) if wanted and wanted.version == failed else FIRST_PAUSE
            self._failed = (wanted.version if wanted else 0, pause, time.monotonic() + pause)
            log.warning("what is tried cannot be loaded: %s", error, exc_info=not isinstance(error, StepError))
            return f"version {wanted.version if wanted else 0} cannot be tried: {error}"
        return ""

    def _try(self, wanted: Canary | None) -> None:
        """Brings what is tried beside the live release up to what the store says."""
        serving = self.serving
        if serving is None or wanted == self.canary:
            return
        if wanted is None:
            changed = replace(serving, canary=None, shadow=None, percent=0.0)
            log.info("version %d answers alone", serving.live.version)
        else:
            model = self._known(wanted.version) or self._load(wanted, "is tried")
            shown = wanted.mode == canary.CANARY
            seen, unseen = (model, None) if shown else (None, model)
            changed = replace(serving, canary=seen, shadow=unseen, percent=wanted.percent)
            log.info("%s", wanted)
        self.serving, self.canary = changed, wanted

    def _warm_up(self) -> None:
        """Only now, for this may take seconds, and all that is loaded answers already."""
        for model in (self.serving.live, self.serving.tried) if self.serving else ():
            if model is not None and model.version not in self._warm:
                self._warm.add(model.version)
                began = time.perf_counter()
                if model.scorer.warm_up():
                    log.info("version %d is warmed up, in %.2f s", model.version, time.perf_counter() - began)

    def _known(self, version: int) -> Model | None:
        """What is loaded already: a canary that was promoted, or a release that was taken back to."""
        return self.serving.version(version) if self.serving else None

    def _load(self, wanted: Release | Canary, what: str) -> Model:
        began = time.perf_counter()
        chosen = candidate.read(self.models, wanted.candidate)
        folder = Path(self._cache.name) / str(wanted.version)
        scorer, bought = candidate.scorer(self.models, chosen, folder)
        model = Model(wanted.version, wanted.model, scorer, bought, chosen.snapshot)
        seconds = time.perf_counter() - began
        log.info("version %d (%s) %s, loaded in %.2f s", wanted.version, wanted.model, what, seconds)
        if self.serving is not None:  # another one answers meanwhile, so this one can begin with all that it will have
            self._describe(model)
        return model

    def _describe(self, model: Model) -> None:
        """What people call its items; they are recommended with and without."""
        data = self.data
        if data is not None:
            model.shelf.fill(lambda: Catalogue.read(data, model.snapshot, model.scorer, Path(self._cache.name)))

    def _forget_others(self) -> None:
        # Requests that began with an older model go on: its files stay readable while they are mapped.
        kept = {str(one.version) for one in self.serving.loaded} if self.serving else set()
        for folder in Path(self._cache.name).iterdir():
            if folder.name not in kept:
                remove_folder(folder)

    def _follow(self) -> None:
        while not self._over:
            self._look.clear()
            try:
                self.refresh()
            except StepError as error:
                self.problem = str(error)
                log.warning("the model stays as it is: %s", error)
            except Exception as error:
                self.problem = f"{type(error).__name__}: {error}"
                log.exception("the model stays as it is")
            self._looked.set()
            self._look.wait(self.seconds)
