/** The page's frame: navigation, theme, API key, and the status of the service. */

import { el } from "./dom.js";
import { apiKey, connection, keepLooking } from "./http.js";
import { about, begin } from "./session.js";
import { mountCalls } from "./calls_panel.js";
import { currentTheme, nextTheme } from "./theme.js";
import * as session from "./views/session.js";
import * as invent from "./views/invent.js";
import * as map from "./views/map.js";
import * as compare from "./views/compare.js";
import * as figures from "./views/figures.js";

const VIEWS = { session, invent, map, compare, figures };
const STATES = {
  connecting: "Connecting",
  ready: "Ready",
  degraded: "Degraded",
  busy: "Busy",
  unready: "Not ready",
  away: "Unreachable",
  key: "Unauthorized",
};

const view = document.getElementById("view");
const dialog = document.getElementById("key");
let unmount = () => {};
let shown = null;

function show() {
  const name = location.hash.slice(2);
  const chosen = VIEWS[name] ? name : "session";
  if (chosen === shown) return;
  const first = shown === null;
  shown = chosen;
  unmount();
  const root = el("div", { class: "view" });
  view.replaceChildren(root);
  unmount = VIEWS[chosen].mount(root);
  const heading = root.querySelector("h1");
  document.title = `${heading.textContent} · LLMEmb playground`;
  for (const link of document.querySelectorAll("nav a")) {
    if (link.hash === `#/${chosen}`) link.setAttribute("aria-current", "page");
    else link.removeAttribute("aria-current");
  }
  if (!first) {
    heading.tabIndex = -1;
    heading.focus({ preventScroll: true });
    scrollTo(0, 0);
  }
}

connection.watch(({ state, why, seconds }) => {
  const pill = document.getElementById("connection");
  if (pill.dataset.state !== state) {
    pill.dataset.state = state;
    pill.textContent = STATES[state];
  }
  const banner = document.getElementById("banner");
  const text = {
    busy: `The service is busy. Retrying in ${seconds} s.`,
    unready: `The service is not ready: ${why}. Retrying.`,
    away: "The service cannot be reached. Retrying.",
    degraded: `The service is degraded; recommendations still work: ${why}.`,
    key: apiKey.get() ? "The API key is not valid." : "The service requires an API key.",
  }[state];
  banner.hidden = !text;
  if (banner.textContent !== (text ?? "")) banner.textContent = text ?? "";
  if (state !== "key") return;
  document.getElementById("open-key").hidden = false;
  document.getElementById("key-why").textContent = text;
  if (!dialog.open) dialog.showModal();
});

const openKey = document.getElementById("open-key");
openKey.hidden = !apiKey.get();
openKey.addEventListener("click", () => dialog.showModal());
dialog.addEventListener("close", () => {
  if (!["use", "forget"].includes(dialog.returnValue)) return;
  const field = document.getElementById("key-field");
  apiKey.set(dialog.returnValue === "use" ? field.value.trim() : "");
  field.value = "";
  dialog.returnValue = "";
  connection.set({ state: "connecting", why: "" });
  begin().then(() => {
    shown = null;
    show();
  });
});

const theme = document.getElementById("theme");
const nameTheme = (name) => theme.replaceChildren(el("span", { class: "label" }, "Theme: "), name);
nameTheme(currentTheme());
theme.addEventListener("click", () => nameTheme(nextTheme()));

about.watch((info) => {
  if (!info) return;
  const items = info.catalogue.items.toLocaleString("en");
  // A link sends no API key, and a service with keys serves the report only to admins.
  document.getElementById("report").hidden = !info.report || Boolean(apiKey.get());
  document.getElementById("bundle").textContent =
    `Bundle ${info.bundle_id}: ${items} indexed items, ${info.dimension} dimensions.`;
});

addEventListener("hashchange", show);
mountCalls(document.getElementById("calls"));
show();
begin();
keepLooking();
