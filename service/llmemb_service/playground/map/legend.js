/** The legend of the map's colours. */

import { el, svg } from "../dom.js";
import { MOST_CATEGORIES, categoryColours, popularityShade, restColour } from "./palette.js";

export function legend(drawn, by) {
  return el(
    "ul",
    { class: "legend", "aria-label": "Colours" },
    ...(by === "popularity" ? shades() : categories(drawn)),
  );
}

function categories(drawn) {
  const shown = drawn.categories.slice(0, MOST_CATEGORIES);
  const colours = categoryColours(shown.length);
  const rest = drawn.categories.length > shown.length || drawn.category.includes(-1);
  const entries = shown.map((name, place) => entry(colours[place], name));
  return rest ? [...entries, entry(restColour(), "other")] : entries;
}

function shades() {
  return [
    [0, "no clicks in training"],
    [0.5, "medium"],
    [1, "most clicks"],
  ].map(([share, name]) => entry(`rgb(${popularityShade(share).join(" ")})`, name));
}

const entry = (colour, name) =>
  el(
    "li",
    {},
    svg(
      "svg",
      { viewBox: "0 0 10 10", "aria-hidden": "true" },
      svg("circle", { cx: 5, cy: 5, r: 5, fill: colour }),
    ),
    name,
  );
