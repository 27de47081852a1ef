// A line of what was, small enough for a card. SVG attributes only: the page's policy allows no inline styles.

const SVG = "http://www.w3.org/2000/svg";
const WIDTH = 120;
const HEIGHT = 28;
const MIN_SPAN_SECONDS = 30; // so that the first looks do not jump about

function svg(tag, attributes) {
  const element = document.createElementNS(SVG, tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  return element;
}

/** Makes the picture in `parent` once; the function it gives draws `[{at, p50, p99}]` up to `now`. */
export function sparkline(parent) {
  const picture = svg("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, preserveAspectRatio: "none", "aria-hidden": "true" });
  const lines = ["p99", "p50"].map((which) => {
    const line = svg("path", { class: which, fill: "none", "vector-effect": "non-scaling-stroke" });
    picture.append(line);
    return [which, line];
  });
  parent.append(picture);
  return (looks, now) => {
    const top = Math.max(...looks.map((each) => each.p99 ?? 0), 0.01);
    const span = Math.max(MIN_SPAN_SECONDS, now - (looks[0]?.at ?? now));
    for (const [which, line] of lines) line.setAttribute("d", path(looks, which, top, now, span));
  };
}

function path(looks, which, top, now, span) {
  let pen = "M";
  return looks
    .map((look) => {
      const value = look[which];
      if (value === null) {
        pen = "M";
        return "";
      }
      const x = WIDTH * (1 - (now - look.at) / span);
      const y = HEIGHT - 2 - (HEIGHT - 4) * (value / top);
      const step = `${pen}${x.toFixed(1)} ${y.toFixed(1)}`;
      pen = "L";
      return step;
    })
    .join("");
}
