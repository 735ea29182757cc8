// Makes elements. Whatever comes from data becomes a text or an attribute, never markup.

const SVG = "http://www.w3.org/2000/svg";

/** `h("a", { href: "#live", onclick: go }, "Live")`; children are nodes, texts, lists of both, or nothing. */
export function h(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** The same inside a picture. */
export function s(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(element, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value === true) element.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) element.setAttribute(name, value);
  }
  element.append(...children.flat(Infinity).filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

/** A part of a view that is drawn again only when what it shows has changed, so that nobody loses their place. */
export class Part {
  constructor(draw) {
    this.node = h("div");
    this.draw = draw;
    this.shown = undefined;
  }

  show(data) {
    const text = JSON.stringify(data) ?? "";
    if (text === this.shown) return;
    this.shown = text;
    this.node.replaceChildren(...[this.draw(data)].flat(Infinity).filter(Boolean));
  }
}

/** A table in a frame that scrolls by itself where it is wider than the screen. `columns` are names, `rows` lists of
 * cells; the first cell of a row is its heading, and a column whose name begins with `#` holds numbers. */
export function table(label, columns, rows) {
  const numeric = columns.map((name) => name.startsWith("#"));
  const side = (place) => ({ class: numeric[place] ? "number" : null });
  const head = columns.map((name, place) => h("th", { scope: "col", ...side(place) }, name.replace(/^#/, "")));
  const body = rows.map((cells) => h("tr", {}, cells.map((cell, place) =>
    place === 0 ? h("th", { scope: "row", ...side(0) }, cell) : h("td", side(place), cell))));
  return h("div", { class: "scroll", role: "region", "aria-label": label, tabindex: "0" },
    h("table", {}, h("thead", {}, h("tr", {}, head)), h("tbody", {}, body)));
}

/** What there is to do where there is nothing to see yet, with what to type. */
export function todo(title, text, ...commands) {
  return h("section", { class: "todo" }, h("h2", {}, title), h("p", {}, text), commands.map(command));
}

export function command(text) {
  return h("pre", { class: "command", tabindex: "0", role: "region", "aria-label": "A command to type" }, h("code", {}, text));
}

export function notice(text, kind = "") {
  return h("p", { class: `notice ${kind}` }, text);
}

/** A short word that stands out. */
export function chip(text, kind = "") {
  return h("span", { class: `chip ${kind}` }, text);
}

/** A product by its name, with its id beside it; by its id where names are not known. */
export function product(one) {
  return one.name && one.name !== one.item
    ? [h("span", { class: "name" }, one.name), " ", h("span", { class: "id" }, one.item)]
    : h("span", { class: "name" }, one.item);
}
