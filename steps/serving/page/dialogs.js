// The two questions that the page asks: for a token, and whether somebody is sure.

const token = document.getElementById("ask-token");
const sure = document.getElementById("confirm");

for (const dialog of [token, sure]) {
  for (const button of dialog.querySelectorAll("button[type=button]")) {
    button.addEventListener("click", () => dialog.close(button.value));
  }
}

/** Resolves to the token that was entered, "" to forget it, null where nothing is to change. */
export function askToken(why, known) {
  const input = document.getElementById("token-input");
  document.getElementById("ask-token-why").textContent = why;
  token.querySelector("[value=forget]").hidden = !known;
  input.value = "";
  return asked(token).then((answer) => {
    const given = input.value.trim();
    input.value = "";
    if (answer === "forget") return "";
    return answer === "use" && given ? given : null;
  });
}

/** Resolves to `{ reason }`, or to null. */
export function confirm({ title, text, button, reason = false }) {
  const input = document.getElementById("reason-input"), act = sure.querySelector("[value=do]");
  document.getElementById("confirm-title").textContent = title;
  document.getElementById("confirm-text").textContent = text;
  document.getElementById("confirm-reason").hidden = !reason;
  input.required = reason;
  input.value = "";
  act.textContent = button;
  return asked(sure).then((answer) => (answer === "do" ? { reason: input.value.trim() } : null));
}

function asked(dialog) {
  return new Promise((resolve) => {
    if (dialog.open) return resolve("cancel");
    dialog.returnValue = "";
    dialog.addEventListener("close", () => resolve(dialog.returnValue), { once: true });
    return dialog.showModal();
  });
}
