// The daemon gives totals; what happens *now* is the difference between two looks at them.

const KEPT = 90; // looks, two seconds apart: three minutes
const RATE_SECONDS = 6; // long enough not to flicker, short enough to be now

/** The looks at one thing: `{at, total, …}`, oldest first. */
class Looks {
  #looks = [];

  add(look) {
    this.#looks.push(look);
    if (this.#looks.length > KEPT) this.#looks.shift();
  }

  /** Per second, over the last few seconds; null before there are two looks. */
  get rate() {
    const last = this.#looks.at(-1);
    const first = this.#looks.find((each) => last.at - each.at <= RATE_SECONDS);
    return last.at > first.at ? Math.max(0, (last.total - first.total) / (last.at - first.at)) : null;
  }

  /** What was delivered from look to look took so long: `{at, p50, p99}`, null where nothing was delivered. */
  get latencies() {
    return this.#looks.slice(1).map((look, place) => ({
      at: look.at,
      ...percentiles(this.#looks[place].buckets, look.buckets),
    }));
  }

  /** The newest look at latency at which anything was delivered, of the last few seconds. */
  get latency() {
    return this.latencies.slice(-5).findLast((each) => each.p50 !== null) ?? { p50: null, p99: null };
  }
}

/** Of what came into a cumulative histogram between two looks, interpolated within a bucket as Prometheus does. */
function percentiles(before, after) {
  if (!before || !after?.length) return { p50: null, p99: null };
  const counts = after.map(([, total], place) => total - (before[place]?.[1] ?? 0));
  return { p50: quantile(0.5, after, counts), p99: quantile(0.99, after, counts) };
}

function quantile(share, bounds, counts) {
  const total = counts.at(-1);
  if (!(total > 0)) return null;
  const place = counts.findIndex((each) => each >= total * share);
  const lower = place ? bounds[place - 1][0] : 0;
  const upper = bounds[place][0];
  if (upper === Infinity) return lower;
  const below = place ? counts[place - 1] : 0;
  return lower + ((upper - lower) * (total * share - below)) / (counts[place] - below);
}

const BUCKET = /^forwarder_delivery_seconds_bucket\{integration="([^"]*)",le="([^"]*)"\} (\S+)$/gm;

/** The buckets of `forwarder_delivery_seconds` by integration: `[[bound in seconds, deliveries up to it], …]`. */
export function deliveryBuckets(metrics) {
  const found = {};
  for (const [, id, bound, total] of metrics.matchAll(BUCKET)) {
    (found[id] ??= []).push([bound === "+Inf" ? Infinity : Number(bound), Number(total)]);
  }
  return found;
}

/** What was seen of the whole daemon. A restart of the daemon or a change of its clock begins anew. */
export class History {
  #startedAt = null;
  #lastAt = -Infinity;
  #looks = new Map();

  /** `buckets` is null where nobody asked for them: then nothing is known of latencies from this look to the next. */
  add(status, buckets) {
    if (status.started_at !== this.#startedAt || status.now < this.#lastAt) this.#looks.clear();
    this.#startedAt = status.started_at;
    this.#lastAt = status.now;
    const received = Object.values(status.books.intakes).reduce((sum, books) => sum + books.received, 0);
    this.#add("received", { at: status.now, total: received });
    for (const [id, books] of Object.entries(status.books.integrations)) {
      this.#add(`lane ${id}`, { at: status.now, total: books.delivered, buckets: buckets && (buckets[id] ?? []) });
    }
  }

  #add(name, look) {
    if (!this.#looks.has(name)) this.#looks.set(name, new Looks());
    this.#looks.get(name).add(look);
  }

  get received() {
    return this.#looks.get("received");
  }

  lane(id) {
    return this.#looks.get(`lane ${id}`) ?? NOTHING;
  }
}

const NOTHING = { rate: null, latencies: [], latency: { p50: null, p99: null } };
