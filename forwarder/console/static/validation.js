// What the daemon would refuse, said at the field while it is typed, in the daemon's own words. The daemon has the last
// say: this never has to be complete, only never stricter.

const ACCOUNT = /^[0-9]{12}$/;
const SUFFIX = /^[A-Za-z0-9._-]{1,64}$/;
const MAX_FILTER = 200;

/**
 * Problems by field. `rules` are `{regions, enabled, activeSuffixes}`: one that is not enabled may be a draft, without
 * account, region and suffix. `activeSuffixes` maps the suffixes of the other active integrations to their ids.
 */
export function validate(values, { regions, enabled, activeSuffixes }) {
  const found = {};
  const { name, awsAccountId: account, awsAccountRegion: region, eventSourceSuffix: suffix, eventFilter } = values;
  const missing = (value) => value === "" && !enabled;
  if (!name.trim()) found.name = "the name is empty";
  if (!missing(account) && !ACCOUNT.test(account)) {
    found.awsAccountId = "Invalid AWS account ID (it is 12 digits, such as 123456789012)";
  }
  if (!missing(region) && regions.size && !regions.has(region)) found.awsAccountRegion = "Invalid AWS Region";
  if (!missing(suffix) && !SUFFIX.test(suffix)) {
    found.eventSourceSuffix = "Invalid event source suffix (it is 1 to 64 characters of A-Z, a-z, 0-9, '.', '-' and '_')";
  } else if (enabled && activeSuffixes.has(suffix)) {
    found.eventSourceSuffix = `Event source suffix must be unique: ${activeSuffixes.get(suffix)} has it`;
  }
  const filter = eventFilter.map(filterFault).find(Boolean);
  if (filter) found.eventFilter = filter;
  return found;
}

/** What is wrong with a topic filter; null where nothing is. */
export function filterFault(text) {
  const fault = faultOf(text);
  return fault && `topic filter '${text}': ${fault}`;
}

function faultOf(text) {
  if (!text) return "it is empty";
  if (text.length > MAX_FILTER) return `it has ${text.length} characters, at most ${MAX_FILTER} are allowed`;
  if (/\s/.test(text)) return "white space is not allowed";
  if (text.startsWith("$")) return "topics that begin with '$' belong to the broker";
  const [stem, ...endings] = text.split("?");
  if (endings.length > 1) return "'?' and '&' join endings as in 'v2.users.{id}?presence&routingStatus', once and at the end";
  const plain = endings.length ? endings[0].split("&").map((ending) => `${stem}.${ending}`) : [stem];
  return plain.map(plainFault).find(Boolean) ?? null;
}

function plainFault(text) {
  const segments = text.split(".");
  for (const [place, segment] of segments.entries()) {
    if (!segment) return "it has an empty segment (two dots in a row, or one at an end)";
    if (/^(\*|\+|\{[^{}]+\})$/.test(segment)) continue;
    if (segment === "#") {
      if (place < segments.length - 1) return "'#' is only allowed as the last segment";
    } else if (/[*+#]/.test(segment)) return `a wildcard is a whole segment, not a part of '${segment}'`;
    else if (/[{}]/.test(segment)) return `in '${segment}' the braces do not enclose the whole segment, as in '{id}'`;
    else if (/\//.test(segment)) return `segments are separated by dots, not by '/' as in '${segment}'`;
    else if (/[&,]/.test(segment)) return `'${segment}' has a character that separates filters`;
  }
  return null;
}
