/** The items that the catalogue shows before a search. */

/** Return `count` items of varied categories: greedily the first item whose categories were chosen least. */
export function ofManyKinds(items, count) {
  const times = new Map();
  const shown = (item) => {
    const kinds = kindsOf(item);
    return kinds.reduce((sum, kind) => sum + (times.get(kind) ?? 0), 0) / (kinds.length || 1);
  };
  const rest = [...items];
  const chosen = [];
  while (chosen.length < count && rest.length) {
    const shares = rest.map(shown);
    const [item] = rest.splice(shares.indexOf(Math.min(...shares)), 1);
    for (const kind of kindsOf(item)) times.set(kind, (times.get(kind) ?? 0) + 1);
    chosen.push(item);
  }
  return chosen;
}

const kindsOf = (item) => Object.values(item.attributes).filter(Array.isArray).flat();
