// Line charts as SVG: axes with round numbers, bands for intervals, a reading where one points, and all of it as a table.

import { h, s, table } from "./dom.js";
import { clock, day, short } from "./format.js";

const HEIGHT = 210, LEFT = 52, RIGHT = 12, TOP = 14, BOTTOM = 38;
const SECOND = 1000, MINUTE = 60 * SECOND, HOUR = 60 * MINUTE, DAY = 24 * HOUR;
const STEPS = [SECOND, 5 * SECOND, 15 * SECOND, MINUTE, 5 * MINUTE, 10 * MINUTE, 15 * MINUTE, 30 * MINUTE, HOUR, 3 * HOUR,
  6 * HOUR, 12 * HOUR, DAY, 2 * DAY, 7 * DAY, 30 * DAY, 90 * DAY, 365 * DAY];

/**
 * A figure of lines over time.
 * series: [{ name, colour, points: [[milliseconds, value, low?, high?]] }]; a gap is a point whose value is null.
 * levels: [{ value, name }] are drawn across. `most` is the least upper end of the scale.
 */
export function lines({ title, unit, series, levels = [], most = 0, marked = false }) {
  if (!series.some((one) => one.points.some(([, value]) => value !== null))) {
    return h("p", { class: "soft" }, `${title}: nothing was measured yet.`);
  }
  const picture = s("svg", { class: "plot", role: "img", "aria-label": `${title}, ${unit}` });
  const reading = h("p", { class: "reading" }, "\u00a0");
  const figure = h("figure", { class: "chart" },
    h("figcaption", {}, h("b", {}, title), " ", h("span", { class: "soft" }, unit)),
    series.length > 1 ? h("p", { class: "key" }, series.map((one) => h("span", { class: one.colour }, one.name))) : null,
    h("div", { class: "frame" }, picture), reading, asTable(title, series));
  const size = new ResizeObserver(([entry]) => {
    const width = Math.floor(entry.contentRect.width);
    if (width > LEFT + RIGHT) drawn(picture, reading, { width, unit, series, levels, most, marked });
  });
  size.observe(figure.querySelector(".frame"));
  return figure;
}

function drawn(picture, reading, { width, unit, series, levels, most, marked }) {
  const points = series.flatMap((one) => one.points).filter(([, value]) => value !== null);
  const times = points.map(([at]) => at);
  const high = Math.max(most, ...points.map(([, value, , top]) => top ?? value), ...levels.map((one) => one.value));
  const vertical = roundTicks(0, high || 1, 4);
  const first = Math.min(...times), last = Math.max(...times);
  const [from, until] = first === last ? [first - HOUR / 2, last + HOUR / 2] : [first, last];
  const x = (at) => LEFT + ((width - LEFT - RIGHT) * (at - from)) / (until - from);
  const y = (value) => TOP + (HEIGHT - TOP - BOTTOM) * (1 - value / vertical.at(-1));
  const pointer = s("line", { class: "pointer", y1: TOP, y2: HEIGHT - BOTTOM, visibility: "hidden" });
  picture.setAttribute("viewBox", `0 0 ${width} ${HEIGHT}`);
  picture.setAttribute("height", HEIGHT);
  picture.replaceChildren(
    ...vertical.map((tick) => s("g", {},
      s("line", { class: "grid", x1: LEFT, x2: width - RIGHT, y1: y(tick), y2: y(tick) }),
      s("text", { class: "tick", x: LEFT - 8, y: y(tick) + 4, "text-anchor": "end" }, tickName(tick, vertical)))),
    ...timeTicks(from, until, Math.max(2, Math.floor(width / 110))).filter(({ at }) => x(at) < width - 2 * RIGHT).map(({ at, name }) => s("g", {},
      s("line", { class: "grid", x1: x(at), x2: x(at), y1: HEIGHT - BOTTOM, y2: HEIGHT - BOTTOM + 4 }),
      s("text", { class: "tick", x: x(at), y: HEIGHT - BOTTOM + 17, "text-anchor": "middle" }, name))),
    s("text", { class: "tick", x: width - RIGHT, y: HEIGHT - 3, "text-anchor": "end" }, "your local time"),
    ...levels.map((one) => s("g", {},
      s("line", { class: "level", x1: LEFT, x2: width - RIGHT, y1: y(one.value), y2: y(one.value) }),
      s("text", { class: "tick", x: width - RIGHT, y: y(one.value) - 4, "text-anchor": "end" }, one.name))),
    ...series.map((one) => band(one, x, y)), ...series.flatMap((one) => paths(one, x, y)),
    ...series.flatMap((one) => marks(one, x, y, marked)), pointer);
  follow(picture, reading, pointer, { series, unit, x, first, last });
}

/** Runs of points between gaps. */
function runs(points) {
  const found = [[]];
  for (const point of points) {
    if (point[1] === null) found.push([]);
    else found.at(-1).push(point);
  }
  return found.filter((run) => run.length);
}

const path = (points, x, y) => points.map(([at, value], place) => `${place ? "L" : "M"}${x(at).toFixed(1)} ${y(value).toFixed(1)}`).join("");

function paths(one, x, y) {
  return runs(one.points).map((run) => s("path", { class: `line ${one.colour}`, d: path(run, x, y) }));
}

function band(one, x, y) {
  const both = runs(one.points).filter((run) => run.length > 1 && run[0].length > 2);
  const upper = (run) => run.map(([at, , , top]) => [at, top]), lower = (run) => run.map(([at, , low]) => [at, low]);
  return s("g", {}, both.map((run) =>
    s("path", { class: `band ${one.colour}`, d: `${path([...upper(run), ...lower(run).reverse()], x, y)}Z` })));
}

/** A point that no line leads to would not be seen; it gets its interval as an upright. */
function marks(one, x, y, all) {
  return runs(one.points).filter((run) => all || run.length === 1).flat().map(([at, value, low, top]) => s("g", {},
    low === undefined ? null : s("line", { class: `span ${one.colour}`, x1: x(at), x2: x(at), y1: y(low), y2: y(top) }),
    s("circle", { class: `dot ${one.colour}`, cx: x(at), cy: y(value), r: 3 })));
}

function follow(picture, reading, pointer, { series, unit, x, first, last }) {
  const times = [...new Set(series.flatMap((one) => one.points.map(([at]) => at)))].sort((one, other) => one - other);
  picture.onpointermove = (event) => {
    const across = event.clientX - picture.getBoundingClientRect().left;
    const at = times.reduce((best, one) => (Math.abs(x(one) - across) < Math.abs(x(best) - across) ? one : best), times[0]);
    pointer.setAttribute("x1", x(at));
    pointer.setAttribute("x2", x(at));
    pointer.setAttribute("visibility", "visible");
    const values = series.map((one) => [one, one.points.find(([time, value]) => time === at && value !== null)]);
    const said = values.filter(([, point]) => point).map(([one, [, value]]) => `${one.name} ${short(value)}`);
    reading.textContent = `${last - first > DAY ? day(at) : clock(at)}: ${said.join(", ") || "nothing"} (${unit})`;
  };
  picture.onpointerleave = () => {
    pointer.setAttribute("visibility", "hidden");
    reading.textContent = "\u00a0";
  };
}

/** The same for who cannot see it, or wants the numbers; made when it is opened. */
function asTable(title, series) {
  const place = h("details", { class: "numbers" }, h("summary", {}, "The numbers"));
  place.addEventListener("toggle", () => {
    if (!place.open || place.children.length > 1) return;
    const times = [...new Set(series.flatMap((one) => one.points.map(([at]) => at)))].sort((one, other) => other - one);
    const of = (one) => new Map(one.points.map(([at, ...values]) => [at, values]));
    const columns = series.map((one) => [one, of(one)]);
    const cell = (values) => (values?.[0] === undefined || values[0] === null ? ""
      : values.length > 2 ? `${short(values[0])} (${short(values[1])} to ${short(values[2])})` : short(values[0]));
    place.append(table(title, ["time", ...series.map((one) => `#${one.name}`)],
      times.map((at) => [day(at), ...columns.map(([, known]) => cell(known.get(at)))])));
  });
  return place;
}

/** Round numbers from `low` to at or above `high`: 1, 2 or 5 times a power of ten apart. */
export function roundTicks(low, high, about) {
  const least = (high - low) / about, power = 10 ** Math.floor(Math.log10(least));
  const step = power * [1, 2, 5, 10].find((digit) => power * digit >= least * (1 - 1e-9));
  const many = Math.ceil((high - low) / step - 1e-9);
  return Array.from({ length: many + 1 }, (_, place) => low + place * step);
}

function tickName(tick, all) {
  const digits = Math.max(0, -Math.floor(Math.log10(all[1] - all[0]) + 1e-9));
  return tick.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
}

function timeTicks(from, until, about) {
  const step = STEPS.find((one) => (until - from) / one <= about) ?? STEPS.at(-1);
  const shift = new Date(from).getTimezoneOffset() * MINUTE;
  const found = [];
  for (let at = Math.ceil((from - shift) / step) * step + shift; at <= until; at += step) found.push({ at, name: timeName(at, step) });
  return found;
}

function timeName(at, step) {
  const time = new Date(at);
  if (step >= DAY || (step >= HOUR && time.getHours() === 0)) {
    return time.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  }
  const parts = { hour: "2-digit", minute: "2-digit", ...(step < MINUTE ? { second: "2-digit" } : {}) };
  return time.toLocaleTimeString("en-GB", parts);
}
