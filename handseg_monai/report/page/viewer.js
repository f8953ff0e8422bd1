// One image, enlarged, and a table of its bones.

import { IMAGES, REPORT, load, valuesOf } from "./data.js";
import { draw, figuresOf, hideTip, light, swatch } from "./drawing.js";
import { byId, element, figure } from "./elements.js";
import { showFindings } from "./findings.js";
import { showMeasures } from "./measures.js";
import { BONES, boneName, handName, say, share, verdict } from "./settings.js";
import { makeStage } from "./stage.js";

const viewer = { index: null, drawing: null, sequence: [] };
const stage = makeStage(byId("stage"));

export function openViewer(index, sequence) {
  viewer.sequence = sequence;
  if (!byId("viewer").open) byId("viewer").showModal();
  showInViewer(index);
}

function showInViewer(index) {
  const content = load(index);
  viewer.index = index;
  viewer.drawing = draw(IMAGES[index], content);
  hideTip();
  byId("side").scrollTop = 0;
  stage.show(viewer.drawing);
  describe(index, content);
}

function describe(index, content) {
  const image = IMAGES[index];
  byId("viewer-title").textContent = image.name;
  const figures = image.hands.map(({ side, score, plausible }) => [
    handName(side) ?? say("verdict"),
    verdict(plausible, score),
  ]);
  if (REPORT.scored) figures.unshift([say("meanDice"), share(image.mean, 4)]);
  byId("viewer-figures").replaceChildren(...figures.map(figure));
  showFindings(content.hands.map(({ findings }, hand) => ({ side: image.hands[hand].side, findings })));
  const measured = content.hands.map(({ measures }, hand) => ({ side: image.hands[hand].side, measures }));
  showMeasures(measured, viewer.drawing, stage);
  byId("table").replaceChildren(...boneTable(image));
}

// A row for each bone. Two hands stand side by side, without their true areas, which the tip has.
function boneTable(image) {
  const { hands } = image;
  const brief = hands.length > 1;
  const worth = (bone) => Math.min(...valuesOf(image, bone));
  const bones = BONES.map((_, bone) => bone);
  if (REPORT.scored) bones.sort((a, b) => worth(a) - worth(b) || a - b);
  const titles = ["area", ...(REPORT.scored ? (brief ? ["dice"] : ["trueArea", "dice"]) : [])].map((name) => say(name));
  const column = (text, attributes = {}) => element("th", { scope: "col", ...attributes }, text);
  const heads = [element("tr", {}, column(say("bone")), ...hands.flatMap(() => titles.map((title) => column(title))))];
  if (hands.some(({ side }) => side)) {
    const names = hands.map(({ side }) => column(handName(side), { colspan: titles.length, class: "hand" }));
    heads.unshift(element("tr", {}, column(""), ...names));
  }
  const rows = bones.map((bone) => {
    const name = element("th", { scope: "row" }, swatch(bone), boneName(bone));
    const cells = hands.flatMap((_, hand) => {
      const { area, truth, dice } = figuresOf(image, hand, bone);
      const compared = REPORT.scored ? [truth ?? say("unknown"), dice ?? share(null)] : [];
      return [area, ...compared.slice(brief ? -1 : 0)].map((text) => element("td", { "data-hand": hand }, text));
    });
    const on = () => light(viewer.drawing, (_, other) => other === bone);
    const off = () => light(viewer.drawing, () => false);
    const attributes = { tabindex: 0, onpointerenter: on, onpointerleave: off, onfocus: on, onblur: off };
    return element("tr", { "data-bone": bone, ...attributes }, name, ...cells);
  });
  return [element("thead", {}, ...heads), element("tbody", {}, ...rows)];
}

function step(by) {
  const at = viewer.sequence.indexOf(viewer.index) + by;
  if (at >= 0 && at < viewer.sequence.length) showInViewer(viewer.sequence[at]);
}

function pressed(event) {
  const keys = { ArrowLeft: () => step(-1), ArrowRight: () => step(1) };
  const action = stage.key(event) ?? keys[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
}

export function prepareViewer(closed) {
  byId("stage").addEventListener("dblclick", (event) => stage.zoom(2, event.clientX, event.clientY));
  const buttons = {
    before: () => step(-1),
    after: () => step(1),
    larger: () => stage.zoom(1.4),
    smaller: () => stage.zoom(1 / 1.4),
    whole: () => stage.whole(),
    close: () => byId("viewer").close(),
  };
  for (const [id, action] of Object.entries(buttons)) byId(id).addEventListener("click", action);
  byId("viewer").addEventListener("keydown", pressed);
  byId("viewer").addEventListener("close", () => {
    document.body.append(byId("tip"));
    hideTip();
    closed(viewer.index);
    byId("stage").replaceChildren();
    viewer.index = viewer.drawing = null;
  });
}
