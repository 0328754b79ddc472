/** Items by id, requested once and cached. */

import { item } from "./calls.js";
import { Problem, send } from "./http.js";
import { nameOf } from "./session.js";

const MOST_KEPT = 500;
const kept = new Map();

/** Return an item of the catalogue, null if it does not exist. */
export function itemById(id) {
  if (!kept.has(id)) {
    if (kept.size >= MOST_KEPT) kept.delete(kept.keys().next().value);
    kept.set(id, asked(id));
  }
  return kept.get(id);
}

/** Return an item's name, null if the item does not exist. */
export async function nameById(id) {
  const found = await itemById(id);
  return found && nameOf(found);
}

/** Drop an item from the cache. */
export function forgetItem(id) {
  kept.delete(id);
}

async function asked(id) {
  try {
    return await send(item(id), { unseen: true, patient: false });
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    kept.delete(id);
    return null;
  }
}
