// The choice of an integration, in the forms above the lists.

import { daemon } from "./daemon.js";

/** Bring the options of a <select> in line with the integrations there are; `wanted` is chosen where it is given. */
export function offerIntegrations(select, wanted = null) {
  const ids = (daemon.status?.integrations ?? []).map((each) => each.id);
  const chosen = wanted ?? select.value;
  const offered = chosen && !ids.includes(chosen) ? [...ids, chosen] : ids; // one that was deleted leaves dead letters
  if (select.dataset.offered !== offered.join()) {
    select.dataset.offered = offered.join();
    select.replaceChildren(new Option("all", ""), ...offered.map((id) => new Option(id, id)));
  }
  if (select.value !== chosen) select.value = chosen;
}
