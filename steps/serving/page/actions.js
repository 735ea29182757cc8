// What may be done about what is live: offered to who may, told as commands to everybody else.

import { command, h } from "./dom.js";
import { confirm } from "./dialogs.js";
import { Refused } from "./server.js";

const FOLLOWED = "every server follows within seconds";

/** Promote or take back the canary. */
export function ofCanary(page, canary) {
  if (!may(page, "/promote")) return instead(page, "python -m steps.model_publish --promote", "python -m steps.model_publish --abort 'why'");
  const who = `Version ${canary.version}`;
  return h("p", { class: "buttons" },
    act("Promote …", () => sure(page, "promote", {
      title: `Make version ${canary.version} live for everybody?`,
      text: `${who} is seen by ${canary.percent} % of the customers now, and would replace version ${canary.base} for all of them.`,
      button: "Promote", body: { version: canary.version }, done: `${who} goes live; ${FOLLOWED}.`,
    })),
    act("Abort …", () => sure(page, "abort", {
      title: `Take version ${canary.version} back?`,
      text: `All customers get version ${canary.base} again. The trial is over; its version is not used again.`,
      button: "Abort", body: { version: canary.version }, done: `${who} is taken back; ${FOLLOWED}.`, reason: true,
    })));
}

/** Whether this person may go back to an earlier release, and if not, how it is done. */
export function ofReleases(page) {
  return may(page, "/rollback") ? null : instead(page, "python -m steps.model_publish --rollback", "python -m steps.model_publish --rollback 1 --reason 'why'");
}

/** Go back to an earlier release. */
export function ofRelease(page, live, one) {
  if (!may(page, "/rollback") || one.what !== "released") return null;
  return h("button", { type: "button", class: "quiet small", "aria-label": `Go back …: to version ${one.version}`, onclick: () => sure(page, "rollback", {
    title: `Go back to version ${one.version}?`,
    text: `The model of version ${one.version} (${one.model}) is released again, under a new version, in place of version ${live.version} (${live.model}).`,
    button: "Go back", body: { version: one.version, live: live.version }, done: `The model of version ${one.version} is live again; ${FOLLOWED}.`, reason: true,
  }) }, "Go back …");
}

function may(page, path) {
  return page.server.may.includes("admin") && page.server.has(path, "post");
}

function act(text, onclick) {
  return h("button", { type: "button", class: "act", onclick }, text);
}

async function sure(page, path, { done, body = {}, ...question }) {
  const answer = await confirm(question);
  if (!answer) return;
  try {
    await page.server.post(path, question.reason ? { ...body, reason: answer.reason } : body);
    page.said(done);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    page.refused(error.message);
  }
  await page.again();
}

function instead(page, ...commands) {
  const why = page.server.tokens
    ? "A token of the scope admin lets you do this here. By hand:"
    : "This page is read-only, for the server was started without tokens (API_TOKENS=read+admin=…). By hand:";
  return h("details", { class: "by-hand" }, h("summary", {}, "What can be done"), h("p", { class: "soft" }, why), commands.map(command));
}
