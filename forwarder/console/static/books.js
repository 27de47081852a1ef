// The books: what came in, what became of it, and whether it adds up.

import { daemon, onLook } from "./daemon.js";
import { find, make, reconcile, setText } from "./dom.js";
import { bytes, dateTime, duration, exact, plural } from "./format.js";
import { isShown, onShown } from "./views.js";

const sum = (reasons) => Object.values(reasons).reduce((total, each) => total + each, 0);

const intakeAddends = (books) => [books.malformed, books.unmatched, books.matched];
const laneAddends = (books) => [books.delivered, sum(books.dead_lettered), books.expired, books.pending];

/** `[what must be, what it is made of]`, for every line of the books. */
export function lines(books) {
  return [
    ...Object.entries(books.intakes).map(([id, each]) => ({ id, whole: each.received, addends: intakeAddends(each) })),
    ...Object.entries(books.integrations).sort().map(([id, each]) => ({ id, whole: each.matched, addends: laneAddends(each) })),
  ];
}

/** Pending is what is left of the rest: nothing may ever be less than nothing. */
export const balances = ({ whole, addends }) =>
  addends.every((each) => each >= 0) && addends.reduce((total, each) => total + each, 0) === whole;

/** Keeps a table's body in line with rows of texts; the first text is the row's heading. */
function table(selector) {
  const body = find(`${selector} tbody`);
  const views = new Map();
  const create = (row) => {
    const cells = row.map((_, place) => make(place ? "td" : "th", place ? {} : { scope: "row" }));
    return {
      element: make("tr", {}, ...cells),
      update: (texts) => texts.forEach((text, place) => setText(cells[place], text)),
    };
  };
  return (rows) => reconcile(body, views, rows, (row) => row[0], create);
}

function facts(selector) {
  const list = find(selector);
  const views = new Map();
  const create = ([name]) => {
    const value = make("dd");
    return { element: make("div", {}, make("dt", {}, name), value), update: ([, text]) => setText(value, text) };
  };
  return (pairs) => reconcile(list, views, pairs.filter(([, text]) => text !== null), ([name]) => name, create);
}

const row = (line) => [line.id, exact(line.whole), ...line.addends.map(exact), balances(line) ? "✓ balances" : "✗ does not balance"];

export function startBooks() {
  const intakeBooks = table("#intake-books");
  const laneBooks = table("#lane-books");
  const regions = table("#regions");
  const intakeFacts = facts("#intake-facts");
  const spoolFacts = facts("#spool-facts");
  const reloadFacts = facts("#reload-facts");
  const problems = new Map();

  function update() {
    if (!daemon.status || !isShown("books")) return;
    const { status } = daemon;
    const { books, intake, spool, reload, now } = status;
    intakeFacts([
      ["Connection", intake.connected ? intake.detail || "connected" : `not connected: ${intake.detail}`],
      ["Last message", intake.last_message_at ? `${duration(now - intake.last_message_at)} ago` : "none yet"],
      ["Reconnected", plural(intake.reconnects, "time")],
      ["Disconnected without replay", intake.lost_seconds ? duration(intake.lost_seconds) : null],
      ["Trouble", intake.trouble],
    ]);
    intakeBooks(lines({ intakes: books.intakes, integrations: {} }).map(row));
    laneBooks(lines({ intakes: {}, integrations: books.integrations }).map(row));
    const meter = find("#spool-meter");
    Object.assign(meter, { max: spool.bytes_limit, high: spool.bytes_limit * 0.8, optimum: 0, value: spool.bytes_used });
    spoolFacts([
      ["In use", `${bytes(spool.bytes_used)} of ${bytes(spool.bytes_limit)}`],
      ["Oldest waiting", spool.oldest_seconds === null ? "nothing waits" : duration(spool.oldest_seconds)],
      ["State", spool.full ? "full: the intake waits" : "takes events"],
    ]);
    regions(Object.entries(status.regions).map(([name, each]) => [name, each.in_flight, each.limit, exact(each.throttles)].map(String)));
    reloadFacts([
      ["Last look", reload.successful ? "all files are right" : "something is wrong"],
      ["Last right", reload.last_success_at ? dateTime(reload.last_success_at) : "never"],
    ]);
    reconcile(find("#problems"), problems, reload.problems, JSON.stringify, problemItem);
  }

  onLook(update);
  onShown("books", update);
}

function problemItem(problem) {
  const place = [problem.source, problem.line].filter(Boolean).join(":");
  const element = make(
    "li",
    {},
    make("span", { class: "mono" }, [place, problem.key].filter(Boolean).join(": ")),
    make("p", {}, problem.message, problem.hint ? make("span", { class: "muted" }, ` ${problem.hint}`) : ""),
  );
  return { element, update() {} };
}
