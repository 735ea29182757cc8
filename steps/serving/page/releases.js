// What was released and what was tried, with the figures by which it was judged, and the report of each.

import { ofRelease, ofReleases } from "./actions.js";
import { chip, h, Part, table, todo } from "./dom.js";
import { day, fixed } from "./format.js";
import { report } from "./reports.js";

const FIRST = ["ndcg@10", "recall@10", "hit_rate@10", "coverage@10"];
const MOST = 4; // metrics that have room beside all else
const KINDS = { live: "live", canary: "won", shadow: "won", aborted: "bad" };
const PAUSE = 20_000; // milliseconds

export function releases(page) {
  const list = new Part((versions) => (versions.length ? shown(page, versions) : todo("Nothing is released yet",
    "A release is made when a model has beaten what is live on held-out purchases and has answered well in its slot:",
    "python workflows/submit.py retrain -p source=purchases.csv", "python workflows/submit.py")));
  let asked = 0, last = "";
  return {
    title: "Releases",
    node: h("div", {}, list.node),
    async refresh(state) {
      const what = `${state.version} ${state.canary?.version}`;
      if (what === last && Date.now() - asked < PAUSE) return;
      [asked, last] = [Date.now(), what];
      list.show((await page.server.get("releases")).versions);
    },
  };
}

function shown(page, versions) {
  const live = versions.find((one) => one.what === "live");
  const known = new Set(versions.flatMap((one) => Object.keys(one.metrics)));
  const metrics = [...FIRST.filter((name) => known.has(name)), ...[...known].filter((name) => !FIRST.includes(name)).sort()].slice(0, MOST);
  const best = Object.fromEntries(metrics.map((name) => [name, Math.max(...versions.map((one) => one.metrics[name] ?? -Infinity))]));
  const value = (one, name) => h("span", { class: versions.length > 1 && one.metrics[name] === best[name] ? "best" : null }, fixed(one.metrics[name]));
  const percent = (one) => (one.percent ? `, ${one.percent} %` : "");
  const rows = versions.map((one) => [
    [`${one.version} `, chip(`${one.what}${percent(one)}`, KINDS[one.what] ?? "")], one.model,
    h("time", { datetime: one.created }, day(one.created)), ...metrics.map((name) => value(one, name)),
    h("div", { class: "why" }, one.reason), report(page, one.report, `version ${one.version}`), ofRelease(page, live, one)]);
  const columns = ["version", "model", "when", ...metrics.map((name) => `#${name}`), "why", "report", "go back"];
  return [h("p", { class: "lead" }, "The newest release is live. Its figures are of purchases that were held back from training."),
    ofReleases(page),
    table("Releases, newest first", ...withoutEmpty(columns, rows)),
    h("details", {}, h("summary", {}, "What each was made of"),
      table("What each was made of", ["version", "run", "snapshot"], versions.map((one) => [one.version, h("code", {}, one.run), h("code", {}, one.snapshot)])))];
}

/** Columns in which some row says something. */
function withoutEmpty(columns, rows) {
  const kept = columns.map((_, place) => rows.some((cells) => cells[place]));
  const keep = (cells) => cells.filter((_, place) => kept[place]);
  return [keep(columns), rows.map(keep)];
}
