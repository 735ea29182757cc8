// How the versions do with real users, look by look: hit rate, clicks and nDCG with their intervals, drift, freshness.

import { lines } from "./charts.js";
import { chip, h, notice, Part, table, todo } from "./dom.js";
import { colour } from "./live.js";
import { ago, count, day, duration, fixed, percent, whole } from "./format.js";
import { report } from "./reports.js";

const METRICS = {
  hit_rate: ["Hit rate", "share of the lists shown of which something was bought"],
  ctr: ["Click-through rate", "share of the places shown that were clicked"],
  ndcg: ["nDCG", "what was clicked or bought counts more the higher it stood"],
};
const DRIFT = { users: "buyers", items: "products bought", places: "places taken" };
const AGES = ["newest purchase", "live snapshot", "live release"];
const HARDLY = 0.1, MUCH = 0.25;
const HOUR = 3600, TABLE = 20;
const PAUSE = 30_000; // milliseconds

export function monitoring(page) {
  const all = new Part((looks) => (looks.length ? shown(page, looks) : todo("Nobody has looked yet",
    "The shop’s site tells what it showed and what followed (POST /send-feedback); a look then measures how each version does. A simulated shopper can play the site:",
    "python -m steps.client --shopper --count 500", "python -m steps.monitor")));
  const there = page.server.has("/monitoring");
  let asked = 0;
  return {
    title: "Monitoring",
    node: h("div", {}, there ? all.node : notice("This server does not tell what was looked at. The pages lie in the store, under monitoring/.")),
    async refresh() {
      if (!there || Date.now() - asked < PAUSE) return;
      asked = Date.now();
      all.show((await page.server.get("monitoring")).looks);
    },
  };
}

function shown(page, looks) {
  const [newest] = looks, oldest = [...looks].reverse();
  // A look at a canary covers its trial alone: its figures are another time's.
  const regular = oldest.filter((one) => one.asked !== "canary");
  const versions = [...new Set(regular.flatMap((one) => Object.keys(one.versions).map(Number)))].filter(Boolean).sort((one, other) => one - other);
  return [latest(page, newest),
    h("h2", {}, "With real users"), h("div", { class: "charts" }, Object.keys(METRICS).map((name) => online(name, regular, versions, newest.live))),
    h("p", { class: "note" }, "The bands are where 95 % of such measurements would lie. A version appears once enough of its lists were shown."),
    h("h2", {}, "Is the world still the one the model was made for?"), h("div", { class: "charts" }, drift(regular), freshness(regular)),
    h("h2", {}, "The looks"), looked(page, looks)];
}

function latest(page, one) {
  const good = !one.retrain && one.canary?.decision !== "abort";
  const said = one.retrain ? "A new model is asked for."
    : one.asked === "canary" && one.canary?.version ? `Version ${one.canary.version}: ${one.canary.decision}.`
      : one.live ? `Version ${one.live} stays.` : "Nothing is live yet.";
  return h("section", { class: `verdict ${good ? "yes" : "no"}` }, h("h2", {}, said), h("p", {}, `${one.reason.charAt(0).toUpperCase()}${one.reason.slice(1)}.`),
    h("p", { class: "soft" }, `Looked ${ago(one.created)}, at ${count(one.events, "event")} of feedback`,
      Number.isFinite(one.accuracy) ? `; accuracy ${percent(one.accuracy)} of the best of the last releases` : "", ". ",
      report(page, where(one), `the look of ${day(one.created)}`, "The whole page")));
}

const where = (one) => one.page ?? (one.name ? `monitoring/${one.name}` : "");

function online(metric, looks, versions, live) {
  const [title, meaning] = METRICS[metric];
  const point = (look, version) => {
    const known = look.versions[version], found = known?.lists ? known.metrics[metric] : null;
    return [Date.parse(look.created), found?.value ?? null, found?.low, found?.high];
  };
  const series = versions.map((version) => ({
    name: `version ${version}`, colour: colour(version, live), points: looks.map((look) => point(look, version)),
  }));
  return lines({ title, unit: meaning, series, marked: looks.length <= 40 });
}

function drift(looks) {
  const series = Object.entries(DRIFT).map(([name, text], place) => ({
    name: text, colour: `other${place}`, points: looks.map((look) => [Date.parse(look.created), look.drift[name]?.index ?? null]),
  }));
  return lines({ title: "Drift", unit: "population stability index", series, most: MUCH,
    levels: [{ value: HARDLY, name: "hardly moved" }, { value: MUCH, name: "moved much" }], marked: looks.length <= 40 });
}

function freshness(looks) {
  const series = AGES.map((name, place) => ({
    name, colour: `other${place + 3}`, points: looks.map((look) => [Date.parse(look.created), look.freshness[name] ?? null]),
  }));
  return lines({ title: "Age", unit: "hours", series, most: 1, marked: looks.length <= 40 });
}

function looked(page, looks) {
  const rows = looks.slice(0, TABLE).map((one) => {
    const live = one.versions[one.live];
    const metric = one.thresholds.metric, value = live?.lists ? live.metrics[metric]?.value : undefined;
    const outcome = one.retrain ? chip("retrain", "bad") : one.asked === "canary" ? chip(one.canary?.decision ?? "canary", one.canary?.decision === "abort" ? "bad" : "won") : chip("stays");
    return [h("time", { datetime: one.created }, day(one.created)), one.live || "none", whole(one.events), fixed(value), outcome,
      h("div", { class: "why" }, one.reason), age(one.freshness["newest purchase"]), report(page, where(one), `the look of ${day(one.created)}`, "Page")];
  });
  const [{ thresholds }] = looks;
  return table("The looks, newest first", ["when", "#live", "#events", `#${thresholds.metric}`, "outcome", "why", "#newest purchase", "page"], rows);
}

const age = (hours) => (Number.isFinite(hours) ? `${duration(hours * HOUR)} old` : "");
