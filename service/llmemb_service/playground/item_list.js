/** Items as lists: to click, with scores and reasons. */

import { el, number } from "./dom.js";
import { clicks, lineOf, nameOf } from "./session.js";

const REASONS = 3;

/** An item that adds itself to the session; `extra` goes below its attributes. */
export function itemButton(item, { rank, side, extra, kind = "", action = "Add to the session", onclick }) {
  return el(
    "button",
    { type: "button", class: `item ${kind}`, "data-id": item.id, title: action, onclick },
    el("span", { class: "rank", "aria-hidden": "true" }, rank ?? "+"),
    ...itemContent(item, side, extra),
  );
}

/** An item that is only shown. */
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

/** What a score is, for people and screen readers. */
export function scoreSide(item, fallback) {
  const unit = fallback ? "clicks in training" : "score";
  return [fallback ? number(item.score, 0) : number(item.score), el("small", {}, unit)];
}

/** Which clicks drew an item, the strongest first. */
export function reasonsOf(item) {
  const drawn = (item.reasons ?? []).filter((reason) => reason.contribution > 0).slice(0, REASONS);
  if (!drawn.length) return null;
  return el(
    "span",
    { class: "reasons" },
    el("span", {}, "drawn by"),
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
  return clicked && clicked.id === reason.id ? nameOf(clicked) : (reason.id ?? "an item by attributes");
}
