/** The session: what was clicked, and what comes next after it. The same in every view. */

import { Watched, say } from "./dom.js";
import { info, recommend } from "./calls.js";
import { Problem, bundleId, send } from "./http.js";

const NEXT = 10;

/** What the service says of itself, null until it has. */
export const about = new Watched(null);
/** Clicked items, the oldest first: `{id, attributes}`. */
export const clicks = new Watched([]);
/** What comes next: `{items, fallback}`; `problem` where there is none. */
export const next = new Watched({ items: [], fallback: null, waiting: true, problem: null });

let asking = new AbortController();

export function click(item) {
  clicks.set([...clicks.value, { id: item.id, attributes: item.attributes }]);
  askNext();
}

export function unclick(place) {
  clicks.set(clicks.value.filter((_, each) => each !== place));
  askNext();
}

export function clear() {
  clicks.set([]);
  askNext();
}

/** Ask for the next items; an answer that is still awaited is not wanted any more. */
export async function askNext({ unseen = false } = {}) {
  asking.abort();
  asking = new AbortController();
  const { signal } = asking;
  next.set({ ...next.value, waiting: true });
  try {
    const history = clicks.value.map((each) => each.id);
    const answer = await send(recommend(history, { k: NEXT, explain: true }), { signal, unseen });
    next.set({ items: answer.items, fallback: answer.fallback, waiting: false, problem: null });
    const first = answer.items[0];
    say(first ? `${answer.items.length} next items; the first is ${nameOf(first)}` : "Nothing comes next");
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    next.set({ items: [], fallback: null, waiting: false, problem: error });
  }
}

/** Ask what is running, and the next items. */
export async function begin() {
  try {
    about.set(await send(info(), { unseen: true }));
    await askNext();
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    next.set({ items: [], fallback: null, waiting: false, problem: error });
  }
}

bundleId.watch((id) => {
  if (id && about.value && about.value.bundle_id !== id) begin();
});

/** The attribute that names an item: called title or name, else the first of the bundle's. */
export function nameAttribute(item) {
  const names = about.value?.attribute_names ?? Object.keys(item.attributes);
  return names.find((name) => /title|name/i.test(name)) ?? names[0];
}

export function nameOf(item) {
  const name = item.attributes[nameAttribute(item)];
  return name ? text(name) : item.id;
}

/** All of an item but its name, in one line. */
export function lineOf(item) {
  return Object.entries(item.attributes)
    .filter(([name]) => name !== nameAttribute(item))
    .map(([, value]) => text(value))
    .join(" · ");
}

const text = (value) => (Array.isArray(value) ? value.join(", ") : String(value));
