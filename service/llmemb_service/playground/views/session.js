/** Search the catalogue, click items into a session, and see what comes next. */

import { debounced, el, refill, say } from "../dom.js";
import { recommend, search } from "../calls.js";
import { Problem, send } from "../http.js";
import { itemButton, reasonsOf, scoreSide } from "../item_list.js";
import { clear, click, clicks, nameOf, next, unclick } from "../session.js";
import { ofManyKinds } from "../shelf.js";

const PAGE = 12;
/** How many popular items the first ones are chosen from. */
const KNOWN = 40;
const TYPING_MILLISECONDS = 200;

export function mount(root) {
  const ended = new AbortController();
  const unwatch = [];
  const found = catalogue(ended.signal);
  const chips = el("ol", { class: "clicks", "aria-label": "Clicked items, the oldest first" });
  const clearing = el("button", { type: "button", class: "plain", onclick: clear }, "Clear");
  const list = el("ol", { class: "items", id: "next", "aria-label": "What comes next" });
  const heading = el("h2", {}, "What comes next");
  const note = el("p", { class: "empty" });
  root.append(
    el("h1", {}, "Click, and see what comes next"),
    el(
      "p",
      { class: "lead" },
      "A recommender that reads: it goes by what items say about themselves, and by what people did next. ",
      "Click what you like, then ",
      el("a", { href: "#/invent" }, "invent an item"),
      " that nobody knows yet.",
    ),
    el(
      "div",
      { class: "columns two" },
      found,
      el(
        "div",
        { class: "stack" },
        el("section", { class: "card" }, el("header", {}, el("h2", {}, "The session"), clearing), chips),
        el("section", { class: "card" }, el("header", {}, heading), note, list),
      ),
    ),
  );

  unwatch.push(
    clicks.watch((all) => {
      clearing.hidden = !all.length;
      const none = el("li", { class: "empty" }, "Nothing clicked yet. Choose an item from the catalogue.");
      refill(chips, all.length ? all.map(chip) : [none]);
    }),
  );
  let before = new Set();
  unwatch.push(
    next.watch(({ items, fallback, waiting, problem }) => {
      list.setAttribute("aria-busy", String(waiting));
      if (waiting) return;
      heading.textContent = fallback ? "Popular now" : "What comes next";
      note.hidden = items.length > 0;
      note.textContent = problem ? problem.message : "Nothing is left to recommend.";
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
      { type: "button", "aria-label": `Take ${name} out of the session`, onclick: () => unclick(place) },
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

/** The search and what it finds; without words popular items of many kinds. */
function catalogue(signal) {
  const list = el("ul", { class: "items", id: "found", "aria-label": "Items found" });
  const heading = el("h2", {}, "The catalogue");
  const note = el("p", { class: "empty", hidden: true });
  const more = el("button", { type: "button", class: "plain more", hidden: true }, "More");
  const field = el("input", {
    type: "search",
    id: "search",
    placeholder: "Words of a title or an attribute",
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
      heading.textContent = words ? "Found in the catalogue" : "The catalogue";
      note.hidden = list.children.length > 0;
      note.textContent = "No item has all of these words.";
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
