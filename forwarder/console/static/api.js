// Requests to the daemon. The token lives in sessionStorage: it is gone when the tab is closed.

const KEY = "forwarder-token";
const PATIENCE_MS = 15000;

export const token = {
  get: () => sessionStorage.getItem(KEY) ?? "",
  set: (value) => sessionStorage.setItem(KEY, value),
  clear: () => sessionStorage.removeItem(KEY),
};

/** The daemon's refusal. `details` says which fields are wrong; `status` is 0 where nobody answered. */
export class ApiError extends Error {
  constructor(status, body) {
    super(body.message || `The daemon answered ${status}.`);
    this.status = status;
    this.code = body.code;
    this.details = body.details ?? [];
  }
}

function headers() {
  return token.get() ? { Authorization: `Bearer ${token.get()}` } : {};
}

async function refusal(response) {
  const body = await response.json().catch(() => ({}));
  return new ApiError(response.status, body);
}

async function request(method, path, { body, signal }) {
  const options = { method, headers: headers(), signal, cache: "no-store" };
  if (body !== undefined) {
    options.headers["Content-Type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options).catch((error) => {
    if (signal?.aborted && signal.reason?.name !== "TimeoutError") throw error;
    throw new ApiError(0, { message: "The daemon does not answer." });
  });
  if (!response.ok) throw await refusal(response);
  return response;
}

/** Ask for JSON; null where the answer has no body. Throws ApiError. */
export async function call(method, path, body) {
  const response = await request(method, path, { body, signal: AbortSignal.timeout(PATIENCE_MS) });
  const text = await response.text();
  return text ? JSON.parse(text) : null;
}

export async function callText(path) {
  return (await request("GET", path, { signal: AbortSignal.timeout(PATIENCE_MS) })).text();
}

/**
 * Server-sent events as `{event, data}`, until the server ends the stream or `signal` aborts; `opened` is called once the
 * server has let us in. EventSource cannot send the token, hence by fetch. https://html.spec.whatwg.org/multipage/server-sent-events.html#event-stream-interpretation
 */
export async function* serverSentEvents(path, { signal, opened }) {
  const response = await request("GET", path, { signal });
  opened();
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let rest = "";
  for (;;) {
    const { done, value } = await reader.read();
    if (done) return;
    const blocks = (rest + value).split(/\r?\n\r?\n/);
    rest = blocks.pop();
    yield* blocks.map(parseBlock).filter((each) => each.data !== "");
  }
}

function parseBlock(block) {
  const found = { event: "message", data: "" };
  const data = [];
  for (const line of block.split(/\r?\n/)) {
    const [, field, value] = /^([^:]*):? ?(.*)$/s.exec(line);
    if (field === "data") data.push(value);
    if (field === "event") found.event = value;
  }
  found.data = data.join("\n");
  return found;
}
