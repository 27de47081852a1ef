// The dialog in which an integration is added or changed.

import { call } from "./api.js";
import { regions, topics, TYPE } from "./catalogue.js";
import { daemon, onLook } from "./daemon.js";
import { find, make, parts, setText, show } from "./dom.js";
import { TopicPicker } from "./topic-picker.js";
import { validate } from "./validation.js";
import { notice } from "./views.js";

const IDENTITY = ["awsAccountId", "awsAccountRegion", "eventSourceSuffix"];
const LABELS = {
  name: "Name",
  notes: "Notes",
  awsAccountId: "AWS account ID",
  awsAccountRegion: "AWS Region",
  eventSourceSuffix: "Event source suffix",
  eventFilter: "Topics",
};
const RATES_MS = 2000;
const DEFAULT_NAME = "Amazon EventBridge Source";

const path = (id) => `api/v2/integrations/${encodeURIComponent(id)}`;

/** What the form shows of a configuration, and back. */
const valuesOf = ({ name, notes, properties }) => ({
  name,
  notes: notes ?? "",
  awsAccountId: properties.awsAccountId ?? "",
  awsAccountRegion: properties.awsAccountRegion ?? "",
  eventSourceSuffix: properties.eventSourceSuffix ?? "",
  eventFilter: properties.eventFilter ?? [],
});

const configurationOf = ({ name, notes, ...properties }, version) => ({
  name,
  notes,
  version,
  properties,
  advanced: {},
  credentials: {},
});

const EMPTY = valuesOf({ name: DEFAULT_NAME, properties: {} });

const same = (one, other) => JSON.stringify(one) === JSON.stringify(other);

class Editor {
  #dialog = find("#editor");
  #part = parts(this.#dialog);
  #form = find("form", this.#dialog);
  #picker = new TopicPicker(this.#part, this.#dialog, () => this.#check());
  #regions = [];
  #touched = new Set();
  /** `saved` are the values that the daemon has; what is not `enabled` may be a draft; what `runs` can be deactivated. */
  #editing = null;
  #afterSave = null;

  constructor() {
    setInterval(() => this.#dialog.open && this.#lookAtRates(), RATES_MS);
    this.#form.addEventListener("input", (event) => {
      this.#touched.add(event.target.name);
      this.#check();
    });
    this.#form.addEventListener("submit", (event) => {
      event.preventDefault();
      this.#save();
    });
    this.#part.cancel.addEventListener("click", () => this.#dialog.close());
    this.#part.close.addEventListener("click", () => this.#dialog.close());
    this.#dialog.addEventListener("close", () => this.#abandon());
    onLook(() => this.#dialog.open && this.#check());
  }

  /** Open for an integration of `/api/status`, or for a new one where it is null. */
  async open(integration, afterSave) {
    this.#afterSave = afterSave;
    try {
      const [known, all, current] = await Promise.all([
        regions(),
        topics(),
        integration && call("GET", `${path(integration.id)}/config/current`),
      ]);
      this.#regions = known;
      this.#edit(integration, current);
      find("#regions-list").replaceChildren(...known.map((value) => make("option", { value })));
      setText(find("#editor-title"), integration ? `Edit ${integration.name}` : "Add integration");
      this.#dialog.showModal();
      this.#picker.open(all);
      this.#lookAtRates();
      find("#f-name").select();
    } catch (error) {
      notice(error.message);
    }
  }

  async #lookAtRates() {
    const answer = await call("GET", "api/topics/rates").catch(() => null);
    if (answer) this.#picker.rates = answer.rates;
  }

  #edit(integration, current) {
    this.#editing = {
      id: integration?.id ?? null,
      version: current?.version ?? null,
      saved: current ? valuesOf(current) : EMPTY,
      enabled: integration?.intended_state === "ENABLED",
      runs: Boolean(integration?.takes_events) && integration.state !== "ACTIVATING",
      isNew: integration === null,
    };
    this.#fill(this.#editing.saved);
  }

  #fill(values) {
    for (const name of ["name", "notes", ...IDENTITY]) this.#form.elements[name].value = values[name];
    this.#picker.chosen = values.eventFilter;
    this.#touched.clear();
    show(this.#part.failure, false);
    show(this.#part.conflict, false);
    this.#check();
  }

  get #values() {
    const field = (name) => this.#form.elements[name].value;
    return {
      name: field("name").trim(),
      notes: field("notes"),
      ...Object.fromEntries(IDENTITY.map((name) => [name, field(name).trim()])),
      eventFilter: this.#picker.chosen,
    };
  }

  /** Say what is wrong at the fields that were touched, and what saving will do. Gives the problems of all fields. */
  #check() {
    const { enabled, runs, saved, id } = this.#editing;
    const values = this.#values;
    const others = daemon.status.integrations.filter((each) => each.id !== id && each.intended_state === "ENABLED");
    const problems = validate(values, {
      regions: new Set(this.#regions),
      enabled,
      activeSuffixes: new Map(others.map((each) => [each.event_source_suffix, each.id])),
    });
    for (const name of Object.keys(LABELS)) if (this.#touched.has(name)) this.#complain(name, problems[name] ?? "");
    setText(this.#part.preview, daemon.session.event_source_prefix + (values.eventSourceSuffix || "…"));
    const deactivates = runs && IDENTITY.some((name) => values[name] !== saved[name]);
    show(this.#part.identity, deactivates);
    if (deactivates) setText(this.#part.identity, whatFollows(saved, values));
    setText(this.#part.save, deactivates ? "Save and deactivate" : "Save");
    return problems;
  }

  #complain(name, text) {
    setText(find(`#e-${name}`), text);
    const field = find(`#f-${name === "eventFilter" ? "topic" : name}`);
    if (text) field.setAttribute("aria-invalid", "true");
    else field.removeAttribute("aria-invalid");
  }

  #complainAll(problems) {
    for (const name of Object.keys(LABELS)) this.#complain(name, problems[name] ?? "");
    const first = this.#form.querySelector('[aria-invalid="true"]');
    first?.focus();
    return first !== null;
  }

  async #save() {
    for (const name of Object.keys(LABELS)) this.#touched.add(name);
    if (this.#complainAll(this.#check())) return;
    show(this.#part.failure, false);
    this.#part.save.disabled = true;
    try {
      await this.#write();
      const { id, isNew } = this.#editing;
      this.#editing.isNew = false;
      this.#dialog.close();
      this.#afterSave(id, isNew);
    } catch (error) {
      await this.#explain(error);
    } finally {
      this.#part.save.disabled = false;
    }
  }

  async #write() {
    const editing = this.#editing;
    const values = this.#values;
    if (editing.id === null) {
      const made = await call("POST", "api/v2/integrations", { name: values.name, integrationType: { id: TYPE } });
      Object.assign(editing, { id: made.id, version: made.config.current.version });
    }
    await call("PUT", `${path(editing.id)}/config/current`, configurationOf(values, editing.version));
  }

  async #explain(error) {
    const problems = {};
    for (const { fieldName, message } of error.details ?? []) {
      const name = fieldName?.split(".").at(-1);
      if (name in LABELS) problems[name] ??= message;
    }
    if (this.#complainAll(problems)) return;
    if (error.code === "version.conflict" && (await this.#showConflict())) return;
    setText(this.#part.failure, error.message);
    show(this.#part.failure, true);
  }

  /** Somebody saved in between: show what differs, and let the admin choose. False if it cannot be found out. */
  async #showConflict() {
    const current = await call("GET", `${path(this.#editing.id)}/config/current`).catch(() => null);
    if (current === null) return false;
    const theirs = valuesOf(current);
    const mine = this.#values;
    const rows = Object.keys(LABELS)
      .filter((name) => !same(theirs[name], mine[name]))
      .map((name) => make("tr", {}, make("th", { scope: "row" }, LABELS[name]), cell(mine[name]), cell(theirs[name])));
    const decide = (values) => () => {
      Object.assign(this.#editing, { version: current.version, saved: theirs });
      this.#fill(values);
      find("#f-name").focus();
    };
    const heads = ["", "here", "saved meanwhile"].map((text) => make("th", { scope: "col" }, text));
    this.#part.conflict.replaceChildren(
      make("b", {}, "This integration was changed while you were editing it."),
      make("table", {}, make("thead", {}, make("tr", {}, ...heads)), make("tbody", {}, ...rows)),
      make(
        "div",
        {},
        make("button", { type: "button", onclick: decide(theirs) }, "Load what was saved"),
        make("button", { type: "button", onclick: decide(mine) }, "Keep what is here"),
      ),
    );
    show(this.#part.conflict, true);
    find("button", this.#part.conflict).focus();
    return true;
  }

  /** Closed without saving: an integration that was made and could not be configured is not left behind. */
  async #abandon() {
    const { isNew, id } = this.#editing;
    if (isNew && id !== null) await call("DELETE", path(id)).catch((error) => notice(error.message));
  }
}

const cell = (value) => make("td", { class: "mono" }, [value].flat().join(", ") || "–");

const whatFollows = (saved, values) =>
  "Saving deactivates this integration until you activate it again. Activation then deletes the event source " +
  `${saved.eventSourceSuffix} in account ${saved.awsAccountId}, ${saved.awsAccountRegion}, and creates ` +
  `${values.eventSourceSuffix || "…"} in account ${values.awsAccountId || "…"}, ${values.awsAccountRegion || "…"}. ` +
  "What is still pending for the old one goes to the dead letters.";

let editor = null;

/** Add (null) or edit an integration. `afterSave(id, isNew)` is called when it is saved. */
export function openEditor(integration, afterSave) {
  editor ??= new Editor();
  return editor.open(integration, afterSave);
}
