/** Colours of points: by category or by popularity, for light and dark. */

import { isDark } from "../theme.js";

const CATEGORIES = {
  light: ["#2a78d6", "#1baf7a", "#e08a00", "#4a3aa7", "#e34948", "#008300", "#d55b95", "#8a5a2b"],
  dark: ["#4a97ee", "#25b985", "#d99a1c", "#9b91ee", "#ee7170", "#35a835", "#e0709f", "#c08a58"],
};
const REST = { light: "#b3b5b9", dark: "#565b64" };
const FEW = { light: [200, 208, 222], dark: [52, 60, 76] };
const MANY = { light: [14, 63, 168], dark: [150, 196, 255] };

export const MOST_CATEGORIES = CATEGORIES.light.length;

const theme = () => (isDark() ? "dark" : "light");

export function categoryColours(number) {
  return [...Array(number).keys()].map((place) => CATEGORIES[theme()][place]);
}

export const restColour = () => REST[theme()];

/** Return each point's colour as bytes `rgba`, after one another. */
export function pointColours(drawn, by) {
  const count = drawn.ids.length;
  const bytes = new Uint8Array(4 * count);
  const colourOf = by === "popularity" ? popularityColour(drawn) : categoryColour(drawn);
  for (let number = 0; number < count; number += 1) {
    bytes.set(colourOf(number), 4 * number);
    bytes[4 * number + 3] = 255;
  }
  return bytes;
}

function categoryColour(drawn) {
  const colours = categoryColours(Math.min(MOST_CATEGORIES, drawn.categories.length)).map(rgb);
  const rest = rgb(restColour());
  return (number) => colours[drawn.category[number]] ?? rest;
}

function popularityColour(drawn) {
  const most = Math.log1p(drawn.popularity.reduce((one, other) => Math.max(one, other), 1));
  return (number) => popularityShade(Math.log1p(drawn.popularity[number]) / most);
}

/** The shade of a popularity between 0 and 1, as three bytes. */
export function popularityShade(share) {
  const [from, to] = [FEW[theme()], MANY[theme()]];
  return from.map((value, channel) => Math.round(value + share * (to[channel] - value)));
}

const rgb = (hex) => [1, 3, 5].map((start) => parseInt(hex.slice(start, start + 2), 16));
