/** The session that all views share: its clicks and the recommendations for it. */

import { Watched, say } from "./dom.js";
import { info, recommend } from "./calls.js";
import { Problem, bundleId, send } from "./http.js";

const NEXT = 10;

/** The answer of `GET /info`, null until it arrives. */
export const about = new Watched(null);
/** Clicked items, the oldest first: `{id, attributes}`. */
export const clicks = new Watched([]);
/** Recommendations: `{items, fallback}`, or the `problem` if the request failed. */
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

/** Request recommendations for the session; an older request is aborted. */
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
    say(first ? `${answer.items.length} recommendations; the first is ${nameOf(first)}` : "No recommendations");
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    next.set({ items: [], fallback: null, waiting: false, problem: error });
  }
}

/** Request the service's information and the first recommendations. */
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

/** The attribute with an item's name: `title` or `name`, else the bundle's first attribute. */
export function nameAttribute(item) {
  const names = about.value?.attribute_names ?? Object.keys(item.attributes);
  return names.find((name) => /title|name/i.test(name)) ?? names[0];
}

export function nameOf(item) {
  const name = item.attributes[nameAttribute(item)];
  return name ? text(name) : item.id;
}

/** All attributes of an item but its name, in one line. */
export function lineOf(item) {
  return Object.entries(item.attributes)
    .filter(([name]) => name !== nameAttribute(item))
    .map(([, value]) => text(value))
    .join(" · ");
}

const text = (value) => (Array.isArray(value) ? value.join(", ") : String(value));
