// One image, enlarged: zoom and pan by wheel, pointer, fingers and keys, and a table of its bones.

const viewer = { index: null, drawing: null, box: null, sequence: [], fingers: new Map() };

function openViewer(index, sequence) {
  viewer.sequence = sequence;
  if (!byId("viewer").open) byId("viewer").showModal();
  showInViewer(index);
}

function showInViewer(index) {
  const content = load(index);
  viewer.index = index;
  viewer.drawing = draw(index, content);
  viewer.fingers.clear();
  hideTip();
  byId("stage").replaceChildren(viewer.drawing);
  fitWhole();
  describe(index, content.hands);
}

function describe(index, drawn) {
  const image = IMAGES[index];
  byId("viewer-title").textContent = image.name;
  const figures = image.hands.map(({ side, score, plausible }) => [
    side ? handName(side) : say("score"),
    `${share(score)} · ${say(plausible ? "plausible" : "implausible")}`,
  ]);
  if (REPORT.scored) figures.unshift([say("meanDice"), share(image.mean, 4)]);
  byId("viewer-figures").replaceChildren(...figures.map(figure));
  const said = drawn.flatMap(({ findings }, hand) =>
    findings.map((finding) => {
      const side = image.hands[hand].side;
      const words = `${side ? `${handName(side)}: ` : ""}${findingText(finding)}`;
      return element("li", { class: finding.wrong ? "wrong" : "" }, words);
    }),
  );
  byId("findings").replaceChildren(...(said.length ? said : [element("li", { class: "fine" }, say("fine"))]));
  byId("table").replaceChildren(...boneTable(index));
}

const ENGLISH = new Map(BONES.map((bone) => [bone.name, bone.en]));

function findingText(finding) {
  if (state.language === "en") return finding.text.replace(/finger-\d+/g, (name) => ENGLISH.get(name) ?? name);
  const bones = finding.bones.map(boneName).join(", ");
  return `${say(finding.wrong ? "wrong" : "doubtful")} · ${STRINGS.ko.parts[finding.part]}${bones ? `: ${bones}` : ""}`;
}

function figure([name, value]) {
  return element("div", {}, element("dt", {}, name), element("dd", {}, value));
}

// A row for each bone. Two hands stand side by side, without their true areas, which the tip has.
function boneTable(index) {
  const { hands } = IMAGES[index];
  const brief = hands.length > 1;
  const worth = (bone) => Math.min(...measures(IMAGES[index], bone));
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
      const { area, truth, dice } = figuresOf(index, hand, bone);
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

function setBox(box) {
  viewer.box = box;
  viewer.drawing.setAttribute("viewBox", `${box.x} ${box.y} ${box.width} ${box.height}`);
}

function fitWhole() {
  const { width, height } = IMAGES[viewer.index];
  setBox({ x: 0, y: 0, width, height });
}

function onImage(x, y) {
  return new DOMPoint(x, y).matrixTransform(viewer.drawing.getScreenCTM().inverse());
}

// Zoom by a factor about a place on the screen, which stays where it is: by default the middle.
function zoom(factor, clientX = null, clientY = null) {
  const { x, y, width, height } = viewer.box;
  const now = IMAGES[viewer.index].width / width;
  const bounded = Math.min(Math.max(now * factor, 0.5), 24) / now;
  const centre = clientX === null ? { x: x + width / 2, y: y + height / 2 } : onImage(clientX, clientY);
  setBox({
    x: centre.x + (x - centre.x) / bounded,
    y: centre.y + (y - centre.y) / bounded,
    width: width / bounded,
    height: height / bounded,
  });
}

function pan(byX, byY) {
  const pixel = 1 / viewer.drawing.getScreenCTM().a;
  setBox({ ...viewer.box, x: viewer.box.x - byX * pixel, y: viewer.box.y - byY * pixel });
}

function dragged(event) {
  const before = viewer.fingers.get(event.pointerId);
  if (!before) return;
  const others = [...viewer.fingers.entries()].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
  const now = { x: event.clientX, y: event.clientY };
  viewer.fingers.set(event.pointerId, now);
  if (others.length) {
    const apart = (place) => Math.hypot(place.x - others[0].x, place.y - others[0].y);
    zoom(apart(now) / Math.max(1, apart(before)), (now.x + others[0].x) / 2, (now.y + others[0].y) / 2);
    pan((now.x - before.x) / 2, (now.y - before.y) / 2);
  } else {
    pan(now.x - before.x, now.y - before.y);
  }
}

function pressedInViewer(event) {
  const pans = { ArrowLeft: [80, 0], ArrowRight: [-80, 0], ArrowUp: [0, 80], ArrowDown: [0, -80] };
  const keys = {
    ArrowLeft: () => step(-1),
    ArrowRight: () => step(1),
    "+": () => zoom(1.4),
    "=": () => zoom(1.4),
    "-": () => zoom(1 / 1.4),
    0: fitWhole,
  };
  const action = event.shiftKey && pans[event.key] ? () => pan(...pans[event.key]) : keys[event.key];
  if (!action || event.ctrlKey || event.metaKey || event.altKey) return;
  event.preventDefault();
  action();
}

function prepareViewer(closed) {
  const stage = byId("stage");
  const turned = (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.clientX, event.clientY);
  };
  stage.addEventListener("wheel", turned, { passive: false });
  stage.addEventListener("pointerdown", (event) => {
    viewer.fingers.set(event.pointerId, { x: event.clientX, y: event.clientY });
    stage.setPointerCapture(event.pointerId);
  });
  stage.addEventListener("pointermove", dragged);
  for (const name of ["pointerup", "pointercancel"]) {
    stage.addEventListener(name, (event) => viewer.fingers.delete(event.pointerId));
  }
  stage.addEventListener("dblclick", (event) => zoom(2, event.clientX, event.clientY));
  const buttons = {
    before: () => step(-1),
    after: () => step(1),
    larger: () => zoom(1.4),
    smaller: () => zoom(1 / 1.4),
    whole: fitWhole,
  };
  for (const [id, action] of Object.entries(buttons)) byId(id).addEventListener("click", action);
  byId("close").addEventListener("click", () => byId("viewer").close());
  byId("viewer").addEventListener("keydown", pressedInViewer);
  byId("viewer").addEventListener("close", () => {
    document.body.append(byId("tip"));
    hideTip();
    closed(viewer.index);
    byId("stage").replaceChildren();
    viewer.index = viewer.drawing = null;
  });
}

