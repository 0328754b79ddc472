/** Lists of items with scores and reasons. */

import { el, number } from "./dom.js";
import { clicks, lineOf, nameOf } from "./session.js";

const REASONS = 3;

/** An item as a button; `extra` goes below its attributes. */
export function itemButton(item, { rank, side, extra, kind = "", action = "Add to the session", onclick }) {
  return el(
    "button",
    { type: "button", class: `item ${kind}`, "data-id": item.id, title: action, onclick },
    el("span", { class: "rank", "aria-hidden": "true" }, rank ?? "+"),
    ...itemContent(item, side, extra),
  );
}

/** An item that cannot be clicked. */
export function itemRow(item, { rank, side, extra, kind = "" }) {
  return el(
    "div",
    { class: `item ${kind}`, "data-id": item.id },
    el("span", { class: "rank" }, rank),
    ...itemContent(item, side, extra),
  );
}

function itemContent(item, side, extra) {
  return [
    el("span", { class: "name" }, nameOf(item)),
    side ? el("span", { class: "side" }, ...side) : null,
    el("span", { class: "about" }, lineOf(item)),
    extra ?? null,
  ];
}

/** A score with its unit; a fallback's score is the number of clicks. */
export function scoreSide(item, fallback) {
  const unit = fallback ? "clicks in training" : "score";
  return [fallback ? number(item.score, 0) : number(item.score), el("small", {}, unit)];
}

/** The clicks that contributed most to an item's score. */
export function reasonsOf(item) {
  const drawn = (item.reasons ?? []).filter((reason) => reason.contribution > 0).slice(0, REASONS);
  if (!drawn.length) return null;
  return el(
    "span",
    { class: "reasons" },
    el("span", {}, "because of"),
    ...drawn.map((reason) =>
      el(
        "span",
        {},
        el("b", {}, `${reason.position + 1} ${clickName(reason)}`),
        ` +${number(reason.contribution)}`,
      ),
    ),
  );
}

function clickName(reason) {
  const clicked = clicks.value[reason.position];
  return clicked && clicked.id === reason.id ? nameOf(clicked) : (reason.id ?? "an unlisted item");
}
