// The small dialogs: confirm, delete by typing the name, sign in. <dialog> keeps the focus inside and gives it back.

import { token } from "./api.js";
import { lookAnew } from "./daemon.js";
import { find, make, parts, setText, show } from "./dom.js";

/**
 * Ask before something is done, then do it; the dialog stays open, with the reason, where it could not be done.
 * `typed` is a text that must be typed first. Gives what `act` gave, or null where the admin thought better of it.
 */
export function confirm({ title, body, action, danger = false, typed = null, act }) {
  const dialog = find("#confirm");
  const { typing, "typed-label": label, failure, cancel, go } = parts(dialog);
  const input = find("input", dialog);
  setText(find("h2", dialog), title);
  find("#confirm-body").replaceChildren(...[body].flat().map((text) => (text instanceof Node ? text : make("p", {}, text))));
  show(typing, typed !== null);
  label.replaceChildren("Type ", make("b", {}, typed ?? ""), " to confirm");
  show(failure, false);
  go.className = danger ? "danger solid" : "primary";
  setText(go, action);
  input.value = "";
  const ready = () => (go.disabled = typed !== null && input.value.trim() !== typed.trim());
  input.oninput = ready;
  ready();
  dialog.showModal();
  (typed === null ? go : input).focus();
  return new Promise((resolve) => {
    let result = null;
    cancel.onclick = () => dialog.close();
    dialog.onclose = () => resolve(result);
    find("form", dialog).onsubmit = async (event) => {
      event.preventDefault();
      if (go.disabled) return;
      go.disabled = true;
      try {
        result = (await act()) ?? true;
        dialog.close();
      } catch (error) {
        setText(failure, error.message);
        show(failure, true);
        ready();
      }
    };
  });
}

/** Ask for a token. `complaint` says what was wrong with the last one. */
export function signIn(complaint) {
  const dialog = find("#sign-in");
  if (!dialog.open) dialog.showModal();
  setText(find("#token-error"), complaint);
  find("form", dialog).onsubmit = async (event) => {
    event.preventDefault();
    const given = find("#token").value.trim();
    if (!given) return;
    token.set(given);
    find("#token").value = "";
    dialog.close();
    await lookAnew();
  };
}
