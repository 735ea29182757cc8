// Links to pages that lie in the store: opened where anybody may read them, fetched with the token where not.

import { h } from "./dom.js";
import { Refused } from "./server.js";

const OWN = /^\/?(reports|monitoring)\/[^?#\\]+$/;

/** A link to a report of the server's; nothing where there is none, or where it would lead elsewhere. */
export function report(page, path, label, text = "Report") {
  if (!path || !OWN.test(path)) return null;
  const where = path.replace(/^\//, "");
  if (!page.server.tokens) return h("a", { href: where, target: "_blank", rel: "noopener", "aria-label": `${text}: ${label}` }, text);
  // A link cannot carry the token, and what a script opens would have this page's policy, which a report cannot live by.
  return h("button", { type: "button", class: "quiet small", "aria-label": `Download: ${label}`, onclick: () => download(page, where) }, "Download");
}

async function download(page, where) {
  try {
    const address = URL.createObjectURL(await page.server.file(where));
    h("a", { href: address, download: `${where.replaceAll("/", "-").replace(/\.html$/, "")}.html` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
  } catch (error) {
    if (!(error instanceof Refused)) throw error;
    page.refused(error.message);
  }
}
