"""What is asked over HTTP and what is answered: the one place where bodies are declared, checked and described."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

MOST_AT_ONCE = 1000
MOST_PAIRS = 100_000
MOST_ANSWERS = 50_000
MOST_COLUMNS = 20
MOST_KINDS = 3
"""Columns of whose values a list holds so many at most: items are then taken one by one."""

Id = Annotated[str, Meta(min_length=1, max_length=256)]
Ids = Annotated[list[Id], Meta(min_length=1, max_length=MOST_AT_ONCE)]
Count = Annotated[int, Meta(ge=1, le=1000)]


Column = Annotated[str, Meta(min_length=1, max_length=256)]
Value = Annotated[str, Meta(max_length=256)] | float | bool
Columns = Annotated[
    dict[Column, Annotated[list[Value], Meta(min_length=1, max_length=MOST_AT_ONCE)]], Meta(max_length=MOST_COLUMNS)
]
MostOfEach = Annotated[dict[Column, Count], Meta(max_length=MOST_KINDS)]


class Asked(Struct, frozen=True, forbid_unknown_fields=True):
    """A body that somebody sent; a field that is not known is a mistake."""


class Range(Asked, frozen=True):
    """A number of a column, from the one to the other; only one of them is needed."""

    least: float | None = None
    most: float | None = None

    def __post_init__(self) -> None:
        if self.least is None and self.most is None:
            raise ValueError("a range needs least, most, or both")
        if self.least is not None and self.most is not None and self.least > self.most:
            raise ValueError(f"a range cannot reach from {self.least:g} to {self.most:g}")


class Recommend(Asked, frozen=True):
    """One user, several at once, or nobody in particular: then what was just bought, as a list of items."""

    user: Id | None = None
    users: Ids | None = None
    items: Ids | None = None
    k: Count = 10
    exclude: Annotated[list[Id], Meta(max_length=10_000)] = []
    """Items that are not to be among the answers, such as what is in the basket or sold out."""
    names: bool = False
    """Whether to say what people call the items."""
    only: Columns | None = None
    """Of each of these columns of the items, one of these values: `{"category": ["lamp", "chair"]}`."""
    ranges: Annotated[dict[Column, Range], Meta(min_length=1, max_length=MOST_COLUMNS)] | None = None
    """Of each of these columns, a number from the one to the other: `{"price": {"least": 5, "most": 20}}`."""
    most_of_each: MostOfEach | None = None
    """Of each value of a column so many items at most, so that a list is not all of one kind: `{"brand": 2}`."""

    @property
    def limited(self) -> bool:
        """Whether not every item may be in the list."""
        return self.only is not None or self.ranges is not None or self.most_of_each is not None

    def __post_init__(self) -> None:
        if (self.user is not None) + (self.users is not None) + (self.items is not None) != 1:
            raise ValueError("give one of user, users and items")
        if len(self.users or ()) * self.k > MOST_ANSWERS:
            raise ValueError(f"{len(self.users or ())} users with k {self.k}: users times k may be {MOST_ANSWERS}")


class Pairs(Asked, frozen=True):
    """Pairs of user and product."""

    ndarray: Annotated[list[tuple[Id, Id]], Meta(min_length=1, max_length=MOST_PAIRS)]


class Predict(Asked, frozen=True):
    """Users and products of the same length, or `{"data": {"ndarray": [[user, product], …]}}`."""

    users: Annotated[list[Id], Meta(min_length=1, max_length=MOST_PAIRS)] | None = None
    products: Annotated[list[Id], Meta(max_length=MOST_PAIRS)] | None = None
    data: Pairs | None = None

    def __post_init__(self) -> None:
        if (self.data is None) == (self.users is None) or (self.data is not None and self.products is not None):
            raise ValueError("give either users and products, or data.ndarray")
        users, products = len(self.users or ()), len(self.products or ())
        if users != products:
            raise ValueError(f"{users} users and {products} products: one product a user is required")

    @property
    def pairs(self) -> tuple[list[str], list[str]]:
        """The users, and a product for each."""
        if self.data:
            return [user for user, _ in self.data.ndarray], [product for _, product in self.data.ndarray]
        return self.users or [], self.products or []


class Happened(Asked, frozen=True):
    """One thing that a user saw or did."""

    id: Annotated[str, Meta(min_length=1, max_length=128)]
    """The shop's own: what comes twice with the same id has happened once."""
    kind: Literal["shown", "clicked", "bought", "rated"]
    user: Id
    items: Ids
    """The whole list that was shown, in its order; of all other kinds the one item."""
    version: Annotated[int, Meta(ge=0)] = 0
    """Of the release that made the list, as its answer named it."""
    value: float | None = None
    """What somebody rated an item."""
    time: str | None = None
    """RFC 3339; when it is received, where nothing is said."""


class Feedback(Asked, frozen=True):
    """What users did, in any order."""

    events: Annotated[list[Happened], Meta(min_length=1, max_length=MOST_AT_ONCE)]


class Boost(Asked, frozen=True, omit_defaults=True):
    """Multiplies scores: of one `item`, or of all items with a `value` in a `column`."""

    times: float
    item: Id | None = None
    column: Column | None = None
    value: Value | None = None


class Rules(Asked, frozen=True):
    """What the shop asks of every list, until it says something else."""

    unavailable: list[Id] = []
    """Items that are in no list."""
    only: Columns = {}
    """Of each of these columns, items with one of these values alone."""
    exclude: Columns = {}
    """Of each of these columns, no items with one of these values."""
    boosts: list[Boost] = []
    """What comes sooner or, with `times` below 1, later. What two boosts are about is multiplied by both."""
    most_of_each: MostOfEach = {}
    """Of each value of a column so many items at most."""


class AboutCanary(Asked, frozen=True):
    """Which version is meant, and why."""

    version: Annotated[int, Meta(ge=1)] | None = None
    """The canary that is running, where nothing is said. What is said has to be that one: it may have changed."""
    reason: Annotated[str, Meta(max_length=500)] = ""
    """Is kept with what is done."""


class Back(Asked, frozen=True):
    """To which version, and why."""

    version: Annotated[int, Meta(ge=1)] | None = None
    """The one before the live one, where nothing is said."""
    live: Annotated[int, Meta(ge=1)] | None = None
    """The version that is to be replaced: where another one is live by then, nothing is done. Needed where no `version`
    is named: who asks twice would come back to where it began."""
    reason: Annotated[str, Meta(max_length=500)] = ""
    """The release keeps it."""

    def __post_init__(self) -> None:
        if self.version is None and self.live is None:
            raise ValueError("give the version to go back to, or live, the version that is to be replaced")


class Answer(Struct, frozen=True, omit_defaults=True):
    """A body that is sent back; what is not said is left out."""


class Scored(Answer, frozen=True):
    """An item and how well it fits."""

    item: str
    score: float
    name: str | None = None
    """What people call it, where that is asked for; the id of an item without a name."""


class Recommendation(Answer, frozen=True):
    """The best items for one user, or for what was just bought."""

    version: int
    """The release that answered; every item is of its list."""
    model: str
    known: bool
    """Whether there was anything to go by; if not, the items are what is popular."""
    items: list[Scored]
    user: str | None = None
    degraded: bool = False
    """Whether the release that should have answered could not."""


class Recommendations(Answer, frozen=True):
    """One for each user, in the order in which they were asked for."""

    recommendations: list[Recommendation]


class Predictions(Answer, frozen=True):
    """One score for each pair, in the form in which they were asked for."""

    version: int
    model: str
    predictions: list[float] | None = None
    data: Scores | None = None


class Scores(Answer, frozen=True):
    """One score for each pair."""

    ndarray: list[float]


class Similar(Answer, frozen=True):
    """The items most alike to one."""

    version: int
    model: str
    item: str
    items: list[Scored]


class Reason(Answer, frozen=True):
    """A purchase, and its share in all that speaks for an item."""

    item: str
    share: float
    name: str | None = None
    """What people call it, where that is asked for."""


class Because(Answer, frozen=True):
    """Why an item is recommended to a user."""

    version: int
    model: str
    user: str
    item: str
    score: float
    because: list[Reason]


class Item(Answer, frozen=True):
    """An item and what people call it, where that is known."""

    item: str
    name: str | None = None


class Items(Answer, frozen=True):
    """Items that were looked for, the most popular first."""

    version: int
    items: list[Item]


class ItemDetails(Answer, frozen=True):
    """All that is known of an item."""

    version: int
    item: str
    name: str
    columns: dict[str, str | int | float | None]


class UserDetails(Answer, frozen=True):
    """What is known of a user."""

    version: int
    """The release that answers this user."""
    user: str
    known: bool
    """Whether that release has learned anything of the user."""
    bought: list[Item]
    """What the user had when the release was trained, at most 200 items, by their ids."""
    recent: list[Item]
    """What feedback has told since, the newest last."""
    canary: bool
    """Whether the user is of those on whom a canary is tried."""


class Version(Answer, frozen=True):
    """A release, or what is or was tried to become one."""

    version: int
    model: str
    what: str
    """live, canary or shadow; released, where a later one is live; aborted or superseded, where it was only tried."""
    reason: str
    created: str
    metrics: dict[str, float]
    snapshot: str
    run: str
    percent: float = 0.0
    """Of the users, for what is or was tried."""
    report: str = ""
    """The path of the page that says how it did against others, where there is one."""


class Versions(Answer, frozen=True):
    """The newest first."""

    versions: list[Version]


class Looks(Answer, frozen=True):
    """What monitor has found, newest first: each look as it was recorded, with its `name`, and its `page`."""

    looks: list[dict[str, Any]]


class Node(Answer, frozen=True):
    """One step of a run."""

    name: str
    state: str
    """Succeeded, Failed, Error, Running, Skipped, or Unknown."""
    seconds: float | None = None
    """That it took, where that is recorded."""
    outputs: dict[str, Any] | None = None


class Run(Answer, frozen=True):
    """One run of a workflow, or steps that were run by hand under one name."""

    run: str
    began: str
    state: str
    """Succeeded, Failed, Error, Running, or Unknown where it has left no report and writes nothing any more."""
    tree: list[Node]
    """Its steps in their order, as far as they have left something."""
    workflow: str = ""
    ended: str = ""
    note: str = ""
    """What neither the state nor the tree says."""
    report: str = ""
    """The path of the page that says how its models did, where there is one."""


class Runs(Answer, frozen=True):
    """The newest first."""

    runs: list[Run]


class Moment(Answer, frozen=True):
    """Ten seconds of what the shop's site has asked."""

    at: int
    """When they began, in seconds since 1970."""
    requests: int
    """To /recommend, /predict, /similar and /because."""
    errors: int
    """Those that were answered by 5xx."""
    p50: float
    """Milliseconds within which half of the requests were answered."""
    p99: float
    """Milliseconds within which 99 of a hundred were."""
    versions: dict[str, int]
    """Lists by the version that has made them, also those that came another way than over HTTP."""
    failed: dict[str, int]
    """Lists by the version that should have made them and could not."""


class Traffic(Answer, frozen=True):
    """The last hour of this server, oldest first; times within which nothing was asked are left out."""

    seconds: int
    """That each column stands for."""
    now: float
    """The server's clock, in seconds since 1970."""
    columns: list[Moment]


class Taken(Answer, frozen=True):
    """How many events were new; they are in the store by now."""

    taken: int
    repeated: int


class Access(Struct, frozen=True):
    """Whether the server asks for tokens, and which scopes the one that was sent has."""

    tokens: bool
    may: list[str]


class Refusal(Answer, frozen=True):
    """Why there is no answer, in a sentence."""

    detail: str
