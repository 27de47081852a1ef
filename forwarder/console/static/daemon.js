// Looks at the daemon every two seconds while the page is visible, and tells the views what it saw.

import { ApiError, call, callText } from "./api.js";
import { deliveryBuckets, History } from "./history.js";
import { isShown } from "./views.js";

const LOOK_MS = 2000;
const listeners = { look: [], refused: [], session: [] };

/** `{status, history, session}` as of the last look that was answered; `session` is what `/api/session` says. */
export const daemon = { status: null, history: new History(), session: null };

let timer;
let turns = Promise.resolve();

/** Called with `daemon` after every look. */
export const onLook = (listener) => listeners.look.push(listener);

/** Called when it is known who asks and what they may do. */
export const onSession = (listener) => listeners.session.push(listener);

/** Called with the ApiError when a look is not answered, and with null when one is. */
export const onRefused = (listener) => listeners.refused.push(listener);

const tell = (kind, value) => listeners[kind].forEach((listener) => listener(value));

/** Whether a refusal means that there is no token, a wrong one, or were too many wrong ones. */
export const isAboutTheToken = (error) => error.status === 401 || error.status === 429;

/** Ask anew who may do what, as after another token was given. */
export async function lookAnew() {
  daemon.session = null;
  await lookNow();
}

/** Look without waiting for the next turn, as after something was changed; one that is under way may not have seen it. */
export function lookNow() {
  clearTimeout(timer);
  turns = turns.then(turn);
  return turns;
}

async function turn() {
  clearTimeout(timer);
  let again = true;
  try {
    await look();
    tell("refused", null);
  } catch (error) {
    if (!(error instanceof ApiError)) console.error(error);
    // A daemon that comes back may be another one, with other tokens.
    daemon.session = null;
    again = !isAboutTheToken(error); // else when another one is given
    tell("refused", error);
  }
  if (again && !document.hidden) timer = setTimeout(lookNow, LOOK_MS);
}

async function look() {
  const known = daemon.session;
  const [session, status, metrics] = await Promise.all([
    known ?? call("GET", "api/session"),
    call("GET", "api/status"),
    isShown("integrations") ? callText("metrics") : null,
  ]);
  Object.assign(daemon, { session, status });
  daemon.history.add(status, metrics && deliveryBuckets(metrics));
  // Only now may anything be changed: whoever changes something must see what there is.
  if (known === null) tell("session", daemon);
  tell("look", daemon);
}

export function startLooking() {
  document.addEventListener("visibilitychange", () => {
    if (document.hidden) clearTimeout(timer);
    else lookNow();
  });
  lookNow();
}
