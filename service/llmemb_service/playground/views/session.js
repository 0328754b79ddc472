/** Search the catalogue, build a session, and see the recommendations. */

import { debounced, el, refill, say } from "../dom.js";
import { recommend, search } from "../calls.js";
import { Problem, send } from "../http.js";
import { itemButton, reasonsOf, scoreSide } from "../item_list.js";
import { clear, click, clicks, nameOf, next, unclick } from "../session.js";
import { ofManyKinds } from "../shelf.js";

const PAGE = 12;
/** Number of popular items that the first page is chosen from. */
const KNOWN = 40;
const TYPING_MILLISECONDS = 200;

export function mount(root) {
  const ended = new AbortController();
  const unwatch = [];
  const found = catalogue(ended.signal);
  const chips = el("ol", { class: "clicks", "aria-label": "Session, oldest click first" });
  const clearing = el("button", { type: "button", class: "plain", onclick: clear }, "Clear");
  const list = el("ol", { class: "items", id: "next", "aria-label": "Recommendations" });
  const heading = el("h2", {}, "Recommendations");
  const note = el("p", { class: "empty" });
  root.append(
    el("h1", {}, "Recommendations for a session"),
    el(
      "p",
      { class: "lead" },
      "LLMEmb ranks items by their text and by the click sequences it was trained on. ",
      "Click items to build a session, then ",
      el("a", { href: "#/invent" }, "add a new item"),
      " that has no clicks yet.",
    ),
    el(
      "div",
      { class: "columns two" },
      found,
      el(
        "div",
        { class: "stack" },
        el("section", { class: "card" }, el("header", {}, el("h2", {}, "Session"), clearing), chips),
        el("section", { class: "card" }, el("header", {}, heading), note, list),
      ),
    ),
  );

  unwatch.push(
    clicks.watch((all) => {
      clearing.hidden = !all.length;
      const none = el("li", { class: "empty" }, "The session is empty. Click an item of the catalogue.");
      refill(chips, all.length ? all.map(chip) : [none]);
    }),
  );
  let before = new Set();
  unwatch.push(
    next.watch(({ items, fallback, waiting, problem }) => {
      list.setAttribute("aria-busy", String(waiting));
      if (waiting) return;
      heading.textContent = fallback ? "Popular items" : "Recommendations";
      note.hidden = items.length > 0;
      note.textContent = problem ? problem.message : "No items to recommend.";
      refill(
        list,
        items.map((item, place) => el("li", {}, nextItem(item, place, fallback, before))),
      );
      before = new Set(items.map((item) => item.id));
    }),
  );
  return () => {
    ended.abort();
    unwatch.forEach((end) => end());
  };
}

function chip(item, place) {
  const name = nameOf(item);
  return el(
    "li",
    {},
    el("span", { class: "number" }, place + 1),
    name,
    el(
      "button",
      { type: "button", "aria-label": `Remove ${name} from the session`, onclick: () => unclick(place) },
      "×",
    ),
  );
}

function nextItem(item, place, fallback, before) {
  const fresh = before.size > 0 && !before.has(item.id);
  return itemButton(item, {
    rank: place + 1,
    side: scoreSide(item, fallback),
    extra: reasonsOf(item),
    kind: fresh ? "fresh" : "",
    onclick: () => click(item),
  });
}

/** Search and its results; without a query, popular items of many categories. */
function catalogue(signal) {
  const list = el("ul", { class: "items", id: "found", "aria-label": "Items of the catalogue" });
  const heading = el("h2", {}, "Catalogue");
  const note = el("p", { class: "empty", hidden: true });
  const more = el("button", { type: "button", class: "plain more", hidden: true }, "Load more");
  const field = el("input", {
    type: "search",
    id: "search",
    placeholder: "Title or attribute",
    autocomplete: "off",
    spellcheck: "false",
    oninput: debounced(() => find(), TYPING_MILLISECONDS),
  });
  let asking = new AbortController();
  let cursor = null;
  more.addEventListener("click", () => find(cursor));
  signal.addEventListener("abort", () => asking.abort());

  async function find(from = null) {
    asking.abort();
    asking = new AbortController();
    const words = field.value.trim();
    const unseen = !words;
    try {
      const call = words ? search(words, PAGE, from ?? undefined) : recommend([], { k: KNOWN });
      const answer = await send(call, { signal: asking.signal, unseen });
      cursor = answer.next_cursor ?? null;
      more.hidden = !cursor;
      const items = words ? answer.items : ofManyKinds(answer.items, PAGE);
      const entries = items.map((item) => el("li", {}, itemButton(item, { onclick: () => click(item) })));
      if (from) list.append(...entries);
      else list.replaceChildren(...entries);
      heading.textContent = words ? "Search results" : "Catalogue";
      note.hidden = list.children.length > 0;
      note.textContent = "No items match the query.";
      if (words) say(`${list.children.length} items found`);
    } catch (error) {
      if (asking.signal.aborted) return;
      if (!(error instanceof Problem)) throw error;
      note.hidden = false;
      note.textContent = error.message;
    }
  }

  find();
  return el(
    "section",
    { class: "card" },
    el("header", {}, heading),
    el("label", { for: "search" }, "Search"),
    field,
    note,
    el("div", { class: "more" }, list),
    more,
  );
}
