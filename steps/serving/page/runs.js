// What the pipeline does, and did last: each run with its steps.

import { chip, h, notice, Part, todo } from "./dom.js";
import { ago, day, duration } from "./format.js";
import { report } from "./reports.js";

const MARKS = { succeeded: ["✓", "good"], failed: ["✗", "bad"], error: ["✗", "bad"], running: ["●", "won"], skipped: ["–", "soft"], omitted: ["–", "soft"], pending: ["○", "soft"] };

export function runs(page) {
  const all = new Part((found) => (found.length ? found.map((one, place) => run(page, one, place === 0)) : todo("Nothing has run yet",
    "A run takes purchases, trains several models, judges them, and releases the best if it beats what is live:",
    "python workflows/submit.py retrain -p source=purchases.csv", "python workflows/submit.py --list")));
  const there = page.server.has("/runs");
  return {
    title: "Runs",
    node: h("div", {}, there ? all.node : notice("This server does not tell what ran. What submit.py starts, it shows while it goes on.")),
    async refresh() {
      if (there) all.show((await page.server.get("runs")).runs);
    },
  };
}

function run(page, one, open) {
  const state = String(one.state ?? "").toLowerCase(), [, kind] = MARKS[state] ?? ["", ""];
  const seconds = one.ended ? (Date.parse(one.ended) - Date.parse(one.began)) / 1000 : NaN;
  const when = [one.began && `began ${day(one.began)}`, Number.isFinite(seconds) && `took ${duration(seconds)}`, !one.began && one.ended && `ended ${ago(one.ended)}`].filter(Boolean);
  return h("details", { class: "run", open },
    h("summary", {}, h("span", { class: "name" }, one.run), " ", state && chip(state, kind), " ", h("span", { class: "soft" }, when.join(", "))),
    h("ul", { class: "tree" }, (one.tree ?? []).map(step)), h("p", {}, report(page, one.report, one.run)));
}

function step(one) {
  const state = String(one.state ?? "").toLowerCase(), [mark, kind] = MARKS[state] ?? ["○", "soft"];
  const outputs = Object.entries(one.outputs ?? {});
  const line = [h("span", { class: `mark ${kind}`, "aria-hidden": "true" }, mark), h("span", { class: "name" }, one.name),
    h("span", { class: "soft" }, `${state}${Number.isFinite(one.seconds) ? `, ${duration(one.seconds)}` : ""}`)];
  if (!outputs.length) return h("li", {}, line);
  return h("li", {}, h("details", {}, h("summary", {}, line),
    h("dl", { class: "outputs" }, outputs.map(([name, value]) => [h("dt", {}, name), h("dd", {}, typeof value === "string" ? value : JSON.stringify(value))]))));
}
