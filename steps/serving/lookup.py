"""What a person looks up to understand a list: items by their names, one item, one user."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Sequence
from typing import TypeVar

import numpy as np
from msgspec import structs

from steps.models.ids import UNKNOWN
from steps.serving import messages
from steps.serving.asgi import Parameter, RefusedError, Request, Route
from steps.serving.messages import Item, Reason, Scored
from steps.serving.models import Bought, Model, Serving

K, SOME = 10, 20
MOST = 1000
MOST_BOUGHT = 200
LONGEST_SEARCH = 256
"""Letters."""


def how_many(otherwise: int) -> Parameter:
    """The number of items in an answer."""
    return Parameter(
        f"how many, 1 to {MOST}; {otherwise} where nothing is said", {"type": "integer", "minimum": 1, "maximum": MOST}
    )


COUNT = {"k": how_many(K)}
NAMES = {"names": Parameter("`true` to say what people call the items", {"type": "boolean"})}
SEARCH = {"search": Parameter("a part of a name or an id", {"type": "string", "maxLength": LONGEST_SEARCH})}

Named = TypeVar("Named", Scored, Reason, Item)


class Lookup:
    """Answers from the catalogue of the release that is live, or of the one that answers a user."""

    def __init__(self, serving: Callable[[], Serving], recent: Bought) -> None:
        self.serving = serving
        self.recent = recent

    def routes(self) -> list[Route]:
        """What can be asked."""
        return [
            Route("GET", "/items", self.items, messages.Items, query={**SEARCH, "k": how_many(SOME)}),
            Route("GET", "/items/", self.item, messages.ItemDetails, rest=["item"]),
            Route("GET", "/users/", self.user, messages.UserDetails, rest=["user"]),
        ]

    async def items(self, request: Request) -> messages.Items:
        """Items with a text in their name or id, the most popular first; without a text the most popular ones."""
        model, k = self.serving().live, request.count("k", SOME, MOST)
        text = request.query.get("search", "")
        if len(text) > LONGEST_SEARCH:
            raise RefusedError(422, f"search has {len(text)} letters: {LONGEST_SEARCH} are allowed")
        if not text.strip():
            found = await asyncio.to_thread(popular, model, k)
        else:
            found = await asyncio.to_thread(model.shelf.required().search, text, k)
        return messages.Items(model.version, named(model, [Item(model.scorer.items[code]) for code in found]))

    async def item(self, request: Request) -> messages.ItemDetails:
        """What people call an item, and all that the snapshot says of it."""
        model = self.serving().live
        item = "/".join(request.after("/items/"))
        code, catalogue = code_of(model, item), model.shelf.required()
        return messages.ItemDetails(model.version, item, catalogue.name(code), catalogue.about(code))

    async def user(self, request: Request) -> messages.UserDetails:
        """What a user has bought, and who answers the user; nothing of one who is not known."""
        user = "/".join(request.after("/users/"))
        if not user:
            raise RefusedError(422, "a user is required: /users/USER")
        serving = self.serving()
        model = serving.of(user)
        code = model.scorer.users.code(user)
        bought = [Item(model.scorer.items[item]) for item in model.history(code)[:MOST_BOUGHT].tolist()]
        return messages.UserDetails(
            version=model.version,
            user=user,
            known=bool(model.scorer.known(np.array([code], np.int32))[0]),
            bought=named(model, bought),
            recent=named(model, [Item(item) for item in self.recent.of(user)]),
            canary=serving.canary is not None and serving.in_share(user),
        )


def code_of(model: Model, item: str) -> int:
    """The item's code, or 404 in a sentence."""
    code = model.scorer.items.code(item)
    if code == UNKNOWN:
        raise RefusedError(404, f"version {model.version} knows no item {item!r}")
    return code


def popular(model: Model, k: int) -> list[int]:
    """The items that are bought most."""
    catalogue = model.shelf.catalogue
    if catalogue is not None:
        return catalogue.search("", k)
    return [int(code) for code in np.argsort(-np.asarray(model.scorer.popularity), kind="stable")[:k]]


def named(model: Model, found: Sequence[Named]) -> list[Named]:
    """The same with what people call each item, where that is known."""
    catalogue = model.shelf.catalogue
    if catalogue is None:
        return list(found)
    codes = (catalogue.items.code(one.item) for one in found)
    return [
        one if code == UNKNOWN else structs.replace(one, name=catalogue.name(code))
        for one, code in zip(found, codes, strict=True)
    ]
