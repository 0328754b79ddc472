/** The panel of recent API requests, as code to copy. */

import { el, say } from "./dom.js";
import { apiKey, sent } from "./http.js";
import { curl, python, target } from "./python.js";

const LANGUAGES = { curl: { name: "curl", write: curl }, python: { name: "Python", write: python } };

export function mountCalls(root) {
  let language = "curl";
  let chosen = 0;
  const what = el("p", { class: "what" });
  const code = el("pre", { tabindex: "0", role: "region", "aria-label": "Request as code" });
  const older = el("select", {
    onchange: () => {
      chosen = Number(older.value);
      draw();
    },
  });
  const buttons = Object.entries(LANGUAGES).map(([key, { name }]) =>
    el(
      "button",
      {
        type: "button",
        "data-language": key,
        onclick: () => {
          language = key;
          draw();
        },
      },
      name,
    ),
  );
  const copy = el("button", { type: "button", class: "main", onclick: copyCode }, "Copy");
  root.append(
    el(
      "section",
      { class: "card" },
      el("header", {}, el("h2", {}, "API request")),
      el("label", {}, "Recent requests ", older),
      what,
      el("div", { class: "tabs", role: "group", "aria-label": "Language" }, ...buttons),
      code,
      copy,
    ),
  );
  sent.watch(() => {
    chosen = 0;
    draw();
  });

  function draw() {
    const entries = sent.value;
    const entry = entries[chosen];
    root.hidden = !entry;
    if (!entry) return;
    older.replaceChildren(...entries.map((each, place) => el("option", { value: place }, title(each))));
    older.value = String(chosen);
    what.textContent = entry.status
      ? `${entry.status} in ${Math.round(entry.milliseconds)} ms`
      : "waiting for a response";
    code.textContent = LANGUAGES[language].write(entry.call, location.origin, Boolean(apiKey.get()));
    for (const button of buttons)
      button.setAttribute("aria-pressed", String(button.dataset.language === language));
  }

  async function copyCode() {
    try {
      await navigator.clipboard.writeText(code.textContent);
      copy.textContent = "Copied";
    } catch {
      getSelection().selectAllChildren(code);
      copy.textContent = "Selected";
    }
    say(copy.textContent);
    setTimeout(() => {
      copy.textContent = "Copy";
    }, 1500);
  }
}

const title = (entry) => `${entry.call.method} ${decodeURIComponent(target(entry.call))}`.slice(0, 80);
