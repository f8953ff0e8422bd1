// Cards of images: drawn when they come into view and emptied when they are far from it; arrows walk over them.

import { byId, element } from "./elements.js";
import { say, share } from "./settings.js";

const BUDGET = 6; // milliseconds of a frame that drawing may take, so that scrolling stays smooth

// Watch cards, whose first child is the place of the picture: `fill(card)` fills it.
export function watchCards(fill) {
  const waiting = new Set();

  function drawWaiting() {
    const end = performance.now() + BUDGET;
    for (const card of waiting) {
      waiting.delete(card);
      if (!card.firstChild.firstChild) fill(card);
      if (performance.now() > end) break;
    }
    if (waiting.size) requestAnimationFrame(drawWaiting);
  }

  return new IntersectionObserver(
    (entries) => {
      if (!waiting.size) requestAnimationFrame(drawWaiting);
      for (const { target, isIntersecting } of entries) {
        if (isIntersecting) waiting.add(target);
        else if (!waiting.delete(target)) target.firstChild.replaceChildren();
      }
    },
    { rootMargin: "80% 0px" },
  );
}

export const shownCards = () => [...byId("cards").children].filter((card) => !card.hidden);

function walk(event) {
  if (!event.target.classList.contains("name")) return;
  const columns = getComputedStyle(byId("cards")).gridTemplateColumns.split(" ").length;
  const steps = { ArrowLeft: -1, ArrowRight: 1, ArrowUp: -columns, ArrowDown: columns, Home: -Infinity, End: Infinity };
  if (!(event.key in steps) || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  const sequence = shownCards();
  const at = sequence.indexOf(event.target.closest(".card")) + steps[event.key];
  focusCard(sequence[Math.min(Math.max(at, 0), sequence.length - 1)]);
}

export function focusCard(card) {
  card.scrollIntoView({ block: "nearest" });
  card.querySelector(".name").focus({ preventScroll: true });
}

export function prepareCards(arrange) {
  byId("cards").addEventListener("keydown", walk);
  byId("filter").addEventListener("input", arrange);
  byId("tools").addEventListener("submit", (event) => event.preventDefault());
}

export function plausibilityMark({ plausible, score }) {
  const what = `${say("score")} ${share(score, 2)}`;
  const title = `${say(plausible ? "plausible" : "implausible")}, ${what}`;
  return element("span", { class: plausible ? "mark" : "mark warning", title }, `${plausible ? "✓" : "⚠"} ${what}`);
}
