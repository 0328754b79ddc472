/** The map of the catalogue, with the session and the recommendations highlighted. */

import { el, refill } from "../dom.js";
import { catalogueMap } from "../catalogue_map.js";
import { Problem, bundleId } from "../http.js";
import { itemById, nameById } from "../item_names.js";
import { itemButton, scoreSide } from "../item_list.js";
import { legend } from "../map/legend.js";
import { Plot } from "../map/plot.js";
import { click, clicks, nameOf, next } from "../session.js";

export function mount(root) {
  const ended = new AbortController();
  let drawn = null;
  const plot = new Plot({ nameOf: nameById, onpick: pick });
  const colours = el("div", {});
  const note = el("p", { class: "empty" }, "Loading the map.");
  const by = el(
    "select",
    { id: "colour-by", onchange: recolour },
    el("option", { value: "category" }, "category"),
    el("option", { value: "popularity" }, "popularity"),
  );
  const path = el("ol", { class: "items", "aria-label": "The session on the map" });
  const list = el("ol", { class: "items", "aria-label": "Recommendations on the map" });
  const none = el("p", { class: "empty" }, "The session is empty. Click points on the map.");
  root.append(
    el("h1", {}, "Map of the catalogue"),
    el(
      "p",
      { class: "lead" },
      "Items near each other are similar; the distance between far ones says little. Click a point to add the item to the ",
      "session. The numbered path is the session, the rings are the recommendations.",
    ),
    el("div", { class: "controls" }, el("label", {}, "Colour by ", by)),
    plot.root,
    colours,
    note,
    el(
      "div",
      { class: "columns even more" },
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Session")), none, path),
      el("section", { class: "card" }, el("header", {}, el("h2", {}, "Recommendations")), list),
    ),
  );

  async function load() {
    try {
      drawn = await catalogueMap(ended.signal);
      plot.show(drawn);
      const shown = drawn.ids.length;
      note.textContent =
        shown < drawn.total
          ? `${shown.toLocaleString("en")} of ${drawn.total.toLocaleString("en")} items are shown.`
          : `${shown.toLocaleString("en")} items, those with similar embeddings near each other.`;
      recolour();
      light();
    } catch (error) {
      if (ended.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      note.textContent = error.message;
    }
  }

  function recolour() {
    plot.colourBy(by.value);
    if (drawn) colours.replaceChildren(legend(drawn, by.value));
  }

  function light() {
    if (drawn) plot.light(litBy(drawn));
    none.hidden = clicks.value.length > 0;
    refill(
      path,
      clicks.value.map((item, place) => el("li", {}, rowOf(item, place))),
    );
    const { items, fallback } = next.value;
    refill(
      list,
      items.map((item, place) => el("li", {}, rowOf(item, place, scoreSide(item, fallback)))),
    );
  }

  const rowOf = (item, place, side) =>
    itemButton(item, { rank: place + 1, side, onclick: () => click(item) });

  async function pick(id) {
    const found = await itemById(id);
    if (found) click(found);
  }

  const unwatch = [clicks.watch(light), next.watch(light), bundleId.watch(load)];
  return () => {
    ended.abort();
    unwatch.forEach((end) => end());
    plot.close();
  };
}

/** Return the places of the session and of its recommendations on the map. */
export function litBy(drawn) {
  const placed = (items) => items.map((item) => placeOfItem(drawn, item)).filter((place) => place !== null);
  return { path: placed(clicks.value), next: clicks.value.length ? placed(next.value.items) : [] };
}

/** Return an item's place, null if the map does not show it. */
export function placeOfItem(drawn, item) {
  const number = drawn.numberOf(item.id);
  return number === undefined
    ? null
    : { id: item.id, name: nameOf(item), x: drawn.x[number], y: drawn.y[number] };
}
