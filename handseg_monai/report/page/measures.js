// The measures of an image in a table; pressing one draws its lines on the image.

import { byId, element, vector } from "./elements.js";
import { boneName, BONES, handName, inEnglish, say, state } from "./settings.js";
import { STRINGS } from "./strings.js";

// Published values by the name of the measure; they come with a page's data.
export const REFERENCES = {};

let chosen = null;

// Show the measures of each hand; a hand has its side, or null where there is but one. The stage holds the drawing.
export function showMeasures(hands, drawing, stage) {
  const all = hands.flatMap(({ side, measures }, hand) => measures.map((measure) => ({ ...measure, side, hand })));
  // Every bone has a length and a width: they are folded up, below the few other measures.
  const ofBone = ({ name }) => /^(length|width) /.test(name);
  const [few, many] = [all.filter((measure) => !ofBone(measure)), all.filter(ofBone)];
  const where = all.find(({ says }) => says)?.says ?? "";
  byId("measures").hidden = !all.length;
  byId("plane").textContent = where ? say("plane", { says: plane(where) }) : say("noSpacing");
  byId("plane").hidden = !where && !all.some(({ unit }) => unit === "px");
  byId("sizes").hidden = !many.length;
  for (const [id, rows] of [["measures-table", few], ["sizes-table", many]]) {
    byId(id).hidden = !rows.length;
    byId(id).replaceChildren(...measureRows(rows, where, () => reveal(press(drawing, all), stage)));
  }
  press(drawing, all);
}

const keyOf = ({ hand, name }) => `${hand} ${name}`;

function measureRows(measures, where, pressed) {
  const titles = ["measure", "value", "reference"].map((title) => element("th", { scope: "col" }, say(title)));
  const rows = measures.map((measure) => {
    const key = keyOf(measure);
    const drawn = measure.lines.length > 0;
    // The button of a row is for keys; a pointer finds it everywhere on the row, but for what the row folds up.
    const onclick = ({ target }) => {
      if (!drawn || target.closest(".reference")) return;
      chosen = chosen === key ? null : key;
      pressed();
    };
    const side = measure.side ? `${handName(measure.side)}: ` : "";
    const button = { type: "button", class: "plain", disabled: !drawn };
    const name = element("th", { scope: "row" }, element("button", button, `${side}${measureName(measure.name)}`));
    const row = { class: drawn ? "drawn" : "", "data-measure": measure.name, "data-hand": measure.hand, "data-key": key, onclick };
    return element("tr", row, name, ...cells(measure, where));
  });
  return [element("thead", {}, element("tr", {}, ...titles)), element("tbody", {}, ...rows)];
}

// Mark the measure that is chosen, draw its lines, and return it.
function press(drawing, all) {
  for (const row of byId("measures").querySelectorAll("tbody tr")) {
    const on = row.dataset.key === chosen;
    row.classList.toggle("chosen", on);
    row.querySelector("button").setAttribute("aria-pressed", on);
  }
  const measure = all.find((each) => keyOf(each) === chosen);
  drawLines(drawing, measure);
  return measure;
}

function reveal(measure, stage) {
  if (!measure) return;
  const [xs, ys] = [0, 1].map((axis) => measure.lines.flat().map((end) => end[axis]));
  const [x, y] = [Math.min(...xs), Math.min(...ys)];
  stage.reveal({ x, y, width: Math.max(...xs) - x, height: Math.max(...ys) - y });
}

// The plane that lengths hold in is named where it is not that of the others.
function cells({ name, value, unit = "", says, reason, reference }, where) {
  if (value === null) return [element("td", { class: "reason", colspan: 2 }, reasonText(reason))];
  const digits = unit === "" ? 3 : unit === "px" && Math.abs(value) >= 20 ? 0 : 1;
  const words = value.toFixed(digits) + unitName(unit);
  const other = says && says !== where ? element("small", { class: "faint" }, plane(says)) : "";
  return [element("td", {}, words, other), element("td", {}, reference ? referenceOf(REFERENCES[name], digits) : "–")];
}

export function reasonText(reason) {
  const named = (text) => text.replaceAll(" and ", ", ").replace(/[\w-]+/g, nameOf);
  for (const [pattern, words] of STRINGS[state.language].reasons) {
    const found = reason.match(pattern);
    if (found) return words.replace(/\{(\d)\}/g, (_, k) => named(found[k]));
  }
  return inEnglish(reason);
}

function nameOf(word) {
  const bone = BONES.findIndex(({ name }) => name === word);
  return bone >= 0 ? boneName(bone) : word;
}

function referenceOf({ mean, sd, range, unit, population, source }, digits) {
  const spread = sd == null ? "" : ` ± ${sd.toFixed(digits)}`;
  const normal = range ? `${range[0].toFixed(digits)} – ${range[1].toFixed(digits)}` : "";
  const words = [`${mean.toFixed(digits)}${spread}${unitName(unit)}`, normal, population, source].filter(Boolean);
  return element(
    "details",
    { class: "reference", title: words.join("\n") },
    element("summary", {}, `${mean.toFixed(digits)}${spread}`),
    ...words.slice(1).map((text) => element("small", { class: "faint" }, text)),
  );
}

const unitName = (unit) => (unit === "degrees" ? "°" : unit && ` ${unit}`);
const plane = (says) => STRINGS[state.language].planes[says] ?? says;

// A measure's name is a kind, and a bone, a joint or a ray.
export function measureName(name) {
  const kinds = STRINGS[state.language].measures;
  const kind = Object.keys(kinds).find((start) => name === start || name.startsWith(`${start} `));
  if (!kind) return inEnglish(name);
  const rest = name.slice(kind.length).trim();
  const bone = BONES.findIndex((other) => other.name === rest);
  const what = bone >= 0 ? boneName(bone) : rest;
  return what ? `${kinds[kind]} · ${what}` : kinds[kind];
}

function drawLines(drawing, measure) {
  drawing.querySelector(".measure-lines")?.remove();
  if (!measure) return;
  const lines = (name) => measure.lines.map(([[x1, y1], [x2, y2]]) => vector("line", { class: name, x1, y1, x2, y2 }));
  drawing.append(vector("g", { class: "measure-lines" }, ...lines("under"), ...lines("over")));
}
