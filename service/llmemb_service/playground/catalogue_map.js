/** The map's points, cached until the bundle or the catalogue changes. */

import { map } from "./calls.js";
import { bundleId, send } from "./http.js";

let kept = null;
let keptOf = null;

/** Return the map: columns, and `place` from an id to its number. */
export async function catalogueMap(signal) {
  if (!kept || keptOf !== bundleId.value) {
    const answer = await send(map(), { signal });
    keptOf = answer.bundle_id;
    const numbers = new Map(answer.ids.map((id, number) => [id, number]));
    kept = { ...answer, numberOf: (id) => numbers.get(id) };
  }
  return kept;
}

/** Drop the cached map: the catalogue has changed. */
export function forgetMap() {
  kept = null;
}

/** Return the position of a new item: the median of those of its neighbours, as the service places an added item. */
export function placeAmong(neighbours) {
  return { x: median(neighbours.map(({ x }) => x)), y: median(neighbours.map(({ y }) => y)) };
}

function median(values) {
  const sorted = values.toSorted((one, other) => one - other);
  const middle = sorted.length >> 1;
  return sorted.length % 2 ? sorted[middle] : (sorted[middle - 1] + sorted[middle]) / 2;
}
