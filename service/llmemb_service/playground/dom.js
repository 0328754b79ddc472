/** Elements, observable values, and announcements for screen readers. */

const SVG = "http://www.w3.org/2000/svg";

/** Create an element: `on...` adds a listener, `true` sets an empty attribute, `false` omits it. */
export function el(tag, attributes = {}, ...children) {
  return filled(document.createElement(tag), attributes, children);
}

/** Create an SVG element, as `el` does. */
export function svg(tag, attributes = {}, ...children) {
  return filled(document.createElementNS(SVG, tag), attributes, children);
}

function filled(node, attributes, children) {
  for (const [name, value] of Object.entries(attributes)) {
    if (name.startsWith("on")) node.addEventListener(name.slice(2), value);
    else if (value === true) node.setAttribute(name, "");
    else if (value !== false && value !== null && value !== undefined) node.setAttribute(name, value);
  }
  node.append(...children.filter((child) => child !== null && child !== undefined && child !== false));
  return node;
}

/** Replace the children; the button at the focused position keeps the focus, for keyboard users. */
export function refill(list, children) {
  const place = [...list.querySelectorAll("button")].indexOf(document.activeElement);
  list.replaceChildren(...children);
  const buttons = list.querySelectorAll("button");
  if (place >= 0) buttons[Math.min(place, buttons.length - 1)]?.focus({ preventScroll: true });
}

/** A value with observers. */
export class Watched {
  #watchers = new Set();

  constructor(value) {
    this.value = value;
  }

  set(value) {
    this.value = value;
    for (const watcher of [...this.#watchers]) watcher(value);
  }

  /** Call `watcher` now and at each change; returns a function that unsubscribes it. */
  watch(watcher) {
    this.#watchers.add(watcher);
    watcher(this.value);
    return () => this.#watchers.delete(watcher);
  }
}

/** Announce a text to screen readers. */
export function say(text) {
  document.getElementById("said").textContent = text;
}

/** Return `work` debounced: called once there was no call for `milliseconds`. */
export function debounced(work, milliseconds) {
  let timer;
  return (...given) => {
    clearTimeout(timer);
    timer = setTimeout(() => work(...given), milliseconds);
  };
}

export function number(value, digits = 2) {
  return value.toLocaleString("en", { maximumFractionDigits: digits, minimumFractionDigits: digits });
}
