"""The model server: answers recommendation requests from the live release and follows the next ones."""

from __future__ import annotations

import logging
import os
import sys

from steps.clients.object_store import open_store
from steps.runtime.flags import number, whole_number
from steps.runtime.processor import calculate_in_one_thread
from steps.runtime.program import Parser, Step, main

log = logging.getLogger(__name__)


def parser() -> Parser:
    flags = Parser(
        prog="serve",
        description=__doc__ or "",
        epilog="example: python -m steps.serve --port 8080\n"
        """then:    curl -s localhost:8080/recommend -H 'content-type: application/json' -d '{"user": "u1", "k": 5}'""",
    )
    flags.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    flags.add_argument("--port", default="8080", help="(default: %(default)s)")
    flags.add_argument("--poll-seconds", default="5", help="how often to look for a release (default: %(default)s)")
    return flags


def run(step: Step) -> None:
    flags = step.flags
    port = whole_number("--port", flags.port or "8080", low=0, high=65_535)
    seconds = number("--poll-seconds", flags.poll_seconds or "5", 0.01, 86_400)
    models = open_store(step.settings).models

    calculate_in_one_thread(os.environ)
    from steps.serving.api import application
    from steps.serving.live import Live
    from steps.serving.server import bind, in_foreground

    with bind(flags.host or "127.0.0.1", port) as bound, Live(models, seconds) as live:
        log.info("serving on http://%s:%d, described at /docs", *bound.getsockname()[:2])
        in_foreground(application(live), bound)


if __name__ == "__main__":
    sys.exit(main(parser(), run, service=True))
