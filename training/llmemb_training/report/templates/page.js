"use strict";
(() => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // Tooltips: for elements with data-tip, and for the points of the map.
  const tip = document.getElementById("tip");
  const show = (text, x, y) => {
    tip.textContent = text;
    tip.hidden = false;
    const { width, height } = tip.getBoundingClientRect();
    tip.style.left = `${Math.max(8, Math.min(x + 12, innerWidth - width - 8))}px`;
    tip.style.top = `${y + 16 + height > innerHeight ? y - height - 12 : y + 16}px`;
  };
  const hide = () => { tip.hidden = true; };

  // The map: highlights one item in every panel, the items of a group, or those that match the search.
  const map = document.getElementById("map");
  const items = map ? JSON.parse(document.getElementById("map-items").textContent) : [];
  const panels = map ? all("svg.map", map).map((panel) => all("circle", panel)) : [];
  let here = -1;
  const mark = (index) => {
    if (index === here) return;
    for (const panel of panels) {
      panel[here]?.classList.remove("here");
      panel[index]?.classList.add("here");
    }
    here = index;
  };
  const light = (isOn) => {
    for (const svg of all("svg.map", map)) svg.classList.toggle("dim", isOn !== null);
    for (const panel of panels) panel.forEach((circle, index) => circle.classList.toggle("on", isOn !== null && isOn(index)));
  };
  addEventListener("pointermove", (event) => {
    const target = event.target instanceof Element ? event.target : null;
    const circle = target?.closest("svg.map circle");
    const index = circle ? panels.find((panel) => panel.includes(circle)).indexOf(circle) : -1;
    mark(index);
    const text = circle ? items[index].join("\n") : target?.closest("[data-tip]")?.dataset.tip;
    if (text) show(text, event.clientX, event.clientY); else hide();
  });
  addEventListener("scroll", hide, { passive: true });
  if (map) {
    const buttons = all(".legend button", map);
    const input = map.querySelector(".finder input");
    const found = map.querySelector(".finder output");
    for (const button of buttons) {
      button.addEventListener("click", () => {
        const pressed = button.getAttribute("aria-pressed") !== "true";
        for (const other of buttons) other.setAttribute("aria-pressed", String(other === button && pressed));
        input.value = found.value = "";
        light(pressed ? (index) => panels[0][index].classList.contains(`g${button.dataset.group}`) : null);
      });
    }
    input.addEventListener("input", () => {
      for (const button of buttons) button.setAttribute("aria-pressed", "false");
      const wanted = input.value.trim().toLowerCase();
      const matches = items.map(([name, details]) => `${name} ${details}`.toLowerCase().includes(wanted));
      light(wanted ? (index) => matches[index] : null);
      found.value = wanted ? `${matches.filter(Boolean).length} of ${items.length}` : "";
    });
  }

  // Tables: a click on a column's header sorts by it, in descending order first.
  const key = (row, column) => {
    const cell = row.cells[column];
    return "sort" in cell.dataset ? Number(cell.dataset.sort) : cell.textContent.trim();
  };
  for (const table of all("table.sortable")) {
    all("thead th", table).forEach((head, column) => {
      const button = document.createElement("button");
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        const order = head.getAttribute("aria-sort") === "descending" ? "ascending" : "descending";
        for (const other of all("thead th", table)) other.removeAttribute("aria-sort");
        head.setAttribute("aria-sort", order);
        const sign = order === "ascending" ? 1 : -1;
        const compare = (a, b) => (typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b)));
        const rows = [...table.tBodies[0].rows].sort((a, b) => sign * compare(key(a, column), key(b, column)));
        table.tBodies[0].append(...rows);
      });
    });
  }
})();
