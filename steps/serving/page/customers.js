// What a customer would be shown and why, and what somebody new would, by a few products.

import { chip, h, notice, Part, product, s, todo } from "./dom.js";
import { percent, short, whole } from "./format.js";
import { Refused } from "./server.js";

const LENGTHS = [5, 10, 20, 50];
const REASONS = 5;
const SHOWN = 12;
const TYPING = 250; // milliseconds

/** The section for a customer of whom something is known. */
export function customers(page) {
  const input = h("input", { id: "customer-id", required: true, maxlength: "256", autocomplete: "off", spellcheck: "false" });
  const length = lengths("customer-length", () => input.value && show(input.value));
  const answer = h("div", { class: "answer", "aria-live": "polite" });
  const empty = new Part(nothingReleased);
  const form = h("form", {
    class: "ask",
    onsubmit: (event) => {
      event.preventDefault();
      const there = `#customer/${encodeURIComponent(input.value.trim())}`;
      if (location.hash === there) show(input.value.trim());
      else location.hash = there;
    },
  }, field("Customer", input), field("How many", length), h("button", { type: "submit" }, "Show"));
  const asking = h("div", {}, switcher("customer"), form, answer);
  const show = (user) => into(answer, page, () => recommended(page, user, Number(length.value)));
  return {
    title: "What would a customer be shown?",
    node: h("div", {}, empty.node, asking),
    open([user]) {
      if (!user) return ready(input);
      input.value = user;
      return show(user);
    },
    refresh: ({ version }) => {
      empty.show(version === null);
      asking.hidden = version === null;
    },
  };
}

/** The section for somebody of whom nothing is known but what is picked here. */
export function strangers(page) {
  const picked = new Map();
  const chosen = h("ul", { class: "picked", "aria-label": "What was picked" });
  const found = h("div", { class: "found", "aria-live": "polite" });
  const answer = h("div", { class: "answer", "aria-live": "polite" });
  const empty = new Part(nothingReleased);
  const input = h("input", { id: "product-search", type: "search", maxlength: "256", autocomplete: "off", spellcheck: "false" });
  const length = lengths("stranger-length", () => show());
  const searches = page.server.has("/items");
  let typed = 0;

  function show() {
    chosen.replaceChildren(...[...picked.values()].map((one) => h("li", {}, product(one), " ",
      h("button", { type: "button", class: "quiet small", "aria-label": `Without ${one.name ?? one.item}`, onclick: () => drop(one) }, "×"))));
    if (!picked.size) return answer.replaceChildren();
    return into(answer, page, () => forBasket(page, [...picked.keys()], Number(length.value)));
  }
  function pick(one) {
    picked.set(one.item, one);
    show();
  }
  function drop(one) {
    picked.delete(one.item);
    show();
    input.focus();
  }
  async function search() {
    const mine = (typed += 1), text = input.value.trim();
    const { items } = await page.server.get("items", { search: text || undefined, k: SHOWN });
    if (mine !== typed) return;
    const buttons = items.map((one) => h("li", {},
      h("button", { type: "button", class: "quiet pick", onclick: () => pick(one) }, h("span", { "aria-hidden": "true" }, "+ "), product(one))));
    const what = text ? `Found for “${text}”` : "Bought most";
    found.replaceChildren(items.length ? h("h2", {}, what) : notice(`No product has “${text}” in its name or id.`),
      h("ul", { class: "picks" }, buttons));
  }
  const look = () => search().catch((error) => refusedIn(found, page, error));
  let waiting = 0;
  input.addEventListener("input", () => {
    clearTimeout(waiting);
    if (searches) waiting = setTimeout(look, TYPING);
  });
  const form = h("form", {
    class: "ask",
    onsubmit: (event) => {
      event.preventDefault();
      const text = input.value.trim();
      if (searches) look();
      else if (text) {
        input.value = "";
        pick({ item: text });
      }
    },
  }, field(searches ? "Search products by name or id" : "Id of a product", input), field("How many", length),
    h("button", { type: "submit" }, searches ? "Search" : "Add"));
  const asking = h("div", {}, switcher("new"),
    h("p", { class: "lead" }, "Pick what somebody has just bought or put into the basket; the list follows at once."),
    form, found, chosen, answer);
  return {
    title: "What would somebody new be shown?",
    node: h("div", {}, empty.node, asking),
    open() {
      ready(input);
      if (searches) look();
    },
    refresh: ({ version }) => {
      empty.show(version === null);
      if (asking.hidden && version !== null && searches) look();
      asking.hidden = version === null;
    },
  };
}

/** Where one may type at once; on a phone the keyboard would cover the page. */
function ready(input) {
  if (matchMedia("(pointer: fine)").matches) input.focus();
}

function switcher(here) {
  const link = (name, text) => h("a", { href: `#${name}`, "aria-current": name === here ? "true" : null }, text);
  return h("p", { class: "switch" }, link("customer", "A customer"), link("new", "Somebody new"));
}

function field(label, input) {
  return h("div", { class: "field" }, h("label", { for: input.id }, label), input);
}

function lengths(id, changed) {
  return h("select", { id, onchange: changed }, LENGTHS.map((one) => h("option", { selected: one === 10 }, String(one))));
}

function nothingReleased(nothing) {
  return nothing && todo("Nothing is released yet", "Make a first model of your purchases, or of a made-up shop, and release it:",
    "python workflows/submit.py retrain -p source=purchases.csv", "python workflows/submit.py");
}

/** Fills a place with what is made for it, unless something newer was asked for meanwhile. */
async function into(place, page, make) {
  const mine = (place.turn = (place.turn ?? 0) + 1);
  place.setAttribute("aria-busy", "true");
  try {
    const nodes = await make();
    if (mine === place.turn) place.replaceChildren(...nodes.flat(Infinity).filter(Boolean));
  } catch (error) {
    if (mine === place.turn) refusedIn(place, page, error);
  }
  if (mine === place.turn) place.removeAttribute("aria-busy");
}

function refusedIn(place, page, error) {
  if (!(error instanceof Refused)) throw error;
  place.replaceChildren(notice(error.message, "bad"));
}

const withNames = (server, body) => (server.names ? { ...body, names: true } : body);

async function recommended(page, user, k) {
  const { server } = page;
  const [found, known] = await Promise.all([
    server.post("recommend", withNames(server, { user, k })),
    server.has("/users/{}") ? server.get(["users", user]).catch(unlessNotYet) : null,
  ]);
  const chips = [chip(`version ${found.version}, ${found.model}`),
    known?.canary && chip("in the canary’s share", "won"), degraded(found)];
  return [h("h2", { class: "who" }, h("span", {}, user), chips),
    !found.known && notice("No purchases of this customer are known, so these are the popular products."),
    h("div", { class: known ? "side" : "" }, known && bought(known), list(page, found, found.known ? user : null))];
}

/** Names and histories come a little after a release; the list need not wait for them. */
function unlessNotYet(error) {
  if (error instanceof Refused && error.status !== 401) return null;
  throw error;
}

async function forBasket(page, items, k) {
  const found = await page.server.post("recommend", withNames(page.server, { items, k }));
  return [h("h2", { class: "who" }, h("span", {}, "Goes with these"), chip(`version ${found.version}, ${found.model}`), degraded(found)),
    !found.known && notice("The model cannot tell what goes with these, so these are the popular products."),
    list(page, found, null)];
}

const degraded = (found) => found.degraded && chip("degraded: another version answered", "bad");

function bought({ bought: before, recent }) {
  const newest = [...before].reverse();
  const item = (one) => h("li", {}, product(one));
  const lately = recent.length > 0 && [h("h4", {}, "Since the model was made"), h("ul", { class: "items" }, [...recent].reverse().map(item))];
  const rest = newest.length > SHOWN && h("details", {}, h("summary", {}, `${whole(newest.length - SHOWN)} more`),
    h("ul", { class: "items" }, newest.slice(SHOWN).map(item)));
  const known = newest.length > 0 && [recent.length > 0 && h("h4", {}, "Before"), h("ul", { class: "items" }, newest.slice(0, SHOWN).map(item)), rest];
  return h("section", {}, h("h3", {}, "Bought"), lately, known, !recent.length && !newest.length && h("p", { class: "soft" }, "Nothing that is known."));
}

/** The list that was recommended; with a user it can be asked why. */
function list(page, { items }, user) {
  if (!items.length) return h("section", {}, h("h3", {}, "Recommended"), notice("Nothing is left to recommend."));
  const most = Math.max(...items.map((one) => one.score));
  const rows = items.flatMap((one, place) => row(page, one, place + 1, most, user));
  return h("section", {}, h("h3", { class: user === null ? "unseen" : null }, "Recommended"), h("table", { class: "list" },
    h("thead", {}, h("tr", {}, h("th", { scope: "col", class: "number" }, "#"), h("th", { scope: "col" }, "Product"),
      h("th", { scope: "col", class: "number" }, "Score"), h("th", { scope: "col" }, h("span", { class: "unseen" }, "More about it")))),
    h("tbody", {}, rows)));
}

function row(page, one, place, most, user) {
  const cell = h("td", { colspan: "4" }), more = h("tr", { class: "more", hidden: true }, cell);
  const name = one.name ?? one.item;
  const button = (text, make) => h("button", {
    type: "button", class: "quiet small", "aria-expanded": "false", "aria-label": `${text}: ${name}`,
    onclick: ({ currentTarget }) => {
      const open = currentTarget.getAttribute("aria-expanded") !== "true";
      for (const other of currentTarget.parentNode.children) other.setAttribute("aria-expanded", "false");
      currentTarget.setAttribute("aria-expanded", String(open));
      more.hidden = !open;
      if (open) into(cell, page, make);
    },
  }, text);
  return [h("tr", {}, h("td", { class: "number soft" }, String(place)), h("th", { scope: "row" }, product(one)),
    h("td", { class: "number score" }, bar(one.score / most), short(one.score)),
    h("td", { class: "acts" }, user !== null && button("Why", () => why(page, user, one)), button("Similar", () => alike(page, one)))),
    more];
}

async function why(page, user, one) {
  const { because } = await page.server.get(["because", user, one.item], { k: REASONS, names: true });
  if (!because.length) return [h("p", { class: "soft" }, "No single purchase speaks for it.")];
  return [h("p", { class: "soft" }, "Bought before, and its share in what speaks for this:"),
    h("ul", { class: "reasons" }, because.map((reason) => h("li", {}, bar(reason.share), h("span", { class: "number" }, percent(reason.share)), h("span", {}, product(reason)))))];
}

async function alike(page, one) {
  const { items } = await page.server.get(["similar", one.item], { k: REASONS, names: true });
  return [h("p", { class: "soft" }, "Most alike:"), h("ul", { class: "reasons" }, items.map((other) => h("li", {}, bar(other.score / items[0].score), h("span", { class: "number" }, short(other.score)), h("span", {}, product(other)))))];
}

/** A share of the whole as a line, beside its number. */
function bar(share) {
  const width = `${Math.round(100 * Math.min(1, Math.max(0, Number.isFinite(share) ? share : 0)))}%`;
  return s("svg", { class: "bar", "aria-hidden": "true" }, s("rect", { width, height: "100%", rx: "2" }));
}
