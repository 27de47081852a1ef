// One event in a list: a line that opens to its facts and its body.

import { make, setText, show, stamp } from "./dom.js";
import { dateTime } from "./format.js";
import { prettyJson } from "./pretty.js";

const clock = new Intl.DateTimeFormat(undefined, { timeStyle: "medium" });

/**
 * `event` is `{topic, integration, at, reason, facts, body}`: `facts` are pairs of texts, `at` is in epoch seconds.
 * `body` is the JSON text, or an async function that fetches it when the row is first opened.
 */
export function eventRow(event) {
  const { element, parts: part } = stamp("event-row");
  setText(part.topic, event.topic);
  setText(part.integration, event.integration);
  setText(part.reason, event.reason ?? "");
  show(part.reason, Boolean(event.reason));
  setText(part.time, event.reason ? dateTime(event.at) : clock.format(event.at * 1000));
  part.time.dateTime = new Date(event.at * 1000).toISOString();
  part.details.addEventListener("toggle", () => open(part, event), { once: true });
  return { element, part };
}

function open(part, event) {
  part.facts.replaceChildren(
    ...event.facts.map(([name, text]) => make("div", {}, make("dt", {}, name), make("dd", {}, text))),
  );
  const pick = (form) => {
    for (const each of ["pretty", "raw"]) part[each].setAttribute("aria-pressed", String(each === form));
    const shown = form === "pretty" ? prettyJson(event.body) : make("pre", { class: "json", tabindex: "0" }, event.body);
    part.body.replaceChildren(shown);
  };
  part.pretty.addEventListener("click", () => pick("pretty"));
  part.raw.addEventListener("click", () => pick("raw"));
  pick("pretty");
}
