// JSON laid out for reading. It works on the text and not on parsed values: 1.0, 1e400, numbers of thirty digits, double
// keys and escapes are shown exactly as they were delivered.

import { make } from "./dom.js";

const TOKEN = /"(?:[^"\\]|\\.)*"|[{}[\],:]|[^\s{}[\],:"]+/g;
const MAX_SHOWN = 100_000; // characters; beyond that the page would crawl

const KINDS = [
  [/^"/, "string"],
  [/^-?\d/, "number"],
  [/^(true|false|null)$/, "word"],
];

/** A <pre> with the JSON text indented and coloured. Text that is no JSON comes out as it is. */
export function prettyJson(text) {
  const block = make("pre", { class: "json", tabindex: "0" });
  let depth = 0;
  const newLine = () => `\n${"  ".repeat(depth)}`;
  const tokens = text.slice(0, MAX_SHOWN).match(TOKEN) ?? [];
  tokens.forEach((token, place) => {
    const next = tokens[place + 1];
    if (token === "{" || token === "[") {
      const empty = next === "}" || next === "]";
      depth += 1;
      block.append(token, empty ? "" : newLine());
    } else if (token === "}" || token === "]") {
      depth = Math.max(0, depth - 1);
      const empty = tokens[place - 1] === "{" || tokens[place - 1] === "[";
      block.append(empty ? "" : newLine(), token);
    } else if (token === ",") block.append(",", newLine());
    else if (token === ":") block.append(": ");
    else block.append(make("span", { class: next === ":" ? "key" : kindOf(token) }, token));
  });
  if (text.length > MAX_SHOWN) block.append(`\n… ${text.length - MAX_SHOWN} characters more: see the raw text`);
  return block;
}

const kindOf = (token) => KINDS.find(([pattern]) => pattern.test(token))?.[1] ?? "";
