// The images of a report as cards, in an order that the reader chooses.

import { focusCard, plausibilityMark, prepareCards, shownCards, watchCards } from "./cards.js";
import { IMAGES, REPORT, load, valuesOf } from "./data.js";
import { draw } from "./drawing.js";
import { byId, element } from "./elements.js";
import { boneName, boneOf, say, share, state, whole } from "./settings.js";
import { openViewer } from "./viewer.js";

const cards = IMAGES.map((image, index) => {
  const onclick = () => openViewer(index, shownInOrder());
  const picture = element("div", { class: "picture", onclick });
  const open = element("button", { type: "button", class: "plain name", onclick }, image.name);
  const figures = element("p", { class: "figures-line" });
  return element("li", { class: "card", "data-index": index, "data-name": image.name }, picture, open, figures);
});

const watcher = watchCards((card) => {
  const index = Number(card.dataset.index);
  card.firstChild.append(draw(IMAGES[index], load(index)));
});

const ORDERS = {
  byDice: (image) => [image.mean ?? Infinity],
  byLowest: (image) => [image.weakest?.dice ?? Infinity],
  byScore: (image) => [Number(image.plausible), image.score],
  byName: () => [],
  byBone: (image) => [Math.min(...valuesOf(image, state.bone))],
};

function compare(a, b) {
  const [first, second] = [a, b].map(ORDERS[state.order]);
  const apart = first.map((value, n) => value - second[n] || 0).find((difference) => difference !== 0);
  return apart || a.name.localeCompare(b.name, "en", { numeric: true });
}

const shownInOrder = () => shownCards().map((card) => Number(card.dataset.index));

export function arrange() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const order = IMAGES.map((_, index) => index).sort((a, b) => compare(IMAGES[a], IMAGES[b]));
  for (const index of order) cards[index].hidden = !IMAGES[index].name.toLowerCase().includes(wanted);
  byId("cards").replaceChildren(...order.map((index) => cards[index]));
  const shown = shownInOrder().length;
  byId("count").textContent = say("count", { shown: whole(shown), all: whole(IMAGES.length) });
  byId("nothing").hidden = shown > 0;
}

export function captionCards() {
  IMAGES.forEach((image, index) => {
    const [, open, line] = cards[index].children;
    open.title = image.name;
    open.setAttribute("aria-label", say("open", { name: image.name }));
    line.replaceChildren(...(REPORT.scored ? diceCaption(image) : []), plausibilityMark(image));
  });
}

function diceCaption({ mean, weakest }) {
  const words = weakest ? `${share(weakest.dice, 2)} ${boneOf(weakest.side, weakest.bone)}` : "";
  return [element("b", {}, share(mean)), element("span", { class: "faint" }, words)];
}

export function orderChoices() {
  const names = REPORT.scored ? ["byDice", "byLowest", "byScore", "byName"] : ["byScore", "byName"];
  const options = names.map((name) => element("option", { value: name }, say(name)));
  if (state.bone !== null) {
    const words = say(REPORT.scored ? "byBoneDice" : "byBoneArea", { bone: boneName(state.bone) });
    options.push(element("option", { value: "byBone" }, words));
  }
  byId("order").replaceChildren(...options);
  byId("order").value = state.order;
}

export const focusImage = (index) => focusCard(cards[index]);

export function prepareGallery() {
  byId("cards").classList.toggle("brief", !REPORT.scored);
  arrange();
  for (const card of cards) watcher.observe(card);
  prepareCards(arrange);
  byId("order").addEventListener("change", (event) => {
    state.order = event.target.value;
    arrange();
  });
}

export function sortByBone(bone) {
  state.bone = bone;
  state.order = "byBone";
  orderChoices();
  arrange();
  byId("gallery").scrollIntoView();
}

