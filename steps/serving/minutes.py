"""Tells the store once a minute what this process has answered: from that, monitor sees errors and not only clicks."""

from __future__ import annotations

import logging
import socket
import threading
from datetime import UTC, datetime

from steps.artifacts import served
from steps.artifacts.feedback import stamp
from steps.artifacts.served import Answers, Minute, Shadow
from steps.clients.object_store import Bucket
from steps.serving.statistics import Statistics

log = logging.getLogger(__name__)

SECONDS = 60.0
LABEL = "/recommend"


class Minutes:
    """Writes while the block runs, and once more at its end; nothing where nothing was asked."""

    def __init__(self, data: Bucket, statistics: Statistics, seconds: float = SECONDS) -> None:
        self.data = data
        self.statistics = statistics
        self.seconds = seconds
        self._since = datetime.now(UTC)
        self._versions = statistics.versions(mine=True)  # of a worker before this one, in the same row
        self._line = statistics.line(LABEL, mine=True)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._tell, daemon=True)

    def __enter__(self) -> Minutes:
        self._thread.start()
        return self

    def __exit__(self, *details: object) -> None:
        self._over.set()
        self._thread.join()

    def write(self) -> None:
        """What has come since the last time."""
        now, versions, line = (
            datetime.now(UTC),
            self.statistics.versions(mine=True),
            self.statistics.line(LABEL, mine=True),
        )
        times = line.since(self._line)
        ms = (round(1000 * times.percentile(50), 3), round(1000 * times.percentile(99), 3))
        told = {}
        for version, counts in versions.items():
            before = self._versions.get(version, {})
            new = {kind: count - before.get(kind, 0) for kind, count in counts.items()}
            if any(new.values()):
                told[version] = _answers(new, ms)
        if told:
            served.write(self.data, Minute(stamp(self._since), stamp(now), socket.gethostname(), told), now)
        self._since, self._versions, self._line = now, versions, line

    def _tell(self) -> None:
        over = False
        while not over:
            over = self._over.wait(self.seconds)
            try:
                self.write()
            except Exception as error:  # noqa: BLE001 (it is told, and comes with the next minute)
                log.warning("what was answered cannot be told to the store: %s", error)


def _answers(new: dict[str, int], ms: tuple[float, float]) -> Answers:
    shadowed = new["shadowed"]
    return Answers(
        requests=new["answers"] + shadowed + new["errors"],
        errors=new["errors"],
        degraded=new["degraded"],
        unknown_users=new["strangers"],
        ms=ms,
        shadow=Shadow(shadowed, new["agreed"] / 1e6 / shadowed) if shadowed else None,
    )
