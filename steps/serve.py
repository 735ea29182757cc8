"""The model server: answers recommendation requests from the live release and follows the next ones."""

from __future__ import annotations

import logging
import os
import sys
import tempfile
from collections.abc import Callable
from contextlib import ExitStack
from datetime import timedelta
from pathlib import Path
from typing import Any

from steps.clients.object_store import open_store, remove_folder
from steps.runtime.flags import number, whole_number
from steps.runtime.processor import calculate_in_one_thread
from steps.runtime.program import Parser, Step, main

log = logging.getLogger(__name__)

REMEMBER = timedelta(days=2)
"""So far back a server looks when it starts: what was bought before is in the models by now."""

EXAMPLES = """examples:
  python -m steps.serve --port 8080
  python -m steps.serve --port 8080 --workers 4
  API_TOKENS=read+feedback=$SHOP_TOKEN,read+admin=$MY_TOKEN python -m steps.serve
then:
  curl -s localhost:8080/recommend -H 'content-type: application/json' -d '{"user": "u1", "k": 5}'
or look at http://localhost:8080/ with a browser

environment:
  API_TOKEN       a token that may do everything
  API_TOKENS      SCOPE[+SCOPE]=TOKEN,… with the scopes read, feedback and admin
                  (without both, everybody who reaches the port may read and send feedback, and nobody more)
"""

FIRST_SECONDS = 5.0
"""That a model has to be loaded before the port is answered. Where it takes longer, /readyz says so."""
FIRST_SECONDS_OF_SEVERAL = 60.0
"""The same where others answer meanwhile, who would say that all are ready."""


def parser() -> Parser:
    flags = Parser(prog="serve", description=__doc__ or "", epilog=EXAMPLES)
    flags.add_argument("--host", default="127.0.0.1", help="where to listen (default: %(default)s)")
    flags.add_argument("--port", default="8080", help="(default: %(default)s)")
    flags.add_argument("--poll-seconds", default="5", help="how often to look for a release (default: %(default)s)")
    flags.add_argument("--workers", default="1", help="processes that share the port and the model (default: 1)")
    flags.add_argument(
        "--rate", default="0", metavar="NUMBER", help="requests a second that a client may send (default: any number)"
    )
    return flags


def run(step: Step) -> None:
    flags = step.flags
    port = whole_number("--port", flags.port or "8080", low=0, high=65_535)
    seconds = number("--poll-seconds", flags.poll_seconds or "5", 0.01, 86_400)
    workers = whole_number("--workers", flags.workers or "1", low=1, high=256)
    rate = number("--rate", flags.rate or "0", 0, 1e6)
    store = open_store(step.settings)

    calculate_in_one_thread(os.environ)
    from steps.serving import workers as processes
    from steps.serving.access import Tokens
    from steps.serving.api import LABELS, Api, application
    from steps.serving.inbox import Inbox
    from steps.serving.live import Live
    from steps.serving.minutes import Minutes
    from steps.serving.publishing import Publisher
    from steps.serving.recent import Following, Recent
    from steps.serving.server import bind, in_foreground
    from steps.serving.standing import Standing
    from steps.serving.statistics import Statistics

    tokens = Tokens.parse(step.settings.api_token, step.settings.api_tokens)
    publisher = Publisher.of(store.models, step.settings)
    statistics = Statistics(LABELS, workers)

    with (
        bind(flags.host or "127.0.0.1", port) as bound,
        # Made by the parent, so that nothing stays behind of a worker that was killed.
        tempfile.TemporaryDirectory(prefix="serve-") as cache,
    ):
        log.info("serving on http://%s:%d, with a page at / and the API described at /docs", *bound.getsockname()[:2])

        def work(place: int, alive: int | None = None) -> None:
            statistics.mine = place
            recent = Recent()
            told: dict[str, Callable[[], Any]] = {}
            with ExitStack() as running:
                rules = Standing(store.models)
                own = own_folder(Path(cache), place)
                live = running.enter_context(Live(store.models, seconds, own, store.data, [rules.look]))
                running.enter_context(Following(store.data, recent, REMEMBER))
                running.enter_context(Minutes(store.data, statistics))
                live.wait(FIRST_SECONDS if workers == 1 else FIRST_SECONDS_OF_SEVERAL)
                api = Api(live, statistics, recent, Inbox(store.data, recent), told, rules, publisher)
                if step.settings.kafka:
                    from steps.serving.announcements import Follower
                    from steps.serving.streams import Streams

                    running.enter_context(Follower(step.settings.kafka, live.look))
                    told["streams"] = running.enter_context(Streams(step.settings.kafka, api.lists)).state
                in_foreground(application(api, tokens=tokens, rate=rate / workers), bound, alive)

        if workers == 1:
            work(0)
        else:
            processes.run(workers, work)


def own_folder(cache: Path, place: int) -> Path:
    """Where a worker keeps what it fetches, without what one before it in this place has left."""
    folder = cache / str(place)
    remove_folder(folder)
    folder.mkdir()
    return folder


if __name__ == "__main__":
    sys.exit(main(parser(), run, service=True))
