"""Starts workflows of a template that was applied a moment ago: the controller may not have heard of it yet."""

from __future__ import annotations

import re
import time
from collections.abc import Callable

from workflows.cluster.contract import Cluster, Manifest

HEARD = 2.0
"""Seconds in which a controller usually hears of a changed template; a run that begins before it would take the old."""
PATIENCE = 20.0
"""Seconds for the controller to take up a workflow. What it takes longer for, is no question of the template."""
POLL_SECONDS = 1.0
TRIES = 5
UNKNOWN = re.compile(r'workflowtemplates\.argoproj\.io "[^"]+" not found')


def apply(cluster: Cluster, template: Manifest) -> bool:
    """Applies a template of which something is started next; whether anything is different now."""
    changed = cluster.apply(template)
    if changed:
        time.sleep(HEARD)
    return changed


def start(cluster: Cluster, wanted: Callable[[], Manifest], say: Callable[[str], None], *, changed: bool) -> str:
    """Starts what `wanted` makes, under a new name each time; again where it ended because there was no template."""
    name = cluster.start(wanted())
    for _ in range(TRIES if changed else 0):
        if not came_too_early(cluster, name):
            break
        say(f"{name} ended at once: the controller had not heard of its template yet. It is submitted again.")
        name = cluster.start(wanted())
    return name


def came_too_early(cluster: Cluster, name: str) -> bool:
    until = time.monotonic() + PATIENCE
    while time.monotonic() < until:
        phase, message = cluster.phase(name)
        if phase:
            return phase == "Error" and bool(UNKNOWN.search(message))
        time.sleep(POLL_SECONDS)
    return False
