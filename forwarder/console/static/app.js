// Starts the page: the header, the four views, and the looks at the daemon that feed them.

import { token } from "./api.js";
import { startBooks } from "./books.js";
import { daemon, isAboutTheToken, onLook, onRefused, onSession, startLooking } from "./daemon.js";
import { startDeadLetters } from "./dead-letters.js";
import { signIn } from "./dialogs.js";
import { find, make, setText, show } from "./dom.js";
import { startIntegrations } from "./integrations.js";
import { startTap } from "./tap.js";
import { startViews } from "./views.js";

function showConnection(error) {
  const health = find("#connection");
  const status = daemon.status;
  const gone = find("#gone");
  if (error) {
    health.dataset.health = "bad";
    setText(health, isAboutTheToken(error) ? "Signed out" : "Unreachable");
    setText(gone, error.status ? error.message : "The daemon does not answer. What you see is as it was; this page goes on trying.");
  } else {
    health.dataset.health = status.ready ? "good" : "warn";
    setText(health, status.draining ? "Stopping" : status.ready ? "Ready" : "Not ready");
    health.title = status.reasons.join("\n");
  }
  show(gone, Boolean(error) && !isAboutTheToken(error));
  document.body.classList.toggle("stale", Boolean(error));
  if (!error || !isAboutTheToken(error)) return;
  setText(find("#sign"), "Sign in");
  show(find("#sign"), true);
  if (error.status === 429) signIn(error.message);
  else signIn(token.get() ? "The daemon does not know this token." : "");
}

function showSession({ session }) {
  const mayWrite = session.why_read_only === null;
  document.body.dataset.mayWrite = String(mayWrite);
  setText(find("#version"), `Forwarder ${session.version}`);
  setText(find("#sign"), "Sign out");
  show(find("#sign"), Boolean(token.get()));
  show(find("#role"), Boolean(token.get()) && !mayWrite);
  const hint = find("#read-only");
  show(hint, !mayWrite && !token.get());
  if (mayWrite) return;
  hint.replaceChildren(
    make("b", {}, "Read only. "),
    `${session.why_read_only} `,
    "Put it (or FORWARDER_ADMIN_TOKEN_FILE) into the daemon's settings, restart the daemon, and sign in here with that token.",
  );
}

/** What keeps events from flowing, on every view: it must not be missed. */
function showTrouble({ status }) {
  const problems = status.reload.problems.length;
  const troubles = [
    ...status.reasons,
    status.spool.full && "the spool is full, so the intake waits",
    problems && `${problems === 1 ? "a problem" : `${problems} problems`} in the integration files`,
  ].filter(Boolean);
  const banner = find("#trouble");
  show(banner, troubles.length > 0);
  const text = troubles.join("; ");
  if (banner.dataset.text === text) return;
  banner.dataset.text = text;
  banner.replaceChildren(`${text.charAt(0).toUpperCase()}${text.slice(1)}. `, make("a", { href: "#books" }, "See what is wrong"));
}

function startHeader() {
  find("#theme").addEventListener("click", () => {
    const root = document.documentElement;
    const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
    root.dataset.theme = dark ? "light" : "dark";
    localStorage.setItem("theme", root.dataset.theme);
  });
  find("#sign").addEventListener("click", () => {
    if (!token.get()) return signIn("");
    token.clear();
    location.reload(); // nothing of what was seen stays
  });
}

onRefused(showConnection);
onSession(showSession);
onLook(showTrouble);
startHeader();
startIntegrations();
startDeadLetters();
startTap();
startBooks();
startViews();
startLooking();
