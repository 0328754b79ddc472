/** Parser of the Prometheus text format. */

const LINE = /^(\w+)(?:\{(.*)\})? (\S+)$/;
const LABEL = /(\w+)="((?:[^"\\]|\\.)*)"/g;

/** The histogram of all requests. */
export const DURATION = "http_server_request_duration_seconds";

export class Sample {
  constructor(text) {
    this.at = performance.now() / 1000;
    this.series = [];
    for (const line of text.split("\n")) {
      const parts = line.startsWith("#") ? null : LINE.exec(line);
      if (!parts) continue;
      const labels = Object.fromEntries(
        [...(parts[2] ?? "").matchAll(LABEL)].map(([, name, value]) => [name, value]),
      );
      this.series.push({ name: `${parts[1]}`, labels, value: Number(parts[3]) });
    }
  }

  /** The series of a metric that have these labels. */
  of(name, labels = {}) {
    const wanted = Object.entries(labels);
    return this.series.filter(
      (each) => each.name === name && wanted.every(([label, value]) => each.labels[label] === value),
    );
  }

  sum(name, labels) {
    return this.of(name, labels).reduce((sum, each) => sum + each.value, 0);
  }

  /** Sums by label value. */
  by(name, label) {
    const sums = new Map();
    for (const each of this.of(name))
      sums.set(each.labels[label], (sums.get(each.labels[label]) ?? 0) + each.value);
    return sums;
  }
}

/** A histogram's quantile between two samples, in its unit; null if there were no observations. */
export function quantile(before, now, name, share, labels = {}) {
  const bounds = new Map();
  for (const [sample, sign] of [
    [now, 1],
    [before, -1],
  ]) {
    for (const each of sample?.of(`${name}_bucket`, labels) ?? []) {
      const bound = each.labels.le === "+Inf" ? Infinity : Number(each.labels.le);
      bounds.set(bound, (bounds.get(bound) ?? 0) + sign * each.value);
    }
  }
  const sorted = [...bounds].sort((one, other) => one[0] - other[0]);
  const total = sorted.at(-1)?.[1] ?? 0;
  if (!total) return null;
  let [below, counted] = [0, 0];
  for (const [bound, count] of sorted) {
    if (count >= share * total) {
      return bound === Infinity
        ? below
        : below + ((bound - below) * (share * total - counted)) / (count - counted || 1);
    }
    [below, counted] = [bound, count];
  }
  return below;
}
