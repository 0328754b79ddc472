/** Add a new item: embed it, show it on the map, add it to the catalogue, and delete it again. */

import { el, number, say } from "../dom.js";
import { embed, put, recommend, remove, similar } from "../calls.js";
import { catalogueMap, forgetMap, placeAmong } from "../catalogue_map.js";
import { Problem, send } from "../http.js";
import { forgetItem, nameById } from "../item_names.js";
import { itemRow, scoreSide } from "../item_list.js";
import { attributeFields } from "../attribute_fields.js";
import { Plot } from "../map/plot.js";
import { about, askNext, nameOf, next } from "../session.js";
import { placeOfItem } from "./map.js";

const NEIGHBOURS = 6;
const NEIGHBOURS_TITLE = "Nearest items by text";
const FITTING = 5;
const ASKED = 20;

export function mount(root) {
  const ended = new AbortController();
  const { signal } = ended;
  const id = `invented-${crypto.getRandomValues(new Uint32Array(1))[0].toString(36)}`;
  const plot = new Plot({ small: true, nameOf: nameById });
  const fields = attributeFields();
  const told = el("p", { class: "empty", id: "told", role: "status" });
  const result = el("div", { class: "steps" });
  // The form's submit button, so that Enter in a field presses it.
  const look = step("Embed", "main", lookAt, { type: "submit", form: "attributes" });
  const putting = step("Add to the catalogue", "plain", putIt);
  const removing = step("Delete", "plain", removeIt);
  removing.disabled = true;
  root.append(
    el("h1", {}, "Add a new item"),
    el(
      "p",
      { class: "lead" },
      "The service embeds an item from its attributes: a new item can be recommended at once, without ",
      "training and without clicks.",
    ),
    el(
      "div",
      { class: "columns two" },
      el(
        "section",
        { class: "card stack" },
        el("header", {}, el("h2", {}, "Attributes"), step("Fill in an example", "plain", example)),
        fields.root,
        el("div", { class: "row" }, look, putting, removing),
        told,
      ),
      el("div", { class: "stack" }, plot.root, el("section", { class: "card" }, result)),
    ),
  );
  result.append(el("p", { class: "empty" }, "Embed the item to see its nearest items."));
  const unwatch = about.watch((info) => info && fields.show(info));
  catalogueMap(signal).then((drawn) => plot.show(drawn), ignoreProblem);

  function step(text, kind, work, options = { type: "button" }) {
    const button = el("button", { ...options, class: kind }, text);
    button.addEventListener("click", async () => {
      if (button.getAttribute("aria-disabled") === "true") return;
      button.setAttribute("aria-disabled", "true");
      try {
        await work();
      } catch (error) {
        if (signal.aborted) return;
        if (!(error instanceof Problem)) throw error;
        tell([error.message, ...error.faults].join(" · "), true);
      } finally {
        button.removeAttribute("aria-disabled");
      }
    });
    return button;
  }

  function tell(text, bad = false) {
    told.className = bad ? "error" : "empty";
    told.textContent = text;
  }

  function example() {
    const model = next.value.items[0];
    if (!model) return;
    fields.fill(model.attributes, nameOf(model));
    tell("Filled in from the first recommendation. Edit any field.");
  }

  async function lookAt() {
    const attributes = fields.read();
    tell("Embedding the item.");
    const { bundle_id: bundle } = await send(embed(id, attributes), { signal });
    const drawn = await catalogueMap(signal);
    if (drawn.bundle_id !== bundle) forgetMap();
    const neighbours = await readingAlike(attributes);
    const near = neighbours.map((item) => placeOfItem(drawn, item)).filter(Boolean);
    // A map of a part of the catalogue may show none of them.
    if (near.length) mark({ id, name: nameOf({ id, attributes }), ...placeAmong(near) }, near);
    else plot.light({});
    const rows = neighbours.map((item, place) =>
      itemRow(item, { rank: place + 1, side: [number(item.score)] }),
    );
    result.replaceChildren(section(NEIGHBOURS_TITLE, rows));
    const names = neighbours.slice(0, 3).map(nameOf).join(", ");
    tell(near.length ? `Embedded; the star marks it among ${names}.` : `Embedded; the map shows none of ${names}.`);
  }

  function mark(star, near) {
    plot.light({ star, near });
    plot.frame([star, ...near]);
    plot.root.dataset.star = `${star.x.toFixed(4)} ${star.y.toFixed(4)}`;
  }

  /** Return the nearest items by text; without a semantic term, the recommendations after the item. */
  async function readingAlike(attributes) {
    const strategy = about.value?.semantic_term ? "semantic" : undefined;
    const options = { k: NEIGHBOURS, strategy, filters: { deny: [id] } };
    return (await send(recommend([{ attributes }], options), { signal })).items;
  }

  async function putIt() {
    const attributes = fields.read();
    await lookAt();
    tell("Adding the item to the catalogue.");
    await send(put(id, attributes), { signal });
    changed(true);
    const { items } = await send(similar(id, FITTING), { signal });
    const drawn = await catalogueMap(signal);
    const star = placeOfItem(drawn, { id, attributes });
    plot.show(drawn);
    if (star) mark(star, items.map((item) => placeOfItem(drawn, item)).filter(Boolean));
    const fitting = items.map((item) => item.id);
    const answer = await send(recommend(fitting, { k: ASKED }), { signal });
    const rank = answer.items.findIndex((item) => item.id === id);
    result.replaceChildren(
      section(
        "Most similar items of the catalogue",
        items.map((item, place) => itemRow(item, { rank: place + 1, side: [number(item.similarity)] })),
      ),
      section(
        "Recommendations for a session of these",
        answer.items
          .slice(0, Math.max(FITTING, rank + 1))
          .map((item, place) =>
            itemRow(item, { rank: place + 1, side: scoreSide(item), kind: item.id === id ? "invented" : "" }),
          ),
      ),
    );
    const name = nameOf({ id, attributes });
    tell(
      rank < 0
        ? `${name} is in the catalogue, but not in the top ${ASKED} for a session of its most similar items.`
        : `${name} is in the catalogue, at rank ${rank + 1} for a session of its most similar items.`,
    );
    askNext({ unseen: true });
  }

  async function removeIt() {
    await send(remove(id), { signal });
    changed(false);
    plot.light({});
    plot.show(await catalogueMap(signal));
    result.replaceChildren(
      el("p", { class: "empty" }, "The item is no longer in the catalogue and is not recommended."),
    );
    tell("Deleted.");
    say("Item deleted");
    askNext({ unseen: true });
  }

  function changed(now) {
    if (!now) putting.focus({ preventScroll: true });
    removing.disabled = !now;
    putting.textContent = now ? "Update in the catalogue" : "Add to the catalogue";
    forgetMap();
    forgetItem(id);
  }

  return () => {
    ended.abort();
    unwatch();
    plot.close();
  };
}

function section(title, entries) {
  const list = el(
    "ol",
    { class: "items", "aria-label": title },
    ...entries.map((entry) => el("li", {}, entry)),
  );
  return el("div", {}, el("h3", {}, title), list);
}

function ignoreProblem(error) {
  if (!(error instanceof Problem) && error.name !== "AbortError") throw error;
}
