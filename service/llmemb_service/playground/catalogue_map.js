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

/** Place an item embedding by the map's two sums. */
export function placeOf(drawn, embedding) {
  const sums = [0, 1].map((axis) =>
    embedding.reduce(
      (sum, value, dimension) => sum + value * drawn.weight[dimension][axis],
      drawn.bias[axis],
    ),
  );
  return { x: sums[0], y: sums[1] };
}
