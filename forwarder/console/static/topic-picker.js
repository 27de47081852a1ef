// Chooses topic filters: search the catalogue and tick, or write a filter; what is chosen stands above as chips.

import { find, make, setText } from "./dom.js";
import { plural, rate } from "./format.js";
import { filterFault } from "./validation.js";

/** `part` are the editor's elements; `onChange` is called whenever the choice differs. */
export class TopicPicker {
  #part;
  #input;
  #error;
  #onChange;
  #topics = [];
  #rates = {};
  #chosen = [];
  #rows = new Map();

  constructor(part, dialog, onChange) {
    this.#part = part;
    this.#input = find("#f-topic", dialog);
    this.#error = find("#e-eventFilter", dialog);
    this.#onChange = onChange;
    this.#input.addEventListener("input", () => this.#search());
    this.#input.addEventListener("keydown", (event) => {
      if (event.key === "Enter") {
        event.preventDefault(); // the form is not meant
        this.#addTyped();
      } else this.#walk(event);
    });
    part["topic-list"].addEventListener("keydown", (event) => this.#walk(event));
    part["topic-list"].addEventListener("focusin", (event) => this.#stopAt(event.target));
    part["add-topic"].addEventListener("click", () => this.#addTyped());
  }

  get chosen() {
    return [...this.#chosen];
  }

  set chosen(filters) {
    this.#chosen = [...filters];
    this.#showChosen();
  }

  /** Fill the list anew. */
  open(topics) {
    this.#topics = topics;
    this.#input.value = "";
    this.#rows = new Map(topics.map((topic) => [topic, this.#row(topic)]));
    this.#part["topic-list"].replaceChildren(...[...this.#rows.values()].map((row) => row.element));
    this.#part["topic-list"].scrollTop = 0;
    this.#search();
    this.#showChosen();
  }

  /** Events a second by template, as far as they are known. */
  set rates(rates) {
    this.#rates = rates;
    for (const [topic, row] of this.#rows) setText(row.rate, this.#rates[topic] ? `${rate(this.#rates[topic])} /s` : "");
  }

  #row(topic) {
    const tick = make("input", { type: "checkbox", onchange: () => (tick.checked ? this.#choose(topic) : this.#drop(topic)) });
    const often = make("small");
    return { element: make("li", {}, make("label", {}, tick, make("span", { class: "mono" }, topic), often)), tick, rate: often };
  }

  /** Arrow keys go through the list; for the Tab key it is one stop and not two hundred. */
  #walk(event) {
    const step = { ArrowDown: 1, ArrowUp: -1 }[event.key];
    if (!step) return;
    const ticks = this.#ticks;
    const place = ticks.indexOf(event.target) + step;
    event.preventDefault();
    (place < 0 ? this.#input : ticks[Math.min(place, ticks.length - 1)])?.focus();
  }

  get #ticks() {
    return [...this.#rows.values()].filter((row) => !row.element.hidden).map((row) => row.tick);
  }

  #stopAt(tick) {
    for (const row of this.#rows.values()) row.tick.tabIndex = row.tick === tick ? 0 : -1;
  }

  #search() {
    const text = this.#input.value.trim();
    const words = text.toLowerCase().split(/\s+/);
    let found = 0;
    for (const [topic, row] of this.#rows) {
      const visible = words.every((word) => topic.toLowerCase().includes(word));
      row.element.hidden = !visible;
      found += visible;
    }
    setText(this.#error, "");
    this.#input.removeAttribute("aria-invalid");
    const unknown = found === 0 && text ? "No topic of the catalogue; press Enter to add it as a filter." : "";
    setText(this.#part["topic-note"], text ? unknown || `${found} of ${plural(this.#topics.length, "topic")}` : "");
    this.#part["topic-list"].hidden = found === 0;
    this.#stopAt(this.#ticks[0]);
  }

  #addTyped() {
    const text = this.#input.value.trim();
    if (!text) return;
    const visible = [...this.#rows].filter(([, row]) => !row.element.hidden).map(([topic]) => topic);
    const filter = visible.length === 1 && !text.includes(".") ? visible[0] : text;
    const fault = filterFault(filter);
    setText(this.#error, fault ?? "");
    if (fault) return this.#input.setAttribute("aria-invalid", "true");
    this.#choose(filter);
    this.#input.value = "";
    this.#search();
  }

  #choose(filter) {
    if (!this.#chosen.includes(filter)) this.#chosen.push(filter);
    this.#showChosen();
    this.#onChange();
  }

  #drop(filter) {
    this.#chosen = this.#chosen.filter((each) => each !== filter);
    this.#showChosen();
    this.#onChange();
  }

  #showChosen() {
    for (const [topic, row] of this.#rows) row.tick.checked = this.#chosen.includes(topic);
    this.#part.chips.replaceChildren(...this.#chosen.map((filter) => this.#chip(filter)));
    const none = "No topic is chosen: no event will be sent.";
    setText(this.#part["chosen-note"], this.#chosen.length ? `${plural(this.#chosen.length, "topic")} chosen` : none);
  }

  #chip(filter) {
    const drop = () => {
      const place = this.#chosen.indexOf(filter);
      this.#drop(filter);
      const buttons = this.#part.chips.querySelectorAll("button");
      (buttons[Math.min(place, buttons.length - 1)] ?? this.#input).focus();
    };
    return make(
      "li",
      { class: "chip mono" },
      filter,
      make("button", { type: "button", class: "icon", "aria-label": `Remove ${filter}`, onclick: drop }, "✕"),
    );
  }
}
