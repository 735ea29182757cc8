// What answers at the moment: the live version, what is tried beside it, how much is asked and how quickly.

import { ofCanary } from "./actions.js";
import { lines } from "./charts.js";
import { chip, h, notice, Part, table, todo } from "./dom.js";
import { ago, count, duration, percent, short, whole } from "./format.js";

const LONG = 60; // seconds that a server may not have looked into the store

export function live(page) {
  const { server } = page;
  const empty = new Part((nothing) => nothing && todo("Nothing is released yet",
    "Make a first model of your purchases, or of a made-up shop, and release it; this server begins to answer by itself:",
    "python workflows/submit.py retrain -p source=purchases.csv", "python workflows/submit.py"));
  const trouble = new Part((sentences) => sentences.map((one) => notice(one, "bad")));
  const figures = new Part(numbers);
  const canary = new Part((tried) => tried && trial(page, tried));
  const traffic = new Part((found) => found && plots(found));
  const versions = new Part(byVersion);
  const routes = new Part(byRoute);
  const all = new Part((state) => h("details", {}, h("summary", {}, "All that the server tells of itself"),
    h("pre", { tabindex: "0", role: "region", "aria-label": "The state of the server" }, JSON.stringify(state, null, 1))));
  const degraded = new Growing(60_000);
  const rest = h("div", {}, [trouble, figures, canary, traffic, versions, routes, all].map((part) => part.node));
  return {
    title: "Live",
    node: h("div", {}, empty.node, rest),
    async refresh(state) {
      empty.show(state.version === null);
      rest.hidden = state.version === null;
      trouble.show(problems(state, degraded));
      figures.show(state);
      canary.show(state.canary);
      versions.show({ versions: state.versions, live: state.version, canary: state.canary });
      routes.show(state.requests);
      all.show(state);
      if (server.has("/traffic")) traffic.show({ ...(await server.get("traffic")), live: state.version, canary: state.canary?.version });
    },
  };
}

/** The class of a version's colour: the live one and the one on trial have the same everywhere. */
export function colour(version, live, canary) {
  if (version === live) return "live";
  return version === canary ? "won" : `other${version % 6}`;
}

/** Whether a count has grown lately. */
class Growing {
  constructor(milliseconds) {
    this.milliseconds = milliseconds;
    this.seen = [];
  }

  add(value) {
    const now = Date.now();
    this.seen = [...this.seen.filter(([at]) => now - at < this.milliseconds), [now, value]];
    return value > this.seen[0][1];
  }
}

function problems(state, degraded) {
  const said = [];
  if (state.problem && state.version !== null) said.push(`${state.problem}.`);
  const others = Object.values(state.versions).reduce((sum, one) => sum + one.degraded, 0);
  if (degraded.add(others)) said.push("Within the last minute a version could not answer, and another one, or what is popular, had to (degraded).");
  if (state.seconds_since_look > LONG) said.push(`The store was last looked at ${duration(state.seconds_since_look)} ago: newer releases are not seen.`);
  return said;
}

function numbers(state) {
  const asked = state.requests["/recommend"];
  const wrong = Object.values(state.requests).reduce((sum, one) => sum + one.errors, 0);
  const one = (name, value, more) => h("div", {}, h("dt", {}, name), h("dd", {}, value), more && h("dd", { class: "soft" }, more));
  return h("dl", { class: "figures" },
    one("Live version", state.version ?? "none", state.version !== null && `${state.model}, ${ago(state.released)}`),
    one("Customers", whole(state.users), `${count(state.items, "product")}`),
    one("Lists asked for", whole(asked?.requests ?? 0), `up for ${duration(state.seconds_up)}, ${count(state.workers, "process", "processes")}`),
    one("Half are answered within", asked ? `${short(asked.ms.p50)} ms` : "–", asked && `99 of 100 within ${short(asked.ms.p99)} ms`),
    one("Errors", whole(wrong), wrong ? "the server’s log says why" : "none since it began"));
}

function trial(page, tried) {
  const shown = tried.mode === "canary";
  return h("section", { class: "trial" },
    h("h2", {}, `Version ${tried.version} is on trial `, chip(tried.mode, "won")),
    h("p", {}, shown
      ? `${tried.model}, shown to ${tried.percent} % of the customers beside version ${tried.base}, always the same ones; begun ${ago(tried.created)}.`
      : `${tried.model}, asked in the shadow for ${tried.percent} % of the customers and compared with what version ${tried.base} shows them; begun ${ago(tried.created)}.`),
    tried.reason && h("p", { class: "soft" }, `Why: ${tried.reason}`),
    ofCanary(page, tried));
}

function byVersion({ versions, live, canary }) {
  const rows = Object.entries(versions).map(([version, one]) => [
    h("span", { class: `version ${colour(Number(version), live, canary?.version)}` }, `version ${version}`,
      Number(version) === live ? " (live)" : Number(version) === canary?.version ? ` (${canary.mode})` : ""),
    whole(one.answers), whole(one.errors), whole(one.degraded), whole(one.strangers),
    one.shadowed ? percent(one.agreed / 1e6 / one.shadowed) : ""]);
  if (!rows.length) return null;
  return [h("h2", {}, "What each version has answered"),
    table("What each version has answered", ["version", "#lists", "#failed", "#degraded", "#to unknown customers", "#agreed in the shadow"], rows),
    h("p", { class: "note" }, "Failed: it could not answer. Degraded: another version, or what is popular, then answered for it. All since the server began.")];
}

function byRoute(requests) {
  const rows = Object.entries(requests).map(([path, one]) => [h("code", {}, path), whole(one.requests), whole(one.refused), whole(one.errors),
    ...["p50", "p90", "p99", "p99.9"].map((name) => short(one.ms[name]))]);
  return [h("h2", {}, "What was asked"),
    table("What was asked", ["path", "#requests", "#refused", "#errors", "#p50 ms", "#p90", "#p99", "#p99.9"], rows)];
}

function plots({ seconds, now, columns, live, canary }) {
  const over = columns.filter((one) => one.at + seconds <= now); // the newest is not over yet, and would look like a fall
  if (!over.length) return [h("h2", {}, "The last hour"), h("p", { class: "soft" }, "Nothing was asked in it.")];
  const filled = withoutGaps(over, seconds);
  const versions = [...new Set(filled.flatMap((one) => [...Object.keys(one.versions), ...Object.keys(one.failed ?? {})]))].sort((one, other) => one - other);
  const points = (value) => filled.map((one) => [1000 * one.at, value(one)]);
  const timed = (name) => points((one) => (one.requests ? one[name] : null));
  const answered = versions.map((version) => ({
    name: `version ${version}`, colour: colour(Number(version), live, canary), points: points((one) => (one.versions[version] ?? 0) / seconds),
  }));
  const failed = versions.filter((version) => filled.some((one) => one.failed?.[version])).map((version) => ({
    name: `version ${version} could not`, colour: colour(Number(version), live, canary), points: points((one) => (one.failed?.[version] ?? 0) / seconds),
  }));
  return [h("h2", {}, "The last hour"), h("div", { class: "charts" },
    lines({ title: "Traffic", unit: "lists a second, by version", most: 1,
      series: answered.length ? answered : [{ name: "requests", colour: "live", points: points((one) => one.requests / seconds) }] }),
    lines({ title: "Time to answer", unit: "milliseconds", most: 1, series: [
      { name: "p50", colour: "other0", points: timed("p50") }, { name: "p99", colour: "other1", points: timed("p99") }] }),
    lines({ title: "Errors", unit: "a second", most: 1, series: [{ name: "answered with an error", colour: "bad", points: points((one) => one.errors / seconds) }, ...failed] }))];
}

/** Times at which nothing was asked are left out by the server, and are drawn as such. */
function withoutGaps(columns, seconds) {
  const known = new Map(columns.map((one) => [Math.round(one.at / seconds), one]));
  const [first, last] = [Math.min(...known.keys()), Math.max(...known.keys())];
  return Array.from({ length: last - first + 1 }, (_, place) => known.get(first + place)
    ?? { at: (first + place) * seconds, requests: 0, errors: 0, versions: {} });
}
