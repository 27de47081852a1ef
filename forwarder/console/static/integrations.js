// The integrations as cards: what each is doing, why, how fast, and what can be done about it.

import { call } from "./api.js";
import { balances, lines } from "./books.js";
import { daemon, lookNow, onLook } from "./daemon.js";
import { confirm } from "./dialogs.js";
import { find, make, parts, reconcile, setAttribute, setProse, setText, show, stamp } from "./dom.js";
import { openEditor } from "./editor.js";
import { bytes, count, duration, plural, rate } from "./format.js";
import { sparkline } from "./sparkline.js";
import { isShown, notice, onShown } from "./views.js";

const MAX_INTEGRATIONS = 10;

const path = (integration) => `api/v2/integrations/${encodeURIComponent(integration.id)}`;

const deadLetters = (books) => Object.values(books?.dead_lettered ?? {}).reduce((total, each) => total + each, 0);

/** How loud a card is: `pending` because AWS then accepts events and drops them; `trouble` is the lane's. */
function mood(integration, trouble) {
  if (integration.state === "ERROR") return "bad";
  if (integration.event_source?.state === "PENDING") return "pending";
  if (integration.state === "INACTIVE") return integration.intended_state === "ENABLED" ? "warn" : "off";
  return integration.state === "ACTIVE" && !trouble ? "good" : "warn";
}

const AWS_SAYS = {
  ACTIVE: "active in AWS",
  PENDING: "pending in AWS",
  DELETED: "deleted in AWS",
};

function create() {
  const { element, parts: part } = stamp("card");
  const draw = sparkline(part.plot);
  let integration;
  part.switch.addEventListener("click", () => toggle(integration));
  part.again.addEventListener("click", () => activate(integration));
  part.edit.addEventListener("click", () => openEditor(integration, afterSave));
  part.delete.addEventListener("click", () => remove(integration));
  part.copy.addEventListener("click", () => copy(integration.event_source_name));
  return {
    element,
    update(next) {
      integration = next;
      showIdentity(part, next, element);
      showNumbers(part, next);
      draw(daemon.history.lane(next.id).latencies, daemon.status.now);
    },
  };
}

function showIdentity(part, integration, element) {
  const trouble = daemon.status.lanes[integration.id]?.trouble;
  setAttribute(element, "data-mood", mood(integration, trouble));
  setText(part.name, integration.name);
  setText(part.id, integration.id);
  setText(part.state, integration.state.toLowerCase());
  setProse(part.reason, integration.reason);
  show(part.reason, !trouble || integration.state !== "ACTIVE" || integration.event_source?.state === "PENDING");
  setAttribute(part.switch, "aria-checked", integration.takes_events);
  show(part.again, integration.takes_events && integration.state === "ERROR");
  setAttribute(part.switch, "aria-label", `${integration.name} is activated`);
  setProse(part.source, integration.event_source_name);
  setText(part.account, integration.account_id || "no account");
  setText(part.region, integration.region || "no region");
  setText(part.aws, AWS_SAYS[integration.event_source?.state] ?? "not seen in AWS");
  showTopics(part.topics, integration.topic_filters);
  const query = `?integration=${encodeURIComponent(integration.id)}`;
  setAttribute(part.tap, "href", `#tap${query}`);
  setAttribute(part.dead, "href", `#dead-letters${query}`);
  for (const each of ["edit", "tap", "delete"]) {
    setAttribute(part[each], "aria-label", `${part[each].textContent} ${integration.name}`);
  }
}

function showTopics(element, filters) {
  const key = filters.join(" ");
  if (element.dataset.key === key) return;
  element.dataset.key = key;
  const shown = filters.slice(0, 2).map((each) => make("span", { class: "chip mono" }, each));
  const more = filters.length - shown.length;
  element.title = filters.join("\n");
  element.replaceChildren(...shown, more > 0 ? `and ${more} more` : "", filters.length ? "" : "No topic: no event is sent");
}

const idle = (lane, now) =>
  lane?.last_delivered_at ? `last delivery ${duration(now - lane.last_delivered_at)} ago` : "nothing delivered yet";

function showNumbers(part, integration) {
  const { status, history } = daemon;
  const books = status.books.integrations[integration.id];
  const lane = status.lanes[integration.id];
  const { p50, p99 } = history.lane(integration.id).latency;
  setText(part.rate, rate(history.lane(integration.id).rate));
  setText(part.pending, count(books?.pending ?? 0));
  setText(part.delivered, count(books?.delivered ?? 0));
  setText(part.dead, count(deadLetters(books)));
  setText(part.latency, p50 === null ? idle(lane, status.now) : `p50 ${duration(p50)} · p99 ${duration(p99)}`);
  show(part.trouble, Boolean(lane?.trouble));
  if (!lane?.trouble) return;
  const wait = lane.retry_at && lane.retry_at > status.now ? `; next try in ${duration(lane.retry_at - status.now)}` : "";
  setProse(part.trouble, `${lane.trouble.replace(/\.$/, "")}${wait}`);
}

async function copy(text) {
  try {
    await navigator.clipboard.writeText(text);
    notice(`Copied ${text}`);
  } catch {
    notice("The browser does not allow copying here; select the name by hand.");
  }
}

const intend = (integration, intendedState) => call("PATCH", path(integration), { intendedState });

const toggle = (integration) => (integration.takes_events ? deactivate : activate)(integration);

async function activate(integration) {
  const where = `account ${integration.account_id}, region ${integration.region}`;
  const done = await confirm({
    title: `Activate ${integration.name}?`,
    body: [
      `The partner event source is created in ${where}, and events flow at once:`,
      make("p", { class: "mono" }, daemon.session.event_source_prefix + integration.event_source_suffix),
      "If there is one of an earlier configuration, it is deleted first.",
    ],
    action: "Activate",
    act: () => intend(integration, "ENABLED"),
  });
  if (done) notice(`${integration.name} is being activated.`);
  await lookNow();
}

async function deactivate(integration) {
  const done = await confirm({
    title: `Deactivate ${integration.name}?`,
    body: [
      "Events pause. What was taken in before is kept, and sent when you activate it again; what happens meanwhile is not sent.",
      "The partner event source in AWS is not touched.",
    ],
    action: "Deactivate",
    act: () => intend(integration, "DISABLED"),
  });
  if (done) notice(`${integration.name} is being deactivated.`);
  await lookNow();
}

/** What is not active after it was saved is most likely to be activated next. */
async function afterSave(id, isNew) {
  await lookNow();
  const integration = daemon.status.integrations.find((each) => each.id === id);
  notice(`${integration?.name ?? id} is saved.`);
  const complete = integration?.account_id && integration.region && integration.event_source_suffix;
  const deactivated = integration?.intended_state === "ENABLED" && integration.state === "INACTIVE";
  if (complete && (isNew || deactivated)) await activate(integration);
}

async function remove(integration) {
  const pending = daemon.status.books.integrations[integration.id]?.pending ?? 0;
  const done = await confirm({
    title: `Delete ${integration.name}?`,
    body: [
      "The integration and its partner event source in AWS are deleted. This cannot be undone.",
      make("p", { class: "mono" }, integration.event_source_name),
      pending ? `${plural(pending, "pending event")} will go to the dead letters.` : "Nothing is pending.",
    ],
    action: "Delete",
    danger: true,
    typed: integration.name,
    act: () => call("DELETE", path(integration)),
  });
  if (!done) return;
  notice(`${integration.name} is being deleted.`);
  find("#integrations h1").focus();
  await lookNow();
}

function showGlance(part) {
  const { status, history } = daemon;
  const lanes = Object.values(status.books.integrations);
  const total = (of) => lanes.reduce((sum, books) => sum + of(books), 0);
  setText(part.received, rate(history.received.rate));
  setText(part.pending, count(total((books) => books.pending)));
  setText(part.oldest, status.spool.oldest_seconds === null ? "none" : duration(status.spool.oldest_seconds));
  setText(part.dead, count(total(deadLetters)));
  setText(part.spool, `${bytes(status.spool.bytes_used)}`);
  const balanced = lines(status.books).every(balances);
  setText(part.balance, balanced ? "✓ balance" : "✗ do not balance");
  setAttribute(part.balance, "data-health", balanced ? "good" : "bad");
}

export function startIntegrations() {
  const views = new Map();
  const glance = parts(find("#glance"));
  const add = [find("#add"), find("#add-first")];
  for (const each of add) each.addEventListener("click", () => openEditor(null, afterSave));

  function update() {
    if (!daemon.status || !isShown("integrations")) return;
    const { integrations } = daemon.status;
    reconcile(find("#cards"), views, integrations, (each) => each.id, create);
    show(find("#no-integrations"), integrations.length === 0);
    setText(find("#integrations-count"), `${integrations.length} of ${MAX_INTEGRATIONS}`);
    add[0].disabled = integrations.length >= MAX_INTEGRATIONS;
    showGlance(glance);
  }

  onLook(update);
  onShown("integrations", update);
}
