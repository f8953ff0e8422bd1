// Summary charts: how the images are distributed, and each bone's values.

import { IMAGES, REPORT, valuesOf } from "./data.js";
import { swatch } from "./drawing.js";
import { byId, element, vector } from "./elements.js";
import { BONES, boneName, say, share, state, whole } from "./settings.js";

function quantile(sorted, q) {
  const at = (sorted.length - 1) * q;
  const low = Math.floor(at);
  return sorted[low] + (at - low) * ((sorted[low + 1] ?? sorted[low]) - sorted[low]);
}

const percent = (part) => `${(100 * part).toFixed(3)}%`;

// An axis from low to high, straight or logarithmic: where a value lies on it, 0 to 1, and its ticks.
function axis(low, high, ticks, text, logarithmic = false) {
  const scale = logarithmic ? Math.log : (value) => value;
  const at = (value) => Math.min(1, Math.max(0, (scale(value) - scale(low)) / (scale(high) - scale(low))));
  return { low, high, at, ticks, text };
}

function shareAxis(values, most) {
  const lowest = values.length ? quantile(values.toSorted((a, b) => a - b), 0.01) : 0;
  const low = Math.min(0.9, Math.max(0, Math.floor(lowest * 10) / 10));
  const step = [0.02, 0.05, 0.1, 0.2].find((size) => (1 - low) / size < most + 0.001) ?? 0.5;
  const count = Math.floor((1 - low) / step + 0.001);
  const ticks = Array.from({ length: count + 1 }, (_, n) => 1 - (count - n) * step);
  return axis(low, 1, ticks, (value) => value.toFixed(2));
}

function areaAxis(values) {
  const ends = values.length ? [Math.min(...values), Math.max(...values)] : [1, 10];
  const within = (factors) =>
    [0, 1, 2, 3, 4, 5, 6, 7]
      .flatMap((power) => factors.map((factor) => factor * 10 ** power))
      .filter((value) => value >= ends[0] && value <= ends[1]);
  const ticks = within([1, 3]).length > 4 ? within([1]) : within([1, 3]);
  const text = (value) => value.toLocaleString(state.language, { notation: "compact" });
  return axis(0.9 * ends[0], 1.1 * ends[1], ticks, text, true);
}

function axisRow({ ticks, at, text }) {
  const labels = ticks.map((value) => {
    const label = element("span", {}, text(value));
    label.style.left = percent(at(value));
    return label;
  });
  return element("div", { class: "axis", "aria-hidden": "true" }, ...labels);
}

function histogram(title, values, along) {
  const bins = 20;
  const counts = new Array(bins).fill(0);
  for (const value of values) counts[Math.min(bins - 1, Math.floor(along.at(value) * bins))] += 1;
  const most = Math.max(1, ...counts);
  const edge = (bin) => share(along.low + (bin / bins) * (along.high - along.low), 2);
  const bars = counts.map((count, bin) => {
    const words = say("binned", { low: edge(bin), high: edge(bin + 1), n: count });
    const place = { x: percent(bin / bins), width: percent(1 / bins) };
    return vector(
      "g",
      { class: "bin" },
      vector("title", {}, words),
      vector("rect", { class: "reach", y: 0, height: "100%", ...place }),
      vector("rect", { class: "bar", y: percent(1 - count / most), height: percent(count / most), ...place }),
    );
  });
  const plot = vector("svg", { class: "plot", role: "img", "aria-label": `${title}: ${values.length}` }, ...bars);
  const top = element("span", { class: "most", "aria-hidden": "true" }, say("most", { n: whole(most) }));
  return element("figure", { class: "chart" }, element("figcaption", {}, title), top, plot, axisRow(along));
}

function strip(bone, values, along) {
  const sorted = values.toSorted((a, b) => a - b);
  if (!sorted.length) return vector("svg", { class: "strip" });
  const [lowest, low, quarter, median, threeQuarters, high] = [0, 0.05, 0.25, 0.5, 0.75, 0.95].map((q) =>
    quantile(sorted, q),
  );
  const x = (value) => percent(along.at(value));
  const text = REPORT.scored ? (value) => share(value) : (value) => whole(Math.round(value));
  const words = say("strip", {
    bone: boneName(bone),
    median: text(median),
    low: text(quarter),
    high: text(threeQuarters),
    lowest: text(lowest),
  });
  const grid = along.ticks.map((tick) => vector("line", { class: "grid", x1: x(tick), x2: x(tick), y1: 0, y2: "100%" }));
  const width = percent(along.at(threeQuarters) - along.at(quarter));
  return vector(
    "svg",
    { class: "strip", role: "img", "aria-label": words },
    vector("title", {}, words),
    ...grid,
    vector("line", { class: "whisker", x1: x(low), x2: x(high), y1: "50%", y2: "50%" }),
    vector("rect", { class: "box", x: x(quarter), width, y: "22%", height: "56%" }),
    vector("line", { class: "median", x1: x(median), x2: x(median), y1: "14%", y2: "86%" }),
    vector("circle", { class: "lowest", cx: x(lowest), cy: "50%", r: 2.5 }),
  );
}

export function drawCharts(chooseBone) {
  const given = (values) => values.filter((value) => value !== null);
  const means = given(IMAGES.map((image) => image.mean));
  const scores = IMAGES.map((image) => image.score);
  const plots = [histogram(say("scoreOfImages"), scores, shareAxis(scores, 5))];
  if (REPORT.scored) plots.unshift(histogram(say("diceOfImages"), means, shareAxis(means, 5)));
  byId("histograms").replaceChildren(...plots);

  const values = BONES.map((_, bone) => IMAGES.flatMap((image) => valuesOf(image, bone)));
  const along = REPORT.scored ? shareAxis(values.flat(), 3) : areaAxis(values.flat());
  const rows = values.map((ofBone, bone) => {
    const mean = ofBone.length ? ofBone.reduce((a, b) => a + b) / ofBone.length : null;
    const text = mean === null ? "–" : REPORT.scored ? share(mean) : whole(Math.round(mean));
    const name = element("button", { type: "button", class: "plain", onclick: () => chooseBone(bone) }, boneName(bone));
    const number = element("span", { class: "number" }, text);
    return element("div", { class: "row" }, swatch(bone), name, strip(bone, ofBone, along), number);
  });
  const title = element("figcaption", {}, say(REPORT.scored ? "diceOfBones" : "areaOfBones"));
  const half = Math.ceil(rows.length / 2);
  const columns = [rows.slice(0, half), rows.slice(half)].map((some) => {
    const scale = element("div", { class: "row" }, element("i"), element("i"), axisRow(along), element("i"));
    return element("div", { class: "rows" }, ...some, scale);
  });
  const note = element("p", { class: "hint" }, say("stripsNote"));
  byId("strips").replaceChildren(title, element("div", { class: "columns" }, ...columns), note);
}

