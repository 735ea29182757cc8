"""The page at `/` in a real Chromium, from a real server on a small shop in a folder."""

from __future__ import annotations

import importlib
import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from steps.artifacts import release
from steps.clients.object_store import open_store
from steps.runtime.program import main
from steps.runtime.settings import Settings

AXE = "axe-core@4.14.1"
PATIENCE = 60
"""Seconds; the machine may be busy."""
WIDE, PHONE = {"width": 1280, "height": 900}, {"width": 375, "height": 740}
READER, OWNER = "a-token-that-may-read", "a-token-that-may-do-more"
TOKENS = f"read={READER},read+admin={OWNER}"
NASTY = "<img src=x onerror='window.hacked=true'>"
SECTIONS = ("customer/u0003", "new", "live", "releases", "monitoring", "runs")
NOW = 1_790_000_000

Open = Callable[..., Any]


class Shop:
    """A store in a folder, and the programs that fill it."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder

    def step(self, name: str, *flags: str, run: str = "") -> None:
        program = importlib.import_module(f"steps.{name}")
        with pytest.MonkeyPatch.context() as patch:
            patch.setenv("STORE", f"file:{self.folder}")
            patch.setenv("RUN", run)
            outputs = self.folder.parent / "outputs" / f"{name}-{run}"
            code = main(program.parser(), program.run, [*flags, "--outputs", str(outputs)])
        assert code == 0, f"{name} ended with {code}"

    def live(self) -> release.Release:
        found = release.live(open_store(Settings.from_environment({"STORE": f"file:{self.folder}"})).models)
        assert found
        return found

    @contextmanager
    def served(self, **environment: str) -> Iterator[str]:
        """`python -m steps.serve` on this store; yields its address."""
        log = self.folder.parent / "serve.log"
        variables = {**os.environ, "STORE": f"file:{self.folder}", **environment}
        command = [sys.executable, "-m", "steps.serve", "--port", "0", "--poll-seconds", "0.2"]
        with log.open("w") as said:
            process = subprocess.Popen(command, env=variables, stderr=said)
        until = time.monotonic() + PATIENCE
        try:
            while not (found := re.search(r"serving on (http://[\d.]+:\d+)", log.read_text())) or not lives(found[1]):
                assert process.poll() is None, log.read_text()
                assert time.monotonic() < until, log.read_text()
                time.sleep(0.05)
            yield found[1]
        finally:
            process.terminate()
            process.wait(PATIENCE)


def lives(url: str) -> bool:
    try:
        return requests.get(f"{url}/healthz", timeout=PATIENCE).ok
    except requests.ConnectionError:
        return False


@pytest.fixture(scope="module")
def shop(tmp_path_factory: pytest.TempPathFactory) -> Shop:
    """Version 2 is live, version 1 was before it, and of the run `third` there is another one to try."""
    made = Shop(tmp_path_factory.mktemp("shop") / "store")
    made.step("data_publish", "--source", "demo:users=120,items=40,days=90")
    [folder] = (made.folder / "data" / "recommender" / "snapshots").iterdir()
    for run, settings in (("first", "als.factors=8"), ("second", "als.factors=6"), ("third", "als.factors=4")):
        made.step("train", "--snapshot", folder.name, "--model", "als", "--set", settings, run=run)
        made.step("evaluate", "--snapshot", folder.name, run=run)
        if run != "third":
            made.step("model_publish", "--force", "the page needs one", run=run)
    return made


@pytest.fixture
def own_shop(shop: Shop, tmp_path: Path) -> Shop:
    """A copy in which a test may change something."""
    shutil.copytree(shop.folder, tmp_path / "store")
    return Shop(tmp_path / "store")


@pytest.fixture(scope="module")
def url(shop: Shop) -> Iterator[str]:
    with shop.served() as address:
        yield address


@pytest.fixture(scope="module")
def chromium() -> Iterator[Any]:
    if not os.environ.get("CHROMIUM"):
        pytest.skip("no Chromium: CHROMIUM names none")
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        flags = os.environ.get("CHROMIUM_FLAGS", "").split()
        browser = playwright.chromium.launch(executable_path=os.environ["CHROMIUM"], args=flags)
        yield browser
        browser.close()


@pytest.fixture
def visit(chromium: Any) -> Iterator[Open]:
    """`visit(url, "live", dark=True)` → the page at that section. Nothing may come from elsewhere or complain."""
    contexts, complaints, elsewhere = [], [], []

    def go(url: str, section: str = "", *, view: dict[str, int] = WIDE, dark: bool = False, routes: Any = None) -> Any:
        context = chromium.new_context(viewport=view, color_scheme="dark" if dark else "light", reduced_motion="reduce")
        contexts.append(context)
        context.set_default_timeout(1000 * PATIENCE)
        page = context.new_page()
        page.on("pageerror", lambda error: complaints.append(str(error)))
        page.on("console", lambda said: complaints.append(said.text) if "Content Security" in said.text else None)
        page.on("request", lambda asked: None if own(asked.url, url) else elsewhere.append(asked.url))
        for path, answer in (routes or {}).items():
            page.route(f"{url}/{path}", answered(answer))
        page.goto(f"{url}/#{section}")
        return page

    yield go
    for context in contexts:
        context.close()
    assert complaints == []
    assert elsewhere == []


def answered(body: Any) -> Callable[[Any], None]:
    return lambda route: route.fulfill(json=body)


def own(asked: str, url: str) -> bool:
    return urlsplit(asked).scheme in ("data", "blob") or asked.startswith(f"{url}/")


@pytest.fixture(scope="session")
def axe() -> str:
    """The source of axe-core, fetched once into a cache."""
    cache = Path(os.environ.get("XDG_CACHE_HOME", "") or "~/.cache").expanduser() / "recommender-tests" / AXE
    source = cache / "node_modules" / "axe-core" / "axe.min.js"
    if not source.is_file():
        if not shutil.which("npm"):
            pytest.skip("npm is not installed, which fetches axe-core")
        cache.mkdir(parents=True, exist_ok=True)
        command = ["npm", "install", "--no-audit", "--no-fund", "--silent", "--ignore-scripts", AXE]
        try:
            fetched = subprocess.run(command, cwd=cache, capture_output=True, text=True, timeout=120, check=False)
        except subprocess.TimeoutExpired:
            pytest.skip("the npm registry did not answer in time")
        if fetched.returncode != 0 or not source.is_file():
            pytest.skip(f"npm could not fetch {AXE}: {fetched.stderr.strip()[-200:]}")
    return source.read_text(encoding="utf-8")


def figures(share: float) -> dict[str, Any]:
    measured = {
        name: {"value": share, "low": share - 0.05, "high": share + 0.05} for name in ("hit_rate", "ctr", "ndcg")
    }
    counts = {"lists": 400, "users": 200, "places": 4000, "clicks": 300, "purchases": 90, "requests": 500, "errors": 1}
    return {**counts, "metrics": measured, "degraded": 0, "ms": [1.2, 6.5], "taken_at": [], "shadow": [0, 0.0]}


def look(hours: int, **more: Any) -> dict[str, Any]:
    created = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(NOW - 3600 * hours))
    return {
        "name": f"look-{hours}", "page": f"monitoring/look-{hours}", "created": created, "asked": "look", "live": 2,
        "events": 1234, "versions": {"1": figures(0.3), "2": figures(0.4 + hours / 100)}, "accuracy": 0.97,
        "drift": {"users": {"index": 0.05 * hours, "by_chance": 0.01, "seen": 900}}, "retrain": False,
        "freshness": {"newest purchase": 1.5, "live snapshot": 20.0 + hours, "live release": 19.0},
        "thresholds": {"metric": "ndcg"}, "reason": f"version 2 has {NASTY}", "canary": {}, **more,
    }  # fmt: skip


LOOKS = {"looks": [look(0, retrain=True), look(1), look(2), look(3)]}
TRAFFIC = {
    "seconds": 10, "now": NOW,
    "columns": [
        {"at": NOW - 10 * place, "requests": 900 - place, "errors": place % 7, "p50": 0.6, "p99": 4.0 + place % 5,
         "versions": {"2": 800 - place, "3": 100}, "failed": {"3": place % 7}}
        for place in range(60, 0, -1) if place not in range(20, 30)
    ],
}  # fmt: skip
TREE = [
    {"name": "data-publish", "state": "succeeded", "seconds": 1.3, "outputs": {"snapshot": NASTY}},
    {"name": "train(0:als)", "state": "running", "seconds": 4.0},
    {"name": "evaluate", "state": "pending"},
]
RUNS = {"runs": [{"run": "retrain-1", "began": "2026-11-22T20:00:00Z", "state": "running", "tree": TREE, "report": ""}]}
USER = {
    "version": 2, "user": "u0003", "known": True, "canary": True, "recent": [{"item": "p0001", "name": NASTY}],
    "bought": [{"item": f"p{number:04}", "name": f"Product {number}"} for number in range(30)],
}  # fmt: skip
ITEMS = {"version": 2, "items": [{"item": "p0004", "name": "A lamp"}, {"item": "p0005", "name": NASTY}]}


@pytest.fixture(scope="module")
def everything(url: str) -> dict[str, Any]:
    """Routes as they are answered where there is much to see."""
    described = requests.get(f"{url}/openapi.json", timeout=PATIENCE).json()
    answer = {"responses": {}}
    for path in ("/traffic", "/monitoring", "/runs", "/items", "/users/{user}"):
        described["paths"].setdefault(path, {"get": answer})
    told = {"traffic": TRAFFIC, "monitoring": LOOKS, "runs": RUNS, "users/*": USER, "items?*": ITEMS}
    return {"openapi.json": described, **told}


def ready(page: Any) -> Any:
    """The page once it shows a section and nothing is awaited any more."""
    page.locator("#nav a[aria-current]").wait_for()
    page.locator("#view > div").wait_for(state="attached")
    page.wait_for_load_state("networkidle")
    page.locator("[aria-busy]").wait_for(state="detached")
    return page


def test_a_customer_is_looked_up_with_the_keyboard_alone(visit: Open, url: str) -> None:
    page = ready(visit(url))
    page.keyboard.type("u0003")
    page.keyboard.press("Enter")
    rows = page.locator("table.list tbody tr:not(.more)")
    rows.nth(9).wait_for()
    assert (rows.count(), urlsplit(page.url).fragment) == (10, "customer/u0003")
    why = page.get_by_role("button", name=re.compile("^Why")).first
    why.focus()
    page.keyboard.press("Enter")
    shares = page.locator("tr.more:not([hidden]) .reasons li")
    shares.first.wait_for()
    assert why.get_attribute("aria-expanded") == "true"
    page.keyboard.press("Tab")
    page.keyboard.press("Enter")
    page.locator("tr.more:not([hidden])", has_text="Most alike").wait_for()
    assert why.get_attribute("aria-expanded") == "false"


def test_the_list_is_the_one_that_the_api_answers(visit: Open, url: str) -> None:
    asked = requests.post(f"{url}/recommend", json={"user": "u0003", "k": 5}, timeout=PATIENCE).json()
    page = ready(visit(url, "customer/u0003"))
    page.get_by_label("How many").select_option("5")
    names = page.locator("table.list tbody tr:not(.more) th")
    names.nth(5).wait_for(state="detached")
    shown = names.all_inner_texts()
    assert all(one["item"] in text for one, text in zip(asked["items"], shown, strict=True))


def test_somebody_unknown_is_shown_what_is_popular_and_told_so(visit: Open, url: str) -> None:
    page = ready(visit(url, "customer/" + requests.utils.quote(NASTY, safe="")))
    page.get_by_text("No purchases of this customer are known").wait_for()
    assert page.locator("h2.who").inner_text().startswith(NASTY)


def test_somebody_new_is_shown_what_goes_with_what_was_picked(visit: Open, url: str) -> None:
    page = ready(visit(url, "new"))
    search = page.locator("#product-search")
    for item in ("p0001", "p0002"):
        search.fill(item)
        search.press("Enter")
        page.locator(".picks button", has_text=item).click()
        page.locator(".picked li", has_text=item).wait_for()
    page.locator("table.list tbody th").first.wait_for()
    page.get_by_role("button", name=re.compile("^Without")).first.click()
    page.locator(".picked li").nth(1).wait_for(state="detached")


def test_what_data_says_is_text_and_never_markup(visit: Open, url: str, everything: dict[str, Any]) -> None:
    found = {
        "version": 2, "model": NASTY, "known": True, "user": "u0003", "degraded": True,
        "items": [{"item": NASTY, "score": 1.0, "name": NASTY}, {"item": "b", "score": 0.5, "name": NASTY}],
    }  # fmt: skip
    because = {"version": 2, "because": [{"item": NASTY, "share": 1.0, "name": NASTY}]}
    routes = {**everything, "recommend": found, "because/**": because}
    page = ready(visit(url, "customer/u0003", routes=routes))
    page.get_by_role("button", name=re.compile("^Why")).first.click()
    page.locator(".reasons li", has_text=NASTY).wait_for()
    for section in SECTIONS[1:]:
        page.goto(f"{url}/#{section}")
        ready(page)
    page.locator(".tree details").first.click()
    assert page.evaluate("[window.hacked === undefined, document.querySelectorAll('img').length]") == [True, 0]
    page.locator(".tree", has_text=NASTY).wait_for()


def test_an_empty_store_says_what_to_type(visit: Open, tmp_path: Path) -> None:
    with Shop(tmp_path / "store").served() as url:
        page = ready(visit(url, "live"))
        page.locator(".command", has_text="python workflows/submit.py retrain").wait_for()
        for section in ("customer", "new", "releases"):
            page.goto(f"{url}/#{section}")
            page.get_by_role("heading", name="Nothing is released yet").wait_for()


def test_releases_are_told_with_their_figures_and_what_can_be_done(visit: Open, url: str, shop: Shop) -> None:
    page = ready(visit(url, "releases"))
    rows = page.locator("table", has_text="ndcg@10").locator("tbody tr")
    rows.nth(1).wait_for()
    live, before = rows.all_inner_texts()[:2]
    assert live.split()[:2] == ["2", "live"]
    assert before.split()[:2] == ["1", "released"]
    assert f"{shop.live().metrics['ndcg@10']:.4f}" in live
    page.get_by_text("What can be done").click()
    page.get_by_text("python -m steps.model_publish --rollback", exact=True).wait_for()


def test_what_happens_is_drawn_and_also_told_in_numbers(visit: Open, url: str, everything: dict[str, Any]) -> None:
    page = ready(visit(url, "live", routes=everything))
    traffic = page.get_by_role("img", name=re.compile("^Traffic"))
    traffic.wait_for()
    assert traffic.locator("path.line").count() == 2
    latency = page.get_by_role("img", name=re.compile("^Time to answer"))
    assert latency.locator("path.line").count() == 4  # while nothing was asked there is no time to answer
    ticks = [text for text in traffic.locator("text").all_text_contents() if re.fullmatch(r"[\d.,]+", text)]
    assert [float(tick) for tick in ticks] == sorted(map(float, ticks))
    assert float(ticks[-1]) >= 80
    page.get_by_text("The numbers").first.click()
    assert page.get_by_role("region", name="Traffic").locator("tbody tr").count() == 60
    box = traffic.bounding_box()
    page.mouse.move(box["x"] + box["width"] / 2, box["y"] + 50)
    page.locator(".reading", has_text="version 2").wait_for()


def test_looks_are_drawn_with_their_intervals(visit: Open, url: str, everything: dict[str, Any]) -> None:
    page = ready(visit(url, "monitoring", routes=everything))
    page.get_by_role("heading", name="A new model is asked for.").wait_for()
    rate = page.get_by_role("img", name=re.compile("^Hit rate"))
    assert (rate.locator("path.line").count(), rate.locator("path.band").count()) == (2, 2)
    assert page.get_by_role("img", name=re.compile("^Drift")).locator(".level").count() == 2


def test_a_canary_is_shown_with_who_sees_it_and_the_page_is_read_only(visit: Open, own_shop: Shop) -> None:
    own_shop.step("model_publish", "--canary", "25", "--force", "a test tries it", run="third")
    with own_shop.served() as url:
        page = ready(visit(url, "live"))
        page.get_by_role("heading", name="Version 3 is on trial").wait_for()
        assert "canary 3 at 25 %" in page.locator("#now").inner_text()
        assert page.get_by_role("button", name="Promote").count() == 0
        page.get_by_text("What can be done").click()
        page.get_by_text("--promote").wait_for()


def test_who_may_ends_a_canary_and_goes_back_but_only_when_sure(visit: Open, own_shop: Shop) -> None:
    own_shop.step("model_publish", "--canary", "25", "--force", "a test tries it", run="third")
    with own_shop.served(API_TOKENS=TOKENS) as url:
        page = visit(url, "live")
        page.get_by_role("dialog", name="Your token").wait_for()
        page.keyboard.type(OWNER)
        page.keyboard.press("Enter")
        trial = page.get_by_role("heading", name="Version 3 is on trial")
        page.get_by_role("button", name="Promote …").click()
        page.get_by_role("dialog", name="Make version 3 live for everybody?").wait_for()
        page.keyboard.press("Escape")
        page.get_by_role("dialog").wait_for(state="hidden")
        assert own_shop.live().version == 2
        page.get_by_role("button", name="Abort …").click()
        page.get_by_label("Why?").fill("fewer clicks")
        page.keyboard.press("Enter")
        page.locator("#problem", has_text="Version 3 is taken back").wait_for()
        trial.wait_for(state="detached")
        page.goto(f"{url}/#releases")
        page.get_by_role("row", name="fewer clicks").wait_for()
        page.get_by_role("button", name="Go back …: to version 1").click()
        page.get_by_label("Why?").fill("a test wants it")
        page.keyboard.press("Enter")
        page.get_by_role("row", name="a test wants it").wait_for()
        assert own_shop.live().version == 4


def test_a_token_is_asked_for_and_kept_in_the_tab_alone(visit: Open, shop: Shop) -> None:
    with shop.served(API_TOKENS=TOKENS) as url:
        page = visit(url, "releases")
        dialog = page.get_by_role("dialog", name="Your token")
        dialog.wait_for()
        page.keyboard.type("no-such-token-at-all")
        page.keyboard.press("Enter")
        page.locator("#ask-token-why", has_text="This token is not known.").wait_for()
        page.keyboard.press("Escape")
        dialog.wait_for(state="hidden")
        page.locator("#problem", has_text="this token is not known").wait_for()
        page.get_by_role("button", name="Token").click()
        page.keyboard.type(READER)
        page.keyboard.press("Enter")
        page.locator("table", has_text="ndcg@10").wait_for()
        assert page.evaluate("[localStorage.length, document.cookie, Object.values(sessionStorage)]") == [
            0,
            "",
            [READER],
        ]
        page.reload()
        page.locator("table", has_text="ndcg@10").wait_for()


@pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
@pytest.mark.parametrize("view", [WIDE, PHONE], ids=["wide", "phone"])
def test_anybody_can_read_it(
    visit: Open, url: str, everything: dict[str, Any], axe: str, view: dict[str, int], dark: bool
) -> None:
    page = visit(url, view=view, dark=dark, routes=everything)
    page.evaluate(axe)
    for section in SECTIONS:
        page.goto(f"{url}/#{section}")
        ready(page)
        if section == SECTIONS[0]:
            page.get_by_role("button", name=re.compile("^Similar")).first.click()
            page.locator(".reasons li").first.wait_for()
        found = page.evaluate("axe.run().then((found) => found.violations)")
        serious = [one for one in found if one["impact"] in ("serious", "critical")]
        assert [(section, one["id"], one["nodes"][0]["html"]) for one in serious] == []
        assert page.evaluate("document.documentElement.scrollWidth") <= view["width"], section


def test_the_skip_link_comes_first_and_leads_past_the_sections(visit: Open, url: str) -> None:
    page = ready(visit(url, "live"))
    page.evaluate("document.activeElement.blur()")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "To the content"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    assert urlsplit(page.url).fragment == "live"
