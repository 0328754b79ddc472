/** Invent an item: see where it lies, put it in the catalogue, see it recommended, and remove it again. */

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
const NEIGHBOURS_TITLE = "Its neighbours: items that read like it";
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
  // Of the form of the fields, so that Enter in one of them is a click on it.
  const look = step("Look at it", "main", lookAt, { type: "submit", form: "attributes" });
  const putting = step("Put it in the catalogue", "plain", putIt);
  const removing = step("Remove it", "plain", removeIt);
  removing.disabled = true;
  root.append(
    el("h1", {}, "Invent an item"),
    el(
      "p",
      { class: "lead" },
      "The service knows an item by its attributes alone. Nothing is trained again: what you make up here can be ",
      "recommended a moment later.",
    ),
    el(
      "div",
      { class: "columns two" },
      el(
        "section",
        { class: "card stack" },
        el("header", {}, el("h2", {}, "Its attributes"), step("Fill in an example", "plain", example)),
        fields.root,
        el("div", { class: "row" }, look, putting, removing),
        told,
      ),
      el("div", { class: "stack" }, plot.root, el("section", { class: "card" }, result)),
    ),
  );
  result.append(el("p", { class: "empty" }, "Look at it, and its neighbours are named here."));
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
    tell("An item like the first one that comes next. Change what you like.");
  }

  async function lookAt() {
    const attributes = fields.read();
    tell("The language model reads it.");
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
    tell(near.length ? `It is at the star, among ${names}.` : `Its neighbours are ${names}; the map shows none of them.`);
  }

  function mark(star, near) {
    plot.light({ star, near });
    plot.frame([star, ...near]);
    plot.root.dataset.star = `${star.x.toFixed(4)} ${star.y.toFixed(4)}`;
  }

  /** Return the items whose texts are most like it, where the bundle tells these apart, else what comes after it. */
  async function readingAlike(attributes) {
    const strategy = about.value?.semantic_term ? "semantic" : undefined;
    const options = { k: NEIGHBOURS, strategy, filters: { deny: [id] } };
    return (await send(recommend([{ attributes }], options), { signal })).items;
  }

  async function putIt() {
    const attributes = fields.read();
    await lookAt();
    tell("It is written to disk.");
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
        "Most like it, of the whole catalogue",
        items.map((item, place) => itemRow(item, { rank: place + 1, side: [number(item.similarity)] })),
      ),
      section(
        "Recommended after these",
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
        ? `${name} is in the catalogue, but not among the ${ASKED} that come after the items most like it.`
        : `${name} is in the catalogue, and comes as number ${rank + 1} after a session of the items most like it.`,
    );
    askNext({ unseen: true });
  }

  async function removeIt() {
    await send(remove(id), { signal });
    changed(false);
    plot.light({});
    plot.show(await catalogueMap(signal));
    result.replaceChildren(
      el("p", { class: "empty" }, "It is gone from the catalogue and from every recommendation."),
    );
    tell("It is removed.");
    say("The item is removed");
    askNext({ unseen: true });
  }

  function changed(now) {
    if (!now) putting.focus({ preventScroll: true });
    removing.disabled = !now;
    putting.textContent = now ? "Put it again" : "Put it in the catalogue";
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
