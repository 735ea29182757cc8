// The page: which section is shown, what answers at the moment, and the token.

import { customers, strangers } from "./customers.js";
import { askToken } from "./dialogs.js";
import { h } from "./dom.js";
import { live } from "./live.js";
import { monitoring } from "./monitoring.js";
import { releases } from "./releases.js";
import { runs } from "./runs.js";
import { Refused, Server } from "./server.js";

const SECTIONS = { customer: customers, new: strangers, live, releases, monitoring, runs };
const PAUSE = 5000;
const [main, now, problem, title, place, tokenButton] =
  ["main", "now", "problem", "title", "view", "token"].map((id) => document.getElementById(id));

const server = new Server(wantToken);
const views = new Map();
let current = null, asking = false, learnt = false, turns = 0, state = null;

/** What a section may use of the page. */
const page = { server, refused: tell, said: (text) => tell(text, "good"), again: () => turn() };

/** Shows the section that the address names, once the server has told what it can. */
function open() {
  const [name, ...rest] = location.hash.slice(1).split("/").map(plain);
  const chosen = SECTIONS[name] ? name : "customer";
  for (const link of document.querySelectorAll("#nav a")) {
    const here = link.hash === `#${chosen === "new" ? "customer" : chosen}`;
    if (here) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!learnt) return;
  if (!views.has(chosen)) views.set(chosen, SECTIONS[chosen](page));
  const before = current;
  current = views.get(chosen);
  document.title = `${current.title} – Recommender`;
  title.textContent = current.title;
  if (before !== current) place.replaceChildren(current.node);
  current.open?.(rest.filter(Boolean));
  if (before && before !== current) {
    tell("");
    if (!place.contains(document.activeElement)) title.focus({ preventScroll: true });
  }
}

function plain(part) {
  try {
    return decodeURIComponent(part);
  } catch {
    return part;
  }
}

/** One look at the server. Of looks that overlap only the last one is shown. */
async function turn() {
  const mine = (turns += 1);
  try {
    if (!learnt) await server.learn();
    const first = !learnt;
    learnt = true;
    const found = await server.get("state");
    if (mine !== turns) return;
    state = found;
    answering(state);
    if (first) {
      views.clear();
      current = null;
      open();
    }
    await current.refresh?.(state);
    if (problem.dataset.kind === "bad") tell("");
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    tell(error.message);
  }
}

async function follow() {
  for (;;) {
    if (document.visibilityState === "visible") await turn().catch(reportError);
    await new Promise((resolve) => { setTimeout(resolve, PAUSE); });
  }
}

/** The line at the top: what answers, and whether it does so well. */
function answering({ version, model, canary, problem: trouble }) {
  const kind = version === null || trouble ? "doubt" : "well";
  const parts = version === null ? ["nothing is released yet"] : [`version ${version}, ${model}`];
  if (canary) parts.push(`${canary.mode} ${canary.version} at ${canary.percent} %`);
  const text = parts.join(" · ");
  if (now.textContent !== text) now.replaceChildren(h("span", { class: `light ${kind}`, "aria-hidden": "true" }), text);
  now.firstChild.setAttribute("class", `light ${kind}`);
}

/** Says what went wrong, or well; an empty text takes it away. */
function tell(text, kind = "bad") {
  if (problem.textContent === text) return;
  problem.dataset.kind = kind;
  problem.replaceChildren(...(text ? [h("p", { class: `notice ${kind}` }, text)] : []));
}

/** The server refuses who has no token, or a wrong one. Who has said no is not asked each time. */
function wantToken(why) {
  tokenButton.classList.add("wanted");
  if (!asking) changeToken(`${why[0].toUpperCase()}${why.slice(1)}.`);
}

async function changeToken(why) {
  asking = true;
  const given = await askToken(why, server.token);
  if (given === null) return;
  server.token = given;
  asking = false;
  learnt = false;
  tokenButton.classList.remove("wanted");
  tell("");
  await turn();
}

tokenButton.addEventListener("click", () => changeToken(
  "A token lets you see what the server tells only to some; with the scope admin you may also promote, abort and roll back."));
window.addEventListener("hashchange", () => {
  open();
  if (learnt && state) Promise.resolve(current.refresh?.(state)).catch((error) => tell(error.message));
});
document.querySelector(".skip").addEventListener("click", (event) => {
  event.preventDefault(); // the address names the section
  main.focus();
});
open();
follow();
