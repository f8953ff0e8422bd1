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
  const { width, height, name, predicted, truth } = IMAGES[index];
  const size = (bone) => Math.max(predicted[bone] ?? 0, truth?.[bone] ?? 0);
  const outlines = ["predicted", "truth"].flatMap((kind) =>
    Object.entries(content[kind]).map(([bone, d]) => ({ kind, bone: Number(bone), d })),
  );
  // The smaller of two bones that overlap lies on top, so that the pointer can reach it.
  outlines.sort((a, b) => size(b.bone) - size(a.bone) || a.bone - b.bone);
  const picture = vector("image", { href: content.picture, width, height, preserveAspectRatio: "none" });
  const paths = outlines.map(({ kind, bone, d }) =>
    vector("path", { class: `outline ${kind} bone-${bone}`, "data-bone": bone, d }),
  );
  const attributes = { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": name };
  const drawing = vector("svg", attributes, picture, ...paths);
  let asked = null;
  drawing.addEventListener("pointermove", (event) => {
    if (asked === null) requestAnimationFrame(() => (point(drawing, index, asked), (asked = null)));
    asked = event;
  });
  drawing.addEventListener("pointerdown", (event) => point(drawing, index, event));
  drawing.addEventListener("pointerleave", () => {
    requestAnimationFrame(() => (light(drawing, []), hideTip()));
  });
  return drawing;
}

function point(drawing, index, event) {
  const under = document.elementsFromPoint(event.clientX, event.clientY);
  const paths = under.filter((node) => node.ownerSVGElement === drawing && node.dataset.bone !== undefined);
  const bones = [...new Set(paths.map((path) => Number(path.dataset.bone)))];
  light(drawing, bones);
  if (bones.length) showTip(index, bones, event.clientX, event.clientY);
  else hideTip();
}

function light(drawing, bones) {
  for (const path of drawing.querySelectorAll(".outline")) {
    path.classList.toggle("lit", bones.includes(Number(path.dataset.bone)));
  }
}

function figuresOf(index, bone) {
  const { predicted, truth, dice } = IMAGES[index];
  return {
    area: predicted[bone] === null ? say("noRow") : pixels(predicted[bone]),
    truth: truth && (truth[bone] === null ? say("unknown") : pixels(truth[bone])),
    dice: dice && share(dice[bone]),
  };
}

function showTip(index, bones, x, y) {
  const rows = bones.map((bone) => {
    const { area, truth, dice } = figuresOf(index, bone);
    const parts = [area, ...(truth ? [say("ofTruth", { n: truth })] : []), ...(dice ? [`${say("dice")} ${dice}`] : [])];
    const name = element("b", {}, swatch(bone), boneName(bone));
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

