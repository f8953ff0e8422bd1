// An image with its outlines, and what the pointer finds on it.

const looks = new CSSStyleSheet();
document.adoptedStyleSheets = [looks];

function applyLooks() {
  const colours = BONES.map((bone, k) => `.bone-${k} { --bone: ${bone.colour}; }`);
  const hidden = [...state.hidden].map((k) => `.outline.bone-${k} { display: none; }`);
  looks.replaceSync([...colours, ...hidden].join("\n"));
}

const swatch = (bone) => element("i", { class: `swatch bone-${bone}` });
const load = (index) => JSON.parse(byId(`image-${index}`).textContent);

function draw(index, content) {
  const { width, height, name, hands } = IMAGES[index];
  const size = ({ hand, bone }) => Math.max(hands[hand].predicted[bone] ?? 0, hands[hand].truth?.[bone] ?? 0);
  const outlines = ["predicted", "truth"].flatMap((kind) =>
    content.hands.flatMap((drawn, hand) =>
      Object.entries(drawn[kind]).map(([bone, d]) => ({ kind, hand, bone: Number(bone), d })),
    ),
  );
  // The smaller of two bones that overlap lies on top, so that the pointer can reach it.
  outlines.sort((a, b) => size(b) - size(a) || a.bone - b.bone);
  const picture = vector("image", { href: content.picture, width, height, preserveAspectRatio: "none" });
  const paths = outlines.map(({ kind, hand, bone, d }) => {
    const names = `outline ${kind} bone-${bone} hand-${hands[hand].side}`;
    return vector("path", { class: names, "data-bone": bone, "data-hand": hand, d });
  });
  const marks = content.hands.flatMap(({ corner }, hand) =>
    corner ? [sideMark(IMAGES[index], hands[hand].side, corner)] : [],
  );
  const attributes = { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name };
  const drawing = vector("svg", attributes, picture, ...paths, ...marks);
  let asked = null;
  drawing.addEventListener("pointermove", (event) => {
    if (asked === null) requestAnimationFrame(() => (point(drawing, index, asked), (asked = null)));
    asked = event;
  });
  drawing.addEventListener("pointerdown", (event) => point(drawing, index, event));
  drawing.addEventListener("pointerleave", () => {
    requestAnimationFrame(() => (light(drawing, () => false), hideTip()));
  });
  return drawing;
}

// The side of a hand in words, at a corner of its box.
function sideMark({ width, height }, side, [x, y]) {
  const long = Math.max(width, height);
  const mark = vector("text", { class: `side-mark hand-${side}`, x, y: Math.max(y, 0.05 * long) }, handName(side));
  mark.dataset.side = side;
  mark.style.setProperty("--long", `${long}px`);
  return mark;
}

function point(drawing, index, event) {
  const under = document.elementsFromPoint(event.clientX, event.clientY);
  const paths = under.filter((node) => node.ownerSVGElement === drawing && node.dataset.bone !== undefined);
  const keys = new Set(paths.map((path) => `${path.dataset.hand} ${path.dataset.bone}`));
  const bones = [...keys].map((key) => key.split(" ").map(Number));
  light(drawing, (hand, bone) => keys.has(`${hand} ${bone}`));
  if (bones.length) showTip(index, bones, event.clientX, event.clientY);
  else hideTip();
}

// Light the outlines of which a function of hand and bone says so.
function light(drawing, chosen) {
  for (const path of drawing.querySelectorAll(".outline")) {
    path.classList.toggle("lit", chosen(Number(path.dataset.hand), Number(path.dataset.bone)));
  }
}

function figuresOf(index, hand, bone) {
  const { predicted, truth, dice } = IMAGES[index].hands[hand];
  return {
    area: predicted[bone] === null ? say("noRow") : pixels(predicted[bone]),
    truth: truth && (truth[bone] === null ? say("unknown") : pixels(truth[bone])),
    dice: dice && share(dice[bone]),
  };
}

function showTip(index, bones, x, y) {
  const rows = bones.map(([hand, bone]) => {
    const { area, truth, dice } = figuresOf(index, hand, bone);
    const parts = [area, ...(truth ? [say("ofTruth", { n: truth })] : []), ...(dice ? [`${say("dice")} ${dice}`] : [])];
    const name = element("b", {}, swatch(bone), boneOf(IMAGES[index].hands[hand].side, bone));
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

function hideTip() {
  byId("tip").hidden = true;
}

