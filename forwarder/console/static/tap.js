// The live tap: a bounded list of what passes now. It must keep up with thousands of events a second without the page
// noticing: what comes is put into a short queue, and the queue into the list a few times a second.

import { ApiError, serverSentEvents } from "./api.js";
import { topics } from "./catalogue.js";
import { onLook } from "./daemon.js";
import { find, setText, show } from "./dom.js";
import { eventRow } from "./event-row.js";
import { offerIntegrations } from "./filters.js";
import { count, dateTime } from "./format.js";
import { onShown } from "./views.js";

const KEPT = 200;
const SHOW_MS = 250;

class Tap {
  #form = find("#tap-filter");
  #list = find("#tap-list");
  #stop = null;
  #open = false;
  #waiting = [];
  #seen = 0;
  #passed = 0;

  constructor() {
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      if (this.#stop) this.#stop.abort();
      else this.#run();
    });
    find("#tap-clear").addEventListener("click", () => this.#clear());
    setInterval(() => this.#show(), SHOW_MS);
  }

  #clear() {
    this.#waiting = [];
    this.#seen = this.#passed = 0;
    this.#list.replaceChildren();
    show(find("#no-tap"), true);
    this.#tell();
  }

  /** Whether somebody is reading: then the list stays as it is. */
  get #paused() {
    return this.#list.matches(":hover") || this.#list.contains(document.activeElement);
  }

  async #run() {
    this.#clear();
    const query = new URLSearchParams([...new FormData(this.#form)].filter(([, value]) => value.trim() !== ""));
    const stop = (this.#stop = new AbortController());
    this.#tell();
    let ended = "Stopped";
    try {
      const opened = () => (this.#open = true);
      for await (const { event, data } of serverSentEvents(`api/tap?${query}`, { signal: stop.signal, opened })) {
        this.#take(event, data);
      }
      ended = "The daemon ended the tap";
    } catch (error) {
      if (!stop.signal.aborted) ended = error instanceof ApiError ? error.message : "The connection to the daemon was lost";
    }
    this.#stop = null;
    this.#open = false;
    this.#tell(ended);
  }

  #take(event, data) {
    if (event === "dropped") this.#passed += JSON.parse(data).count;
    if (event !== "event") return;
    this.#seen += 1;
    this.#waiting.push(data);
    if (this.#waiting.length > KEPT) this.#waiting.shift();
  }

  #show() {
    if (!this.#stop) return;
    this.#tell();
    if (this.#paused || this.#waiting.length === 0) return;
    const rows = this.#waiting.map((data) => tapped(JSON.parse(data))).reverse();
    this.#waiting = [];
    this.#list.prepend(...rows);
    while (this.#list.children.length > KEPT) this.#list.lastElementChild.remove();
    show(find("#no-tap"), false);
  }

  #tell(ended = "Stopped") {
    const passed = this.#passed ? `, ${count(this.#passed)} not shown` : "";
    const running = this.#paused && this.#waiting.length ? `Paused while you look, ${count(this.#waiting.length)} new` : this.#open ? "Watching" : "Connecting";
    setText(find("#tap-count"), `${this.#stop ? running : ended} · ${count(this.#seen)} seen${passed}`);
    setText(find("#tap-start"), this.#stop ? "Stop" : "Start");
    for (const field of ["integration", "topic"]) this.#form.elements[field].disabled = Boolean(this.#stop);
  }
}

function tapped(event) {
  return eventRow({
    topic: event.topic,
    integration: event.integration,
    at: event.received_at,
    facts: [
      ["Detail type", event.detail_type],
      ["Event's own time", dateTime(event.time)],
      ["Received", dateTime(event.received_at)],
      ["Event id", event.id],
    ],
    body: event.detail,
  }).element;
}

export function startTap() {
  new Tap();
  const { integration } = find("#tap-filter").elements;
  onLook(() => offerIntegrations(integration));
  onShown("tap", (parameters) => {
    offerIntegrations(integration, parameters.get("integration"));
    topics().catch(() => {}); // without them the field only suggests nothing
  });
}
