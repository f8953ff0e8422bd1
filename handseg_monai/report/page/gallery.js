// The images as cards: drawn when they come into view and emptied when they are far from it.

const cards = IMAGES.map((image, index) => {
  const onclick = () => openViewer(index, shownInOrder());
  const picture = element("div", { class: "picture", onclick });
  const open = element("button", { type: "button", class: "plain name", onclick }, image.name);
  const figures = element("p", { class: "figures-line" });
  return element("li", { class: "card", "data-index": index, "data-name": image.name }, picture, open, figures);
});

const BUDGET = 6; // milliseconds of a frame that drawing may take, so that scrolling stays smooth
const waiting = new Set();

const watcher = new IntersectionObserver(
  (entries) => {
    if (!waiting.size) requestAnimationFrame(drawWaiting);
    for (const { target, isIntersecting } of entries) {
      if (isIntersecting) waiting.add(target);
      else if (!waiting.delete(target)) target.firstChild.replaceChildren();
    }
  },
  { rootMargin: "80% 0px" },
);

function drawWaiting() {
  const end = performance.now() + BUDGET;
  for (const card of waiting) {
    waiting.delete(card);
    const index = Number(card.dataset.index);
    if (!card.firstChild.firstChild) card.firstChild.append(draw(index, load(index)));
    if (performance.now() > end) break;
  }
  if (waiting.size) requestAnimationFrame(drawWaiting);
}

const ORDERS = {
  byDice: (image) => [image.mean ?? Infinity],
  byLowest: (image) => [image.weakest?.dice ?? Infinity],
  byScore: (image) => [Number(image.plausible), image.score],
  byName: () => [],
  byBone: (image) => [Math.min(...measures(image, state.bone))],
};

function compare(a, b) {
  const [first, second] = [a, b].map(ORDERS[state.order]);
  const apart = first.map((value, n) => value - second[n] || 0).find((difference) => difference !== 0);
  return apart || a.name.localeCompare(b.name, "en", { numeric: true });
}

function shownInOrder() {
  const shown = [...byId("cards").children].filter((card) => !card.hidden);
  return shown.map((card) => Number(card.dataset.index));
}

function arrange() {
  const wanted = byId("filter").value.trim().toLowerCase();
  const order = IMAGES.map((_, index) => index).sort((a, b) => compare(IMAGES[a], IMAGES[b]));
  for (const index of order) cards[index].hidden = !IMAGES[index].name.toLowerCase().includes(wanted);
  byId("cards").replaceChildren(...order.map((index) => cards[index]));
  const shown = shownInOrder().length;
  byId("count").textContent = say("count", { shown: whole(shown), all: whole(IMAGES.length) });
  byId("nothing").hidden = shown > 0;
}

function captionCards() {
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

function plausibilityMark({ plausible, score }) {
  const title = `${say(plausible ? "plausible" : "implausible")}, ${say("score")} ${share(score)}`;
  return element("span", { class: plausible ? "mark" : "mark warning", title }, `${plausible ? "✓" : "⚠"} ${share(score, 2)}`);
}

function orderChoices() {
  const names = REPORT.scored ? ["byDice", "byLowest", "byScore", "byName"] : ["byScore", "byName"];
  const options = names.map((name) => element("option", { value: name }, say(name)));
  if (state.bone !== null) {
    const words = say(REPORT.scored ? "byBoneDice" : "byBoneArea", { bone: boneName(state.bone) });
    options.push(element("option", { value: "byBone" }, words));
  }
  byId("order").replaceChildren(...options);
  byId("order").value = state.order;
}

function walkCards(event) {
  if (!event.target.classList.contains("name")) return;
  const columns = getComputedStyle(byId("cards")).gridTemplateColumns.split(" ").length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -Infinity, End: Infinity };
  if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const sequence = shownInOrder();
  const at = sequence.indexOf(Number(event.target.closest(".card").dataset.index)) + steps[event.key];
  focusCard(sequence[Math.min(Math.max(at, 0), sequence.length - 1)]);
}

function focusCard(index) {
  const card = cards[index];
  card.scrollIntoView({ block: "nearest" });
  card.children[1].focus({ preventScroll: true });
}

function prepareGallery() {
  byId("cards").classList.toggle("brief", !REPORT.scored);
  arrange();
  for (const card of cards) watcher.observe(card);
  byId("cards").addEventListener("keydown", walkCards);
  byId("filter").addEventListener("input", arrange);
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
  byId("order").addEventListener("change", (event) => {
    state.order = event.target.value;
    arrange();
  });
}

function sortByBone(bone) {
  state.bone = bone;
  state.order = "byBone";
  orderChoices();
  arrange();
  byId("gallery").scrollIntoView();
}

