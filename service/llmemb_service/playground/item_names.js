/** Names of items by their ids, each asked once. */

import { item } from "./calls.js";
import { Problem, send } from "./http.js";
import { nameOf } from "./session.js";

const MOST_KEPT = 500;
const kept = new Map();

/** Return an item of the catalogue, null where it is gone. */
export function itemById(id) {
  if (!kept.has(id)) {
    if (kept.size >= MOST_KEPT) kept.delete(kept.keys().next().value);
    kept.set(id, asked(id));
  }
  return kept.get(id);
}

/** Return an item's name, null where it is gone. */
export async function nameById(id) {
  const found = await itemById(id);
  return found && nameOf(found);
}

/** Ask again next time. */
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
