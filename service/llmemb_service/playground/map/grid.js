/** Finds the point under a pointer among very many: points by the cell of a grid. */

const CELLS = 256;

export class PointGrid {
  constructor(xs, ys) {
    this.xs = xs;
    this.ys = ys;
    this.left = Math.min(...edges(xs));
    this.bottom = Math.min(...edges(ys));
    this.cell = Math.max(span(xs), span(ys)) / CELLS || 1;
    this.cells = new Map();
    for (let number = 0; number < xs.length; number += 1) {
      const key = this.#key(this.#column(xs[number]), this.#row(ys[number]));
      if (!this.cells.has(key)) this.cells.set(key, []);
      this.cells.get(key).push(number);
    }
  }

  /** The number of the nearest point within `reach` of a place, -1 where there is none. */
  nearest({ x, y }, reach) {
    let best = -1;
    let least = reach;
    const wide = Math.min(Math.ceil(reach / this.cell), CELLS);
    for (let column = this.#column(x) - wide; column <= this.#column(x) + wide; column += 1) {
      for (let row = this.#row(y) - wide; row <= this.#row(y) + wide; row += 1) {
        for (const number of this.cells.get(this.#key(column, row)) ?? []) {
          const distance = Math.hypot(this.xs[number] - x, this.ys[number] - y);
          if (distance <= least) [best, least] = [number, distance];
        }
      }
    }
    return best;
  }

  #column(x) {
    return Math.floor((x - this.left) / this.cell);
  }

  #row(y) {
    return Math.floor((y - this.bottom) / this.cell);
  }

  #key(column, row) {
    return column * 4 * CELLS + row;
  }
}

function edges(values) {
  let [least, most] = [Infinity, -Infinity];
  for (const value of values) [least, most] = [Math.min(least, value), Math.max(most, value)];
  return values.length ? [least, most] : [0, 0];
}

function span(values) {
  const [least, most] = edges(values);
  return most - least;
}
