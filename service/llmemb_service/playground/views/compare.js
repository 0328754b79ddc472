/** Recommendations for one session by each part of the score, or by each loaded bundle. */

import { el, refill } from "../dom.js";
import { bundles, recommendBatch } from "../calls.js";
import { Problem, send } from "../http.js";
import { itemButton, scoreSide } from "../item_list.js";
import { about, click, clicks, nameOf } from "../session.js";

const K = 10;
const STRATEGIES = {
  all: ["Full score", "the default of POST /recommend"],
  collaborative: ["Collaborative", "sequence model: what follows in click sequences"],
  semantic: ["Semantic", "text similarity to the session"],
  successors: ["Successors", "text similarity to what others clicked next"],
  popular: ["Popular", "most clicks in training, without the session"],
};

export function mount(root) {
  const ended = new AbortController();
  let asking = new AbortController();

  const what = el(
    "select",
    { onchange: ask },
    el("option", { value: "strategies" }, "parts of the score"),
    el("option", { value: "bundles" }, "loaded bundles"),
  );
  const session = el("p", { class: "empty" });
  const columns = el("div", { class: "side-by-side", id: "columns" });
  root.append(
    el("h1", {}, "Compare recommendations"),
    el(
      "p",
      { class: "lead" },
      "Recommendations for the same session, side by side. A bar on the left marks items in several lists. ",
      "Click an item to add it to the session.",
    ),
    el("div", { class: "controls" }, el("label", {}, "Compare ", what)),
    session,
    columns,
  );

  /** Request all columns in one batch. */
  async function ask() {
    asking.abort();
    asking = new AbortController();
    const { signal } = asking;
    const history = clicks.value.map((item) => item.id);
    session.textContent = history.length
      ? `Session: ${clicks.value.map(nameOf).join(", ")}`
      : "The session is empty, so every column shows popular items. Click an item.";
    try {
      const asked = what.value === "bundles" ? await bundleColumns(signal) : strategyColumns();
      if (!asked.length) return;
      const requests = asked.map(({ options }) => ({ history, k: K, ...options }));
      const { results } = await send(recommendBatch(requests), { signal });
      draw(asked, results);
    } catch (error) {
      if (signal.aborted || ended.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      columns.replaceChildren(el("p", { class: "error" }, error.message));
    }
  }

  function strategyColumns() {
    if (!about.value) return [];
    const known = Object.entries(STRATEGIES).filter(
      ([name]) =>
        (name !== "semantic" || about.value.semantic_term) &&
        (name !== "successors" || about.value.semantic_term?.delta),
    );
    return known.map(([strategy, [title, meaning]]) => ({ title, meaning, options: { strategy } }));
  }

  async function bundleColumns(signal) {
    const { loaded } = await send(bundles(), { signal });
    if (loaded.length < 2) {
      columns.replaceChildren(
        el(
          "p",
          { class: "empty" },
          "Only one bundle is loaded. Load another with POST /admin/bundles or PUT /admin/experiment.",
        ),
      );
      return [];
    }
    return loaded.map(({ bundle_id: id, name, role }) => ({
      title: role,
      meaning: `${name} (${id})`,
      options: { bundle_id: id },
    }));
  }

  function draw(asked, results) {
    const times = new Map();
    for (const { items } of results) for (const { id } of items) times.set(id, (times.get(id) ?? 0) + 1);
    refill(
      columns,
      asked.map(({ title, meaning }, place) => column(title, meaning, results[place], times)),
    );
  }

  const unwatch = [clicks.watch(ask), about.watch(ask)];
  return () => {
    ended.abort();
    asking.abort();
    unwatch.forEach((end) => end());
  };
}

function column(title, meaning, { items, fallback }, times) {
  const entries = items.map((item, place) =>
    el(
      "li",
      {},
      itemButton(item, {
        rank: place + 1,
        side: scoreSide(item, fallback),
        kind: times.get(item.id) > 1 ? "shared" : "",
        onclick: () => click(item),
      }),
    ),
  );
  return el(
    "section",
    { class: "card" },
    el("header", {}, el("h2", {}, title), el("p", { class: "hint" }, meaning)),
    el("ol", { class: "items", "aria-label": title }, ...entries),
  );
}
