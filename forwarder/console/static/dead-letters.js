// Dead letters: what could never be delivered, why, and what to do with it.

import { call } from "./api.js";
import { lookNow, onLook } from "./daemon.js";
import { confirm } from "./dialogs.js";
import { find, setText, show } from "./dom.js";
import { eventRow } from "./event-row.js";
import { offerIntegrations } from "./filters.js";
import { count, dateTime, plural } from "./format.js";
import { notice, onShown } from "./views.js";

const PAGE = 50;
const REASONS = ["oversize", "invalid_entry", "refused", "source_replaced", "integration_deleted", "unreadable"];

const form = () => find("#dead-letters-filter");

/** What the filters say, without those that say nothing. */
function wantedNow() {
  const wanted = Object.fromEntries([...new FormData(form())].filter(([, value]) => value !== ""));
  if (wanted.older_than) wanted.older_than = Number(wanted.older_than);
  return wanted;
}

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
    const query = new URLSearchParams({ ...wantedNow(), limit: PAGE });
    if (this.#next !== null) query.set("after", this.#next);
    try {
      const page = await call("GET", `api/dead-letters?${query}`);
      this.#next = page.next_after;
      for (const letter of page.dead_letters) this.#add(letter);
      this.#showCount();
    } catch (error) {
      notice(error.message);
    }
  }

  #showCount() {
    const shown = this.#rows.size;
    show(find("#dead-letters-more"), this.#next !== null);
    show(find("#no-dead-letters"), shown === 0);
    show(find("#dead-letters-actions"), shown > 0);
    setText(find("#dead-letters-count"), shown ? `${count(shown)}${this.#next === null ? "" : " and more"}, oldest first` : "");
  }

  #add({ id, integration, reason, code, message, attempts, dead_at: deadAt, event }) {
    const row = eventRow({
      topic: event.topic,
      integration,
      reason: reason.replaceAll("_", " "),
      at: deadAt,
      facts: [
        ["Why", message || reason.replaceAll("_", " ")],
        ["AWS error code", code || "–"],
        ["Attempts", String(attempts)],
        ["Received", dateTime(event.received_at)],
        ["Given up", dateTime(deadAt)],
        ["Detail type", event.detail_type],
        ["Event id", event.id],
      ],
      body: event.detail,
    });
    show(row.part.choose, true);
    row.part.choose.setAttribute("aria-label", `Select dead letter ${id}, ${event.topic}`);
    this.#rows.set(id, row);
    find("#dead-letters-list").append(row.element);
  }

  get #chosen() {
    return [...this.#rows].filter(([, { part }]) => part.choose.checked).map(([id]) => id);
  }

  /** Do it to those that are ticked, or to all that the filters mean. */
  async #act({ path, verb, body, danger, done }) {
    const ids = this.#chosen;
    const which = ids.length ? { ids } : { ...wantedNow(), all: true };
    const to = `api/dead-letters/${path}`;
    try {
      const [total] = Object.values(await call("POST", to, { ...which, dry_run: true }));
      const answer = await confirm({
        title: `${verb} ${ids.length ? "" : "all "}${plural(total, "dead letter")}?`,
        body,
        action: verb,
        danger,
        act: () => call("POST", to, which),
      });
      if (!answer) return;
      notice(`${plural(Object.values(answer)[0], "dead letter")} ${done}.`);
    } catch (error) {
      notice(error.message);
    }
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

export function startDeadLetters() {
  const deadLetters = new DeadLetters();
  const reason = form().elements.reason;
  onLook(() => offerIntegrations(form().elements.integration));
  onShown("dead-letters", (parameters) => {
    offerIntegrations(form().elements.integration, parameters.get("integration"));
    deadLetters.look();
  });
  for (const each of REASONS) reason.append(new Option(each.replaceAll("_", " "), each));
}
