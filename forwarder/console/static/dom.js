// The few things that every view does with the page.

export const find = (selector, root = document) => root.querySelector(selector);

/** An element. `attributes` are HTML attributes, or `on…` listeners; false and null leave one out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) element.addEventListener(name.slice(2), value);
    else if (value !== false && value !== null) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

/** A copy of what is in a <template>, and its elements that carry `data-part`, by that name. */
export function stamp(templateId) {
  const element = document.getElementById(templateId).content.firstElementChild.cloneNode(true);
  return { element, parts: parts(element) };
}

export function parts(root) {
  return Object.fromEntries([...root.querySelectorAll("[data-part]")].map((each) => [each.dataset.part, each]));
}

/** Set what differs only: what has not changed is neither laid out nor read out again. */
export function setText(element, text) {
  if (element.textContent !== String(text)) element.textContent = text;
}

/** Text in which `…` is code, as the daemon's messages have it; long names may break after a slash. */
export function setProse(element, text) {
  if (element.dataset.text === text) return;
  element.dataset.text = text;
  const pieces = text.split("`").map((piece, place) => (place % 2 ? [make("code", {}, ...breakable(piece))] : breakable(piece)));
  element.replaceChildren(...pieces.flat());
}

const breakable = (text) => text.split(/(?<=\/)/).flatMap((piece, place) => (place ? [make("wbr"), piece] : [piece]));

export function show(element, visible) {
  if (element.hidden === visible) element.hidden = !visible;
}

export function setAttribute(element, name, value) {
  if (element.getAttribute(name) !== String(value)) element.setAttribute(name, value);
}

/**
 * Bring a list in line with `items`: elements stay where their key stays, so that focus and selection survive.
 * `create(item)` gives `{element, update(item)}`; `views` is the Map that remembers them between calls.
 */
export function reconcile(parent, views, items, keyOf, create) {
  const wanted = new Set(items.map(keyOf));
  for (const [key, view] of views) {
    if (wanted.has(key)) continue;
    view.element.remove();
    views.delete(key);
  }
  items.forEach((item, place) => {
    const key = keyOf(item);
    if (!views.has(key)) views.set(key, create(item));
    const view = views.get(key);
    view.update(item);
    if (parent.children[place] !== view.element) parent.insertBefore(view.element, parent.children[place] ?? null);
  });
}
