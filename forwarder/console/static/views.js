// Which of the four views is shown: the part of the address after `#`, with parameters as in `#tap?integration=crm-prod`.

import { find, setText } from "./dom.js";

const NAMES = ["integrations", "dead-letters", "tap", "books"];
const listeners = [];

function address() {
  const [name, query] = location.hash.slice(1).split("?");
  return { name: NAMES.includes(name) ? name : NAMES[0], parameters: new URLSearchParams(query) };
}

export const isShown = (name) => address().name === name;

/** Called with the parameters whenever the view is entered. */
export function onShown(name, listener) {
  listeners.push([name, listener]);
}

function showView() {
  const { name, parameters } = address();
  for (const each of NAMES) find(`#${each}`).hidden = each !== name;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#${name}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  document.title = `${find(`#${name} h1`).textContent} · Forwarder`;
  for (const [wanted, listener] of listeners) if (wanted === name) listener(parameters);
}

/** Show what the address asks for, now and whenever it changes. */
export function startViews() {
  addEventListener("hashchange", () => {
    if (location.hash === "#main") return; // the skip link
    showView();
    find("main").focus({ preventScroll: true });
    scrollTo(0, 0);
  });
  showView();
}

let clearing;

/** Say in passing that something was done; a screen reader says it, too. */
export function notice(text) {
  clearTimeout(clearing);
  setText(find("#notice"), text);
  clearing = setTimeout(() => setText(find("#notice"), ""), 6000);
}
