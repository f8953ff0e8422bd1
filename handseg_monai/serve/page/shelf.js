// The server's images as cards, those most in doubt first.

import { ask } from "./api.js";
import { focusCard, plausibilityMark, prepareCards, shownCards, watchCards } from "./cards.js";
import { draw } from "./drawing.js";
import { byId, element, figure } from "./elements.js";
import { isReady, isWaiting, onChange, server, toCorrect } from "./images.js";
import { inWords } from "./serve_strings.js";
import { boneName, say, share, whole } from "./settings.js";

const KINDS = { every: () => true, toCorrect, done: ({ done }) => done, waiting: isWaiting, failed: (i) => i.state === "failed" };
const ORDERS = { byDoubt: (a, b) => place(a) - place(b) || b.doubt - a.doubt, byNumber: () => 0, byName };
const shelf = { order: "byDoubt", show: "every", open: () => {} };
const cards = new Map();

const place = (image) => [toCorrect, isWaiting, (i) => i.state === "failed", () => true].findIndex((is) => is(image));

function byName(a, b) {
  return a.name.localeCompare(b.name, "en", { numeric: true });
}

const compare = (a, b) => ORDERS[shelf.order](a, b) || a.number - b.number;

// Images in order of doubt that somebody should look at.
export const inDoubt = () => [...server.images.values()].filter(toCorrect).sort((a, b) => ORDERS.byDoubt(a, b) || a.number - b.number);

// What is shown and can be opened, in its order.
export const readyInOrder = () => shownCards().map((card) => card.dataset.id).filter((id) => isReady(server.images.get(id)));

// An image as drawing.js takes it.
export function asImage({ overview, areas }) {
  const predicted = Array.from({ length: 29 }, (_, bone) => areas?.[bone] ?? 0);
  return { ...overview, hands: [{ side: null, predicted }] };
}

const watcher = watchCards(fill);

async function fill(card) {
  const { id } = card.dataset;
  const frame = card.firstChild;
  if (!isReady(server.images.get(id) ?? {})) return;
  const empty = element("span");
  frame.replaceChildren(empty);
  try {
    const view = await ask("GET", `/api/images/${id}?only=outlines`);
    const content = { picture: `/api/images/${id}/picture?side=512`, hands: [{ predicted: view.outlines }] };
    if (empty.parentNode === frame) frame.replaceChildren(draw(asImage(view), content));
  } catch {
    if (empty.parentNode === frame) frame.replaceChildren();
  }
}

function makeCard(id) {
  const onclick = () => isReady(server.images.get(id)) && shelf.open(id);
  const picture = element("div", { class: "picture", onclick });
  const open = element("button", { type: "button", class: "plain name", onclick });
  const remove = element("button", { type: "button", class: "quiet remove", onclick: (event) => askToRemove(event.target, id) });
  remove.addEventListener("blur", () => nameRemove(remove, id));
  return element("li", { class: "card", "data-id": id }, picture, open, element("p", { class: "figures-line" }), remove);
}

// A button that says something does so until it loses the focus.
function nameRemove(button, id, words = "") {
  button.textContent = words || "×";
  button.classList.toggle("speaks", Boolean(words));
  button.setAttribute("aria-label", words || say("removeName", { name: server.images.get(id)?.name ?? "" }));
}

// The second press removes.
async function askToRemove(button, id) {
  button.focus(); // not every browser gives the focus to a button that is clicked
  const sure = button.textContent === say("removeSure");
  if (!sure) return nameRemove(button, id, say("removeSure"));
  try {
    await ask("DELETE", `/api/images/${id}`);
  } catch (error) {
    nameRemove(button, id, error.message);
  }
}

function caption(card, image) {
  const [picture, open, line, remove] = card.children;
  card.dataset.name = image.name;
  open.textContent = open.title = image.name;
  open.setAttribute("aria-label", isReady(image) ? say("open", { name: image.name }) : `${image.name}: ${say(image.state)}`);
  card.dataset.state = image.done ? "done" : image.state;
  if (!remove.classList.contains("speaks")) nameRemove(remove, image.id);
  picture.dataset.words = isReady(image) ? "" : say(image.state);
  const words = [];
  if (image.state === "failed") words.push(element("span", { class: "warning" }, inWords("errors", image.error)));
  else if (!isReady(image)) words.push(element("span", { class: "faint" }, say(image.state)));
  else {
    if (image.done) words.push(element("b", { class: "done-mark" }, say("isDone")));
    else words.push(element("span", { class: "faint", title: doubtWords(image) }, doubtWords(image)));
    if (image.score !== null) words.push(plausibilityMark(image));
  }
  line.replaceChildren(...words);
}

export function leastSure({ confidence }) {
  if (!confidence) return null;
  const bone = confidence.indexOf(Math.min(...confidence));
  return { bone, confidence: confidence[bone] };
}

function doubtWords(image) {
  const least = leastSure(image);
  const doubt = `${say("doubt")} ${share(image.doubt, 2)}`;
  return least ? `${doubt} · ${boneName(least.bone)} ${share(least.confidence, 2)}` : doubt;
}

export function showFigures() {
  const images = [...server.images.values()];
  const count = (kind) => whole(images.filter(KINDS[kind]).length);
  const figures = [["images", "every"], ["toCorrect", "toCorrect"], ["doneImages", "done"], ["waitingImages", "waiting"], ["failedImages", "failed"]];
  byId("figures").replaceChildren(...figures.map(([words, kind]) => figure([say(words), count(kind)])));
}

export function arrange() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const images = [...server.images.values()].sort(compare);
  const before = shownCards();
  const at = before.findIndex((card) => card.contains(document.activeElement));
  for (const [id, card] of cards) {
    if (server.images.has(id)) continue;
    watcher.unobserve(card);
    card.remove();
    cards.delete(id);
  }
  for (const image of images) {
    if (!cards.has(image.id)) cards.set(image.id, makeCard(image.id));
    const card = cards.get(image.id);
    card.hidden = !image.name.toLowerCase().includes(wanted) || !KINDS[shelf.show](image);
  }
  // A card that is moved loses the focus, so that one stays which is in its place.
  const list = byId("cards");
  images.forEach(({ id }, n) => {
    const card = cards.get(id);
    if (list.children[n] === card) return;
    const focused = card.contains(document.activeElement) ? document.activeElement : null;
    list.insertBefore(card, list.children[n] ?? null);
    watcher.unobserve(card);
    watcher.observe(card);
    focused?.focus({ preventScroll: true });
  });
  if (at >= 0 && !before[at].isConnected) focusNear(before, at);
  const shown = shownCards().length;
  byId("count").textContent = say("count", { shown: whole(shown), all: whole(images.length) });
  byId("nothing").hidden = shown > 0;
  byId("nothing").textContent = say(images.length ? "nothing" : "noImages");
}

// The focus of a card that is gone goes to the next one, after the last one to the one before it.
function focusNear(before, at) {
  const near = [...before.slice(at + 1), ...before.slice(0, at).reverse()].find((card) => card.isConnected && !card.hidden);
  if (near) focusCard(near);
  else byId("gallery").focus();
}

export function captionAll() {
  for (const [node, choices, chosen] of [["order", Object.keys(ORDERS), shelf.order], ["show", Object.keys(KINDS), shelf.show]]) {
    const words = { done: "doneImages", waiting: "waitingImages", failed: "failedImages" };
    byId(node).replaceChildren(...choices.map((value) => element("option", { value }, say(words[value] ?? value))));
    byId(node).value = chosen;
  }
  for (const [id, card] of cards) caption(card, server.images.get(id));
  showFigures();
}

let asked = false;
const changed = new Set();

// Many images may change at once; the shelf is put in order once a frame.
function refresh(id) {
  if (id === null) return;
  changed.add(id);
  if (asked) return;
  asked = true;
  setTimeout(() => {
    asked = false;
    arrange();
    for (const id of changed) {
      const image = server.images.get(id);
      const card = cards.get(id);
      if (!image || !card) continue;
      const before = card.dataset.shown;
      caption(card, image);
      card.dataset.shown = `${image.state} ${image.doubt} ${image.done} ${image.revision}`;
      if (before !== card.dataset.shown) card.firstChild.replaceChildren();
      if (card.firstChild.firstChild) continue;
      watcher.unobserve(card);
      watcher.observe(card);
    }
    changed.clear();
    showFigures();
  }, 60);
}

// Back from an image that may have been corrected.
export function returnTo(id) {
  const card = cards.get(id);
  if (!card) return;
  card.dataset.shown = "";
  refresh(id);
  if (!card.hidden) focusCard(card);
}

export function prepareShelf(open) {
  shelf.open = open;
  prepareCards(arrange);
  arrange();
  captionAll();
  onChange(refresh);
  for (const name of ["order", "show"]) {
    byId(name).addEventListener("change", (event) => {
      shelf[name] = event.target.value;
      arrange();
    });
  }
}
