// Brings the page of a report to life: figures, switches and what changes with the language.

import { prepareBones, listBones } from "./bones.js";
import { drawCharts } from "./charts.js";
import { IMAGES, REPORT, TWO_HANDS, valuesOf } from "./data.js";
import { applyLooks } from "./drawing.js";
import { byId, figure, tick, vector } from "./elements.js";
import { arrange, captionCards, focusImage, orderChoices, prepareGallery, sortByBone } from "./gallery.js";
import { BONES, boneName, handName, prepareSettings, say, share, translate, whole } from "./settings.js";
import { prepareViewer } from "./viewer.js";

function showFigures() {
  const plausible = IMAGES.filter((image) => image.plausible).length;
  const figures = [[say("images"), whole(IMAGES.length)]];
  if (REPORT.scored) {
    figures.push([say("meanDice"), share(REPORT.meanDice, 4)]);
    figures.push([say("meanDicePresent"), share(REPORT.meanDicePresent, 4)]);
    const means = BONES.map((_, bone) => {
      const values = IMAGES.flatMap((image) => valuesOf(image, bone));
      return values.length ? values.reduce((a, b) => a + b) / values.length : Infinity;
    });
    const weakest = means.indexOf(Math.min(...means));
    figures.push([say("weakest"), `${boneName(weakest)} ${share(means[weakest])}`]);
  }
  figures.push([say("plausible"), say("ofImages", { n: whole(plausible), all: whole(IMAGES.length) })]);
  byId("figures").replaceChildren(...figures.map(figure));
}

function layer(name, words, mark = []) {
  const hidden = `without-${name}`;
  const changed = (on) => document.documentElement.classList.toggle(hidden, !on);
  const label = tick(words, !document.documentElement.classList.contains(hidden), changed, mark);
  label.dataset.layer = name;
  return label;
}

function listLayers() {
  const kinds = REPORT.scored ? ["prediction", "truth"].map((kind) => layer(kind, say(kind), [sample(kind)])) : [];
  const sides = TWO_HANDS ? ["left", "right"].map((side) => layer(side, handName(side))) : [];
  byId("layers").replaceChildren(...kinds, ...sides);
}

function sample(kind) {
  const line = vector("line", { x1: 1, y1: 6, x2: 27, y2: 6 });
  return vector("svg", { class: `sample ${kind}`, viewBox: "0 0 28 12", "aria-hidden": "true" }, line);
}

function applyLanguage() {
  translate();
  showFigures();
  listLayers();
  listBones();
  drawCharts(sortByBone);
  orderChoices();
  captionCards();
  for (const mark of document.querySelectorAll(".side-mark")) mark.textContent = handName(mark.dataset.side);
  arrange();
}

function start() {
  document.title = `${REPORT.prediction} – handseg`;
  byId("title").textContent = REPORT.prediction;
  byId("version").textContent = `handseg-monai ${REPORT.version}`;
  byId("bones").open = matchMedia("(min-width: 60rem)").matches;
  prepareSettings(applyLanguage);
  applyLooks();
  applyLanguage();
  prepareGallery();
  prepareViewer(focusImage);
  prepareBones();
  byId("loading").remove();
  byId("main").hidden = false;
}

start();
