// Dead letters: what could never be delivered, why, and what to do with it.

import { call } from "./api.js";
import { daemon, lookNow, onSession, mayWrite } from "./daemon.js";
import { confirm } from "./dialogs.js";
import { find, make, setText, show } from "./dom.js";
import { eventRow } from "./event-row.js";
import { count, dateTime, plural } from "./format.js";
import { notice, onShown } from "./views.js";

const PAGE = 50;

const form = () => find("#dead-letters-filter");

/** What the filters say, without those that say nothing. */
const wanted = () => Object.fromEntries([...new FormData(form())].filter(([, value]) => value !== ""));

class DeadLetters {
  #rows = new Map();
  #next = null;

  constructor() {
    form().addEventListener("submit", (event) => {
      event.preventDefault();
      this.look();
    });
    form().addEventListener("change", () => this.look());
    find("#dead-letters-more").addEventListener("click", () => this.#more());
    find("#dead-letters-all").addEventListener("change", (event) => {
      for (const { part } of this.#rows.values()) part.choose.checked = event.target.checked;
    });
    find("#redrive").addEventListener("click", () => this.#act(REDRIVE));
    find("#purge").addEventListener("click", () => this.#act(PURGE));
  }

  /** Show the list anew, of what the filters say. */
  async look() {
    this.#rows.clear();
    this.#next = null;
    find("#dead-letters-all").checked = false;
    find("#dead-letters-list").replaceChildren();
    await this.#more();
  }

  async #more() {
    const query = new URLSearchParams({ ...wanted(), limit: PAGE });
    if (this.#next !== null) query.set("after", this.#next);
    try {
      const page = await call("GET", `api/dead-letters?${query}`);
      this.#next = page.next ?? null;
      for (const letter of page.entities) this.#add(letter);
      show(find("#dead-letters-more"), this.#next !== null);
      show(find("#no-dead-letters"), this.#rows.size === 0);
      setText(find("#dead-letters-count"), this.#rows.size ? `${count(this.#rows.size)}${this.#next ? " and more" : ""}` : "");
    } catch (error) {
      notice(error.message);
    }
  }

  #add(letter) {
    const row = eventRow({
      topic: letter.topic,
      integration: letter.integration_id,
      reason: letter.reason.replaceAll("_", " "),
      at: letter.dead_at,
      facts: [
        ["Why", letter.message || letter.reason],
        ["AWS error code", letter.code || "–"],
        ["Attempts", String(letter.attempts)],
        ["Received", dateTime(letter.received_at)],
        ["Given up", dateTime(letter.dead_at)],
        ["Event id", letter.event_id],
      ],
      body: letter.detail,
    });
    show(row.part.choose, true);
    row.part.choose.setAttribute("aria-label", `Select ${letter.topic}, number ${letter.id}`);
    this.#rows.set(letter.id, row);
    find("#dead-letters-list").append(row.element);
  }

  get #chosen() {
    return [...this.#rows].filter(([, { part }]) => part.choose.checked).map(([id]) => id);
  }

  /** On those that are ticked, or on all that the filters mean. */
  async #act({ verb, path, body, danger, done }) {
    const ids = this.#chosen;
    const which = ids.length ? { ids } : wanted();
    const those = ids.length ? plural(ids.length, "selected dead letter") : `all dead letters${Object.keys(which).length ? " that the filters mean" : ""}`;
    const answer = await confirm({
      title: `${verb} ${those}?`,
      body,
      action: verb,
      danger,
      act: () => call("POST", `api/dead-letters/${path}`, which),
    });
    if (!answer) return;
    notice(`${plural(answer.count, "dead letter")} ${done}.`);
    await Promise.all([this.look(), lookNow()]);
  }
}

const REDRIVE = {
  verb: "Send again",
  path: "redrive",
  body: ["They go back to their integrations and are sent as soon as these are active. What fails again comes back here."],
  danger: false,
  done: "sent again",
};
const PURGE = {
  verb: "Delete",
  path: "purge",
  body: ["They are deleted for good, with their bodies. The books go on counting them as dead-lettered."],
  danger: true,
  done: "deleted",
};
