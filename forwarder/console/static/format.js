// Numbers and times as people read them.

const whole = new Intl.NumberFormat("en-US");
const compact = new Intl.NumberFormat("en-US", { notation: "compact", maximumFractionDigits: 1 });

/** 12,345, or 1.2M where it would not fit. */
export const count = (number) => (number < 1e6 ? whole : compact).format(number);

export const exact = (number) => whole.format(number);

/** Events a second: `0`, `0.4`, `48`, `5,012`. */
export function rate(perSecond) {
  if (perSecond === null) return "–";
  if (perSecond === 0) return "0";
  return perSecond < 10 ? String(Math.max(0.1, Math.round(perSecond * 10) / 10)) : whole.format(Math.round(perSecond));
}

/** Seconds as `4 ms`, `1.2 s`, `3 min`, `5 h`, `2 d`. */
export function duration(seconds) {
  if (seconds === null || seconds === undefined) return "–";
  if (seconds < 1) return `${Math.max(1, Math.round(seconds * 1000))} ms`;
  if (seconds < 10) return `${Math.round(seconds * 10) / 10} s`;
  if (seconds < 120) return `${Math.round(seconds)} s`;
  if (seconds < 7200) return `${Math.round(seconds / 60)} min`;
  if (seconds < 172800) return `${Math.round(seconds / 3600)} h`;
  return `${Math.round(seconds / 86400)} d`;
}

/** Binary units, as the settings have them. */
export function bytes(number) {
  const units = ["B", "KiB", "MiB", "GiB", "TiB"];
  let unit = 0;
  while (number >= 1024 && unit < units.length - 1) {
    number /= 1024;
    unit += 1;
  }
  return `${number < 10 && unit ? number.toFixed(1) : Math.round(number)} ${units[unit]}`;
}

export const plural = (number, word) => `${count(number)} ${word}${number === 1 ? "" : "s"}`;

const moment = new Intl.DateTimeFormat(undefined, { dateStyle: "medium", timeStyle: "medium" });

/** Epoch seconds in the reader's own zone. */
export const dateTime = (epochSeconds) => moment.format(new Date(epochSeconds * 1000));
