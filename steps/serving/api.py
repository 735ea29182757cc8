"""The HTTP interface of the model server: what the shop's site talks to."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from functools import cached_property, partial
from typing import Any, TypeVar

import msgspec
from msgspec import structs

from steps.artifacts.feedback import Event
from steps.artifacts.shop_rules import ShopRules
from steps.runtime.errors import BadDataError, StepError, TryAgainError
from steps.serving import history, messages, metrics, openapi, page_files, reports, traffic
from steps.serving.access import ADMIN, ANYBODY, FEEDBACK, Gate, Rate, Tokens
from steps.serving.answers import Answers
from steps.serving.asgi import Application, RefusedError, Request, Route, Text
from steps.serving.batching import Together
from steps.serving.inbox import Inbox
from steps.serving.limits import Limits, limits_of
from steps.serving.live import Live
from steps.serving.lookup import COUNT, MOST, NAMES, K, Lookup, code_of, named
from steps.serving.messages import Because, Recommendation, Similar
from steps.serving.models import Bought, Model, Nothing, Serving, Wanted
from steps.serving.publishing import Done, Publisher
from steps.serving.reports import Looks
from steps.serving.runs import Runs
from steps.serving.standing import Standing
from steps.serving.statistics import Statistics

log = logging.getLogger(__name__)

Found = TypeVar("Found")

DEADLINE = 1.0
"""Seconds after which nobody waits for recommendations any more."""
TOGETHER = 64
"""Lists that are made at once."""
MOST_WAITING = 200
"""Of what takes long."""


class Api:
    """What each path does, over the releases that are live."""

    def __init__(
        self,
        live: Live,
        statistics: Statistics | None = None,
        recent: Bought | None = None,
        inbox: Inbox | None = None,
        more_state: Mapping[str, Callable[[], Any]] | None = None,
        rules: Standing | None = None,
        publisher: Publisher | None = None,
    ) -> None:
        self.live = live
        self.statistics = statistics or Statistics(LABELS)
        self.answers = Answers(self.statistics, recent or Nothing())
        self.lookup = Lookup(lambda: self.serving, recent or Nothing())
        self.many = ThreadPoolExecutor(1, "many")
        """For what takes long: one at a time, so that it never takes all of a processor from what is quick."""
        self.waiting = 0
        """How much of that is asked for."""
        self.store = ThreadPoolExecutor(4, "store")
        """For what waits for the store, so that nothing else has to wait behind it."""
        self.inbox = inbox
        self.publisher = publisher
        self.publishing = asyncio.Lock()
        self.more_state = {} if more_state is None else more_state
        """What else `/state` tells, by name."""
        self.rules = rules
        """Those of the shop, where they are followed."""
        self.tokens = Tokens()
        """Who may ask, for who wants to know."""
        self.together: Together[Wanted, Recommendation] = Together(self._answer, DEADLINE, TOGETHER)

    @cached_property
    def looks(self) -> Looks:
        return Looks(self.live.models)

    @cached_property
    def ran(self) -> Runs:
        return Runs(self.live.models, self.looks)

    @cached_property
    def description(self) -> dict[str, Any]:
        """The routes, described; made when somebody first asks, for it takes longer than an answer."""
        return openapi.describe(self.routes())

    def routes(self) -> list[Route]:
        """All that can be asked."""
        return [
            Route(
                "POST", "/recommend", self.recommend, (messages.Recommendation, messages.Recommendations),
                body=messages.Recommend,
            ),
            Route("POST", "/predict", self.predict, messages.Predictions, body=messages.Predict),
            Route("GET", "/similar/", self.similar, messages.Similar, rest=["item"], query={**COUNT, **NAMES}),
            Route(
                "GET", "/because/", self.because, messages.Because, rest=["user", "item"], query={**COUNT, **NAMES}
            ),
            *self.lookup.routes(),
            Route(
                "POST", "/send-feedback", self.send_feedback, messages.Taken, body=messages.Feedback, access=FEEDBACK
            ),
            Route("GET", "/state", self.state, dict[str, Any]),
            Route("GET", "/releases", self.releases, messages.Versions),
            Route("GET", "/traffic", self.traffic, messages.Traffic),
            Route("GET", "/monitoring", self.monitoring, messages.Looks),
            Route("GET", "/monitoring/", self.look, "text/html", rest=["look"]),
            Route("GET", "/reports/", self.report, "text/html", rest=["run"]),
            Route("GET", "/runs", self.runs, messages.Runs),
            Route("POST", "/promote", self.promote, messages.Version, body=messages.AboutCanary, access=ADMIN),
            Route("POST", "/abort", self.abort, messages.Version, body=messages.AboutCanary, access=ADMIN),
            Route("POST", "/rollback", self.roll_back, messages.Version, body=messages.Back, access=ADMIN),
            Route("GET", "/rules", self.tell_rules, messages.Rules),
            Route("PUT", "/rules", self.take_rules, messages.Rules, body=messages.Rules, access=ADMIN),
            Route("GET", "/metrics", self.metrics, metrics.MEDIA_TYPE),
            Route("GET", "/healthz", self.healthz, dict[str, str], access=ANYBODY),
            Route("GET", "/readyz", self.readyz, dict[str, Any], access=ANYBODY),
            Route("GET", "/openapi.json", self.openapi, dict[str, Any], access=ANYBODY),
            Route("GET", "/docs", self.docs, "text/html", access=ANYBODY),
            Route("GET", "/docs.css", self.style, "text/css", access=ANYBODY),
            Route("GET", "/access", self.access, messages.Access),
            Route("GET", "/", self.page, "text/html", access=ANYBODY),
            Route("GET", "/page/", self.page_file, "text/javascript", access=ANYBODY, rest=["file"]),
        ]  # fmt: skip

    @property
    def serving(self) -> Serving:
        serving = self.live.serving
        if serving is None:
            raise RefusedError(503, f"no model answers yet: {self.live.problem}", {"Retry-After": "5"})
        return serving

    @property
    def model(self) -> Model:
        return self.serving.live

    def _answer(self, wanted: Sequence[Wanted]) -> Sequence[Recommendation | RefusedError]:
        return self.answers.of(self.serving, wanted)

    def lists(self, asked: Sequence[messages.Recommend]) -> Sequence[Recommendation | RefusedError]:
        """One list for each that asks for one, for what comes in another way than over HTTP."""
        return self._answer([one for each in asked for one in self.wanted(each)])

    def wanted(self, asked: messages.Recommend) -> list[Wanted]:
        """The lists that a request is for."""
        exclude, limits = tuple(asked.exclude), limits_of(asked, self.rules.now if self.rules is not None else None)
        if asked.users is not None:
            return [Wanted(asked.k, user, None, exclude, asked.names, limits) for user in asked.users]
        items = None if asked.items is None else tuple(asked.items)
        return [Wanted(asked.k, asked.user, items, exclude, asked.names, limits)]

    async def recommend(self, request: Request) -> Any:
        """The k best items that a user has not bought yet; popular ones for an unknown user.

        With `items` instead of a user: what goes with these, for somebody new. `only`, `ranges` and `most_of_each`
        speak of the items' columns, which `/items/ITEM` shows.
        """
        asked: messages.Recommend = request.body
        if asked.users is None and not asked.limited and not self.slow_rules:
            return await self.together.ask(*self.wanted(asked))
        # Not in one turn with all others, who would wait for these.
        lists = [one for part in parts(self.wanted(asked)) for one in await self.beside(part)]
        return lists[0] if asked.users is None else messages.Recommendations(lists)

    @property
    def slow_rules(self) -> bool:
        """Whether the shop's rules do more than to hide items: then each list is made alone, and takes long."""
        rules = self.rules.now if self.rules is not None else None
        return rules is not None and bool(rules.boosts or rules.most_of_each)

    async def beside(self, part: Sequence[Wanted]) -> list[Recommendation]:
        """Lists that take longer, in a thread that makes only these."""
        found = await self.in_line(self._answer, part)
        for one in found:
            if isinstance(one, RefusedError):
                raise one
        return [one for one in found if isinstance(one, Recommendation)]

    async def in_line(self, work: Callable[..., Found], *arguments: Any) -> Found:
        """What takes long, one after the other; who would have to wait for very many is refused."""
        if self.waiting >= MOST_WAITING:
            raise RefusedError(503, "too much that takes long is being asked at the moment", {"Retry-After": "1"})
        self.waiting += 1
        try:
            return await asyncio.get_running_loop().run_in_executor(self.many, work, *arguments)
        finally:
            self.waiting -= 1

    async def predict(self, request: Request) -> messages.Predictions:
        """One score for each pair of a user and a product."""
        asked: messages.Predict = request.body
        model = self.model
        scores = await self.in_line(model.predict, *asked.pairs)
        if asked.data:
            return messages.Predictions(model.version, model.name, data=messages.Scores(scores))
        return messages.Predictions(model.version, model.name, scores)

    async def similar(self, request: Request) -> Similar:
        """The k items most alike to one: what to show on its page."""
        model, k, names = self.model, request.count("k", K, MOST), request.flag("names")
        item = "/".join(request.after("/similar/"))
        limits = None if self.rules is None or self.rules.now is None else Limits(rules=self.rules.now)
        found = await asyncio.to_thread(model.similar, code_of(model, item), k, limits, names)
        if found is None:
            raise RefusedError(501, f"{model.name} cannot tell which items are alike")
        return Similar(model.version, model.name, item, found)

    async def because(self, request: Request) -> Because:
        """Which purchases of a user speak for an item, with the share of each in all that speaks for it.

        The path is `/because/USER/ITEM`; a slash in the user's id is written `%2F`.
        """
        user, *rest = request.after("/because/")
        item = "/".join(rest)
        if not user or not item:
            raise RefusedError(
                422, "a user and an item are required: /because/USER/ITEM, with %2F for a slash in the user's id"
            )
        model, k, names = self.serving.of(user), request.count("k", K, MOST), request.flag("names")
        code, asked = code_of(model, item), model.scorer.users.codes([user])
        if not model.scorer.known(asked)[0]:
            raise RefusedError(404, f"version {model.version} knows no purchases of user {user!r}")
        found = await asyncio.to_thread(model.because, int(asked[0]), code, k)
        if found is None:
            raise RefusedError(501, f"{model.name} cannot tell why it recommends an item")
        [score] = model.predict([user], [item])
        return Because(model.version, model.name, user, item, score, named(model, found) if names else found)

    async def send_feedback(self, request: Request) -> messages.Taken:
        """What users were shown and did; answered once it would survive a crash.

        What was bought is not recommended to its buyer any more, and counts for what is, from then on.
        """
        if self.inbox is None:
            raise RefusedError(501, "this server takes no feedback")
        told: messages.Feedback = request.body
        events = []
        for place, happened in enumerate(told.events):
            given = {name: value for name, value in structs.asdict(happened).items() if value is not None}
            try:
                events.append(Event.from_json(given))
            except BadDataError as error:
                raise RefusedError(422, f"event {place + 1}: {error}") from error
        taken = await self.inbox.take(events)
        return messages.Taken(taken, len(events) - taken)

    async def healthz(self, request: Request) -> dict[str, str]:
        """Alive, whether a model is loaded or not."""
        return {"status": "alive"}

    async def readyz(self, request: Request) -> dict[str, Any]:
        """Ready once a model answers."""
        return {"status": "ready", "version": self.model.version}

    async def state(self, request: Request) -> dict[str, Any]:
        """Which versions answer, and how much was asked, how quickly."""
        live, serving = self.live, self.live.serving
        model = serving.live if serving else None
        tried = live.canary
        return {
            "version": model.version if model else None,
            "model": model.name if model else None,
            "released": live.release.created if live.release else None,
            "users": len(model.scorer.users) if model else 0,
            "items": len(model.scorer.items) if model else 0,
            "canary": asdict(tried) if tried else None,
            "problem": live.problem,
            "items_without_names": {str(one.version): one.shelf.problem for one in without_names(serving)},
            "rules": self.rules.state(serving) if self.rules is not None else None,
            "workers": self.statistics.workers,
            "seconds_up": round(time.time() - self.statistics.started, 1),
            "seconds_since_look": round(time.time() - live.looked, 1) if live.looked else None,
            "requests": {label: line.as_json() for label, line in self.statistics.lines().items()},
            "versions": {str(version): counts for version, counts in self.statistics.versions().items()},
            **{name: tell() for name, tell in self.more_state.items()},
        }

    async def releases(self, request: Request) -> messages.Versions:
        """What was released and what was tried, newest first, with the metrics of each and why."""
        return await self.from_store(lambda: history.versions(self.live.models))

    async def traffic(self, request: Request) -> messages.Traffic:
        """What was asked of this server within the last hour, ten seconds at a time: how much, how quickly, of whom."""
        moments = await asyncio.to_thread(self.statistics.traffic.moments)
        return messages.Traffic(traffic.SECONDS, time.time(), moments)

    async def monitoring(self, request: Request) -> messages.Looks:
        """How the releases did with real users, look by look of `python -m steps.monitor`, newest first."""
        return messages.Looks(await self.from_store(self.looks.newest))

    async def look(self, request: Request) -> Text:
        """The page of a look, for people."""
        name = "/".join(request.after("/monitoring/"))
        return reports.shown(await self.from_store(lambda: self.looks.page(name)), f"there is no look {name[:80]!r}")

    async def report(self, request: Request) -> Text:
        """The page that says how the models of a run did against each other, for people."""
        run = "/".join(request.after("/reports/"))
        found = await self.from_store(lambda: reports.of_run(self.live.models, run))
        return reports.shown(found, f"there is no report of a run {run[:80]!r}")

    async def runs(self, request: Request) -> messages.Runs:
        """The last runs of the workflows, newest first, with what each step has left, and what became of each."""
        return messages.Runs(await self.from_store(self.ran.newest))

    async def promote(self, request: Request) -> messages.Version:
        """Makes the canary live for everybody, once its slot has answered well."""
        asked: messages.AboutCanary = request.body
        return await self.done(lambda one: one.promote(text(asked.version), asked.reason))

    async def abort(self, request: Request) -> messages.Version:
        """Takes the canary back: all users get what is live."""
        asked: messages.AboutCanary = request.body
        return await self.done(lambda one: one.abort(text(asked.version), asked.reason))

    async def roll_back(self, request: Request) -> messages.Version:
        """Makes an earlier version's model live again, under a new version, once a slot has answered well with it."""
        asked: messages.Back = request.body
        return await self.done(
            lambda one: one.roll_back("", text(asked.version) or "previous", asked.reason, asked.live)
        )

    async def done(self, act: Callable[[Publisher], Done]) -> messages.Version:
        """What `python -m steps.model_publish` does, by the same functions; what has become of a version."""
        publisher = self.publisher
        if publisher is None:
            raise RefusedError(501, "this server only answers: python -m steps.model_publish changes what is live")
        if self.publishing.locked():
            raise RefusedError(409, "this server is changing what is live at this moment: look at it first")
        async with self.publishing:
            try:
                made = (await asyncio.get_running_loop().run_in_executor(self.store, act, publisher)).made
            except TryAgainError as error:
                raise RefusedError(503, str(error), {"Retry-After": "5"}) from error
            except StepError as error:
                raise RefusedError(409, str(error)) from error
        self.live.look()
        try:
            return await self.from_store(lambda: history.version(self.live.models, made.version))
        except RefusedError:  # it is done, and who hears otherwise would do it again
            return history.brief(made)

    async def from_store(self, read: Callable[[], Found]) -> Found:
        """What the store says; it may take long, and may be away."""
        try:
            return await asyncio.get_running_loop().run_in_executor(self.store, read)
        except TryAgainError as error:
            log.warning("the store was asked in vain: %s", error)
            raise RefusedError(503, "the store does not answer at the moment", {"Retry-After": "5"}) from error
        except StepError as error:
            log.warning("what the store holds cannot be told: %s", error)
            raise RefusedError(500, "what the store holds cannot be read; the server's log says why") from error

    async def tell_rules(self, request: Request) -> dict[str, Any]:
        """What the shop asks of every list; nothing, where nobody has made rules."""
        return ((self.rules.now if self.rules else None) or ShopRules()).as_json()

    async def take_rules(self, request: Request) -> dict[str, Any]:
        """Puts other rules in the place of those that hold: here at once, on other servers within seconds."""
        rules = self.rules
        if rules is None:
            raise RefusedError(501, "this server follows no rules")
        try:
            new = ShopRules.from_json(msgspec.to_builtins(request.body))
        except BadDataError as error:
            raise RefusedError(422, str(error)) from error
        await self.from_store(partial(rules.write, new))
        return new.as_json()

    async def metrics(self, request: Request) -> Text:
        """The same for Prometheus."""
        return metrics.text(self.statistics, self.live)

    async def openapi(self, request: Request) -> dict[str, Any]:
        """This interface, described for programs."""
        return await self._described()

    async def docs(self, request: Request) -> Text:
        """This interface, described for people."""
        return openapi.page(await self._described())

    async def _described(self) -> dict[str, Any]:
        # The first time it takes a third of a second, in which others want their lists.
        return await asyncio.to_thread(lambda: self.description)

    async def style(self, request: Request) -> Text:
        """What the description looks like."""
        return openapi.style()

    async def access(self, request: Request) -> messages.Access:
        """What the sent token may do, or everybody where no tokens are in use."""
        return messages.Access(bool(self.tokens.scopes), self.tokens.may(request.scope))

    async def page(self, request: Request) -> Text:
        """The page for people."""
        return page_files.find(page_files.FIRST)

    async def page_file(self, request: Request) -> Text:
        """What the page is made of: its style and its scripts."""
        return page_files.find("/".join(request.after("/page/")))


def application(api: Api, *, tokens: Tokens | None = None, rate: float = 0.0) -> Application:
    """The routes, and who may take them."""
    api.tokens = tokens or Tokens()
    return Application(api.routes(), api.statistics, Gate(api.tokens, Rate(rate)))


def text(version: int | None) -> str:
    """A version as a flag names it."""
    return str(version) if version else ""


def parts(lists: Sequence[Wanted]) -> Iterator[Sequence[Wanted]]:
    """So many as are made at once."""
    for start in range(0, len(lists), TOGETHER):
        yield lists[start : start + TOGETHER]


def without_names(serving: Serving | None) -> list[Model]:
    """The releases whose items nobody knows but by their ids."""
    return [one for one in serving.loaded if one.shelf.catalogue is None] if serving else []


LABELS = (
    "/recommend", "/predict", "/similar", "/because", "/items", "/users", "/send-feedback", "/state", "/releases",
    "/traffic", "/monitoring", "/reports", "/runs", "/promote", "/abort", "/rollback", "/rules",
    "/metrics", "/healthz", "/readyz", "/openapi.json", "/docs", "/docs.css",
    "/access", "/", "/page",
)  # fmt: skip
"""What requests are counted by; known before a process is made that could count."""
