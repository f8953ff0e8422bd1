// An image with its outlines, and what the pointer finds on it.
//
// An image has a name, a width, a height and hands; a hand has its side (or null) and, by bone, the pixels "predicted",
// and "truth" and "dice" where there is one. What is drawn has a picture, and for each hand outlines by bone.

import { byId, element, vector } from "./elements.js";
import { BONES, boneOf, handName, pixels, say, share, state } from "./settings.js";

const looks = new CSSStyleSheet();
document.adoptedStyleSheets = [looks];

export function applyLooks() {
  const colours = BONES.map((bone, k) => `.bone-${k} { --bone: ${bone.colour}; }`);
  const hidden = [...state.hidden].map((k) => `.outline.bone-${k} { display: none; }`);
  looks.replaceSync([...colours, ...hidden].join("\n"));
}

export const swatch = (bone) => element("i", { class: `swatch bone-${bone}` });

export function draw(image, content) {
  const { width, height, name, hands } = image;
  const picture = vector("image", { href: content.picture, width, height, preserveAspectRatio: "none" });
  const marks = content.hands.flatMap(({ corner }, hand) =>
    corner ? [sideMark(image, hands[hand].side, corner)] : [],
  );
  const attributes = { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name };
  const drawing = vector("svg", attributes, picture, ...outlinesOf(image, content.hands), ...marks);
  let asked = null;
  drawing.addEventListener("pointermove", (event) => {
    if (asked === null) requestAnimationFrame(() => (point(drawing, image, asked), (asked = null)));
    asked = event;
  });
  drawing.addEventListener("pointerdown", (event) => point(drawing, image, event));
  drawing.addEventListener("pointerleave", () => {
    requestAnimationFrame(() => (light(drawing, () => false), hideTip()));
  });
  return drawing;
}

export function outlinesOf({ hands }, drawn) {
  const size = ({ hand, bone }) => Math.max(hands[hand].predicted[bone] ?? 0, hands[hand].truth?.[bone] ?? 0);
  const outlines = ["predicted", "truth"].flatMap((kind) =>
    drawn.flatMap((of, hand) => Object.entries(of[kind] ?? {}).map(([bone, d]) => ({ kind, hand, bone: Number(bone), d }))),
  );
  // The smaller of two bones that overlap lies on top, so that the pointer can reach it.
  outlines.sort((a, b) => size(b) - size(a) || a.bone - b.bone);
  return outlines.map(({ kind, hand, bone, d }) => {
    const names = `outline ${kind} bone-${bone} hand-${hands[hand].side}`;
    return vector("path", { class: names, "data-bone": bone, "data-hand": hand, d });
  });
}

// The side of a hand in words, at a corner of its box.
function sideMark({ width, height }, side, [x, y]) {
  const long = Math.max(width, height);
  const mark = vector("text", { class: `side-mark hand-${side}`, x, y: Math.max(y, 0.05 * long) }, handName(side));
  mark.dataset.side = side;
  mark.style.setProperty("--long", `${long}px`);
  return mark;
}

// The hand and the bone of each outline under a place of the screen, the upper ones first.
export function bonesAt(drawing, x, y) {
  const paths = document.elementsFromPoint(x, y);
  const found = paths.filter((node) => node.ownerSVGElement === drawing && node.dataset.bone !== undefined);
  const keys = new Set(found.map((path) => `${path.dataset.hand} ${path.dataset.bone}`));
  return [...keys].map((key) => key.split(" ").map(Number));
}

function point(drawing, image, event) {
  const bones = bonesAt(drawing, event.clientX, event.clientY);
  light(drawing, (hand, bone) => bones.some((found) => found[0] === hand && found[1] === bone));
  if (bones.length) showTip(image, bones, event.clientX, event.clientY);
  else hideTip();
}

// Light the outlines of which a function of hand and bone says so.
export function light(drawing, chosen) {
  for (const path of drawing.querySelectorAll(".outline")) {
    path.classList.toggle("lit", chosen(Number(path.dataset.hand), Number(path.dataset.bone)));
  }
}

export function figuresOf({ hands }, hand, bone) {
  const { predicted, truth, dice } = hands[hand];
  return {
    area: predicted[bone] == null ? say("noRow") : pixels(predicted[bone]),
    truth: truth && (truth[bone] === null ? say("unknown") : pixels(truth[bone])),
    dice: dice && share(dice[bone]),
  };
}

function showTip(image, bones, x, y) {
  const rows = bones.map(([hand, bone]) => {
    const { area, truth, dice } = figuresOf(image, hand, bone);
    const parts = [area, ...(truth ? [say("ofTruth", { n: truth })] : []), ...(dice ? [`${say("dice")} ${dice}`] : [])];
    const name = element("b", {}, swatch(bone), boneOf(image.hands[hand].side, bone));
    return element("p", { "data-bone": bone }, name, element("span", {}, parts.join(" · ")));
  });
  const tip = byId("tip");
  tip.replaceChildren(...rows);
  tip.hidden = false;
  const { offsetWidth: wide, offsetHeight: high } = tip;
  const left = x + 16 + wide > innerWidth ? x - 16 - wide : x + 16;
  const top = y + 16 + high > innerHeight ? y - 16 - high : y + 16;
  tip.style.translate = `${Math.max(4, left)}px ${Math.max(4, top)}px`;
  (byId("viewer").open ? byId("viewer") : document.body).append(tip); // a dialog covers all that is outside of it
}

export function hideTip() {
  byId("tip").hidden = true;
}
