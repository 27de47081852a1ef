// What the daemon knows for the forms: its topics, the regions of EventBridge, how often each topic flows.

import { call } from "./api.js";
import { find, make } from "./dom.js";

export const TYPE = "amazon-eventbridge-source";

/** Asks once, and again only after a failure. */
function once(ask) {
  let answer = null;
  return () => (answer ??= ask().catch((error) => {
    answer = null;
    throw error;
  }));
}

/** The templates of the catalogue, sorted. Fills the page's datalist of topics besides. */
export const topics = once(async () => {
  const answer = await call("GET", "api/v2/notifications/availabletopics");
  const found = answer.entities.map((each) => each.id).sort();
  find("#catalogue").replaceChildren(...found.map((value) => make("option", { value })));
  return found;
});

/** The regions in which EventBridge exists, sorted, from the configuration's schema. */
export const regions = once(async () => {
  const schema = await call("GET", `api/v2/integrations/types/${TYPE}/configschemas/properties`);
  return [...schema.properties.awsAccountRegion.enum].sort();
});
