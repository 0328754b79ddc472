/** The theme: light, dark, or the system's. */

import { Watched } from "./dom.js";

const KEY = "llmemb-theme";
const THEMES = ["system", "light", "dark"];

/** Changes when the colours change. */
export const themeChanges = new Watched(0);

export function currentTheme() {
  const kept = localStorage.getItem(KEY);
  return THEMES.includes(kept) ? kept : "system";
}

/** Switch to the next theme and return its name. */
export function nextTheme() {
  const theme = THEMES[(THEMES.indexOf(currentTheme()) + 1) % THEMES.length];
  localStorage.setItem(KEY, theme);
  apply(theme);
  return theme;
}

function apply(theme) {
  if (theme === "system") delete document.documentElement.dataset.theme;
  else document.documentElement.dataset.theme = theme;
  themeChanges.set(themeChanges.value + 1);
}

export function isDark() {
  return (
    getComputedStyle(document.documentElement).getPropertyValue("color-scheme") === "dark" ||
    (currentTheme() === "system" && matchMedia("(prefers-color-scheme: dark)").matches)
  );
}

apply(currentTheme());
matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => apply(currentTheme()));
