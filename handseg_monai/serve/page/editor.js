// One image, opened: look at it, choose a bone, correct it, and see what changes with it.

import { makeActs, settled } from "./acts.js";
import { ask } from "./api.js";
import { bonesByGroup } from "./bones.js";
import { bonesAt, draw, hideTip, light, outlinesOf } from "./drawing.js";
import { byId, element, figure } from "./elements.js";
import { showFindings } from "./findings.js";
import { onChange, putImage, server } from "./images.js";
import { showMeasures } from "./measures.js";
import { inWords } from "./serve_strings.js";
import { BONES, boneName, say, share, state, verdict } from "./settings.js";
import { asImage, inDoubt, leastSure, readyInOrder } from "./shelf.js";
import { makeStage } from "./stage.js";
import { drop, holdTools, releaseTools, stageTool, tools } from "./tools.js";
import { firstPicture, windowDrawing } from "./window.js";

const [SMALLEST, LARGEST] = [16, 2048]; // long side of the picture; the outlines are as large as the image
export const editor = { id: null, view: null, drawing: null, bone: 0, acts: null };
const stage = makeStage(byId("stage"), stageTool);
const FROM_GALLERY = { fromGallery: true };
let left = null; // settles once the address is the gallery's again
let opening = null;
let pressedAt = null;
let judging = 0;
const passed = new Set(); // images that "next in doubt" has left
let tellOutside = () => {}; // says something while no image is open

// Open an image; the address has its id, so that loading the page again opens it again.
export async function openImage(id) {
  opening = id;
  hideTip();
  tellOutside("");
  try {
    await Promise.all([settled(id), left]);
    const view = await ask("GET", `/api/images/${id}`);
    if (opening !== id) return;
    if (view.overview.state !== "ready") return closeImage();
    // Back leads to the gallery, from whichever image.
    if (byId("viewer").open || location.hash === `#${id}`) history.replaceState(history.state, "", `#${id}`);
    else history.pushState(FROM_GALLERY, "", `#${id}`);
    if (!byId("viewer").open) byId("viewer").showModal();
    Object.assign(editor, { id, acts: makeActs(id, view.revision, heardOf(id)) });
    tell("");
    showView(view, true);
  } catch (error) {
    if (byId("viewer").open) tell(say("notOpened", { error: error.message }), true);
    else {
      history.replaceState(null, "", location.pathname);
      tellOutside(say("notOpened", { error: error.message }));
    }
  }
}

export function closeImage() {
  byId("viewer").close();
}

// Give the address back to the gallery, if it is still the image's; that may take a moment.
function leaveAddress(id) {
  if (location.hash !== `#${id}`) return null;
  if (!history.state?.fromGallery) {
    history.replaceState(null, "", location.pathname);
    return null;
  }
  // The next image waits for it: a step back that came later would lead to the image before. On a busy machine it may
  // take seconds; a browser that never takes it must not keep images closed.
  left = new Promise((resume) => {
    addEventListener("popstate", () => setTimeout(resume), { once: true });
    setTimeout(resume, 10_000);
  });
  history.back();
  return left;
}

function showView(view, fresh) {
  editor.view = view;
  if (fresh) {
    byId("side").scrollTop = 0;
    const image = asImage(view);
    const side = Math.min(LARGEST, Math.max(SMALLEST, image.width, image.height));
    editor.drawing = draw(image, { picture: firstPicture(editor.id, side), hands: [{ predicted: {} }] });
    windowDrawing(editor.drawing);
    stage.show(editor.drawing);
    byId("viewer-title").textContent = image.name;
    holdTools({ ...image, stage, drawing: editor.drawing, bone: () => editor.bone, middle: middleOfBone, send: sendStroke });
    chooseBone(firstBone(view));
  } else chooseBone(editor.bone);
  describe();
}

// The bone that most deserves a look: one that does not fit, or the least sure.
function firstBone({ findings, overview }) {
  const wrong = findings?.find((finding) => finding.wrong && finding.bones.length) ?? findings?.find(({ bones }) => bones.length);
  return wrong?.bones[0] ?? leastSure(overview)?.bone ?? 0;
}

function drawOutlines() {
  const { drawing, view, bone } = editor;
  for (const path of drawing.querySelectorAll(".outline")) path.remove();
  const paths = outlinesOf(asImage(view), [{ predicted: view.outlines }]);
  for (const path of paths) {
    const k = Number(path.dataset.bone);
    path.classList.toggle("chosen", k === bone);
    path.classList.toggle("unknown", view.unknown.includes(k));
    if (k === bone) path.setAttribute("mask", "url(#rubbed)");
  }
  drawing.querySelector("image").after(...paths);
}

export function chooseBone(bone) {
  if (bone !== editor.bone) drop(); // an area that was begun belongs to the bone from before
  editor.bone = bone;
  byId("bone").value = bone;
  byId("bone-swatch").className = `swatch bone-${bone}`;
  drawOutlines();
  markActs();
}

const at = (x, y) => ({ x, y });

function middleOfBone() {
  const path = editor.drawing.querySelector(`.outline.bone-${editor.bone}`);
  const { x, y, width, height } = path?.getBBox() ?? editor.drawing.viewBox.baseVal;
  return at(x + width / 2, y + height / 2);
}

// What an act sends back has only what has changed.
function merge(answer) {
  const { view } = editor;
  const outlines = { ...view.outlines, ...answer.outlines };
  for (const [bone, path] of Object.entries(outlines)) if (!path) delete outlines[bone];
  const areas = { ...view.areas, ...answer.areas };
  editor.view = { ...view, ...answer, outlines, areas };
}

function heardOf(id) {
  const here = () => editor.id === id;
  return {
    done(act, answer) {
      putImage(answer.overview);
      act.node?.remove();
      if (!here()) return;
      const wasDone = editor.view.done;
      merge(answer);
      chooseBone(editor.bone);
      listChoices();
      tell(act.said ?? (wasDone && !editor.view.done && act.path !== "done" ? say("doneTaken") : ""));
    },
    refused(act, error) {
      act.node?.remove();
      const words = say("refusedAct", { error: error.message });
      if (here()) tell(words, true);
      else tellOutside(`${server.images.get(id)?.name ?? id}: ${words}`);
    },
    idle() {
      if (!here()) return lookAgain(id); // its place among the others counts all the same
      markActs();
      clearTimeout(judging);
      judging = setTimeout(lookAgain, 150, id);
    },
    stale(view) {
      putImage(view.overview);
      if (!here()) return;
      for (const node of editor.drawing.querySelectorAll(".sent")) node.remove();
      drop();
      showView(view, false);
      tell(say("stale"), true);
    },
    lost: () => here() && tell(say("lostAct"), true),
    found(view, queue) {
      if (here()) showView(view, false);
      queue.forEach((act) => (act.said ??= say("sentAgain")));
      if (here() && !queue.length) tell(say("sentAgain"));
    },
  };
}

// What is said of the masks and measured on them takes longer than their outlines. Another window may change them too.
async function lookAgain(id) {
  let view;
  try {
    view = await ask("GET", `/api/images/${id}`);
  } catch {
    return; // the next act asks again
  }
  if (editor.id !== id || editor.acts.waiting().length) return putImage(view.overview);
  if (view.revision < editor.acts.revision()) return; // an answer that was overtaken
  const changed = editor.acts.renew(view.revision);
  if (changed) showView(view, false);
  else {
    editor.view = view;
    describe();
  }
  putImage(view.overview);
  if (changed) tell(say("changedElsewhere"));
}

function push(path, body = {}, more = {}) {
  editor.acts.push({ path, body, ...more });
  markActs();
}

function sendStroke(tool, points, radius, node) {
  push("edits", { bone: editor.bone, tool, points, radius }, { node });
}

export const acts = {
  undo: () => editor.view.undo + editor.acts.waiting().length > 0 && push("undo"),
  redo: () => editor.view.redo > 0 && push("redo"),
  clear: () => push("clear", { bone: editor.bone }),
  unknown: () => push("unknown", { bone: editor.bone, on: !editor.view.unknown.includes(editor.bone) }),
  ask() {
    push("ask", { bone: editor.bone });
    tell(say("asking"));
  },
  done: () => push("done", { on: !editor.view.done }),
  next() {
    // Corrections change the order under way, so that what was passed is known by itself, not by its place.
    const others = inDoubt().filter(({ id }) => id !== editor.id);
    if (!others.some(({ id }) => !passed.has(id))) passed.clear();
    passed.add(editor.id);
    const next = others.find(({ id }) => !passed.has(id));
    if (next) openImage(next.id);
    else tell(say("noNext"));
  },
};

// Buttons say what can be done.
function markActs() {
  const { view, bone } = editor;
  const waiting = editor.acts.waiting().length;
  byId("undo").disabled = !view.undo && !waiting;
  byId("redo").disabled = !view.redo;
  byId("clear").disabled = !view.outlines[bone];
  byId("unknown").setAttribute("aria-pressed", view.unknown.includes(bone));
  byId("done").setAttribute("aria-pressed", view.done);
  byId("done").textContent = say(view.done ? "isDone" : "markDone");
  byId("viewer").dataset.saving = waiting > 0;
  keepFocus();
}

// Keys are heard where the focus is: from a button that can do no more, or is gone, it goes to the stage.
function keepFocus() {
  const focused = document.activeElement;
  if (byId("viewer").open && (focused === document.body || focused.disabled)) byId("stage").focus({ preventScroll: true });
}

function describe() {
  const { view, drawing } = editor;
  const { score, plausible } = view.overview;
  const least = leastSure(view.overview);
  const figures = [[say("verdict"), verdict(plausible, score)]];
  if (least) figures.push([say("leastSure"), `${boneName(least.bone)} ${share(least.confidence, 2)}`]);
  byId("viewer-figures").replaceChildren(...figures.map(figure));
  byId("note").textContent = noteText(view.overview.note);
  byId("note").hidden = !view.overview.note;
  showFindings([{ side: null, findings: view.findings ?? [] }]);
  showMeasures([{ side: null, measures: view.measures ?? [] }], drawing, stage);
  listChoices();
  keepFocus();
}

// What inference says of an image, "; " between one thing and the next.
export function noteText(note) {
  return (note ?? "").split("; ").map((said) => inWords("notes", said)).filter(Boolean).join(". ");
}

function listChoices() {
  const { view, bone } = editor;
  const words = (k) => {
    const notes = [...(view.unknown.includes(k) ? ["isUnknown"] : []), ...(view.outlines[k] ? [] : ["notThere"])];
    return boneName(k) + (notes.length ? ` (${notes.map((note) => say(note)).join(", ")})` : "");
  };
  const groups = bonesByGroup().map(([group, bones]) => {
    const options = bones.map((k) => element("option", { value: k }, words(k)));
    return element("optgroup", { label: group[state.language] }, ...options);
  });
  byId("bone").replaceChildren(...groups);
  byId("bone").value = bone;
}

export function stepBone(by) {
  chooseBone((editor.bone + by + BONES.length) % BONES.length);
  tell(say("chosenBone", { bone: boneName(editor.bone) }));
}

export function stepImage(by) {
  const sequence = readyInOrder();
  const next = sequence[sequence.indexOf(editor.id) + by];
  if (next) openImage(next);
}

export function tell(words, warning = false) {
  byId("said").textContent = words;
  byId("said").classList.toggle("warning", warning);
}

// A click while looking chooses the bone there; the next one the bone below it.
function clicked(event) {
  const moved = !pressedAt || Math.hypot(event.clientX - pressedAt.x, event.clientY - pressedAt.y) > 4;
  if (tools.mode !== "look" || moved || event.button > 0) return;
  const bones = bonesAt(editor.drawing, event.clientX, event.clientY).map(([, bone]) => bone);
  if (bones.length) chooseBone(bones[(bones.indexOf(editor.bone) + 1) % bones.length]);
}

export function describeAgain() {
  if (editor.view === null) return;
  describe();
  markActs();
}

// `closed` hears which image was closed, and `outside` what is to be said while none is open.
export function prepareEditor(closed, outside) {
  tellOutside = outside;
  const node = byId("stage");
  node.addEventListener("pointerdown", (event) => (pressedAt = at(event.clientX, event.clientY)));
  node.addEventListener("pointerup", clicked);
  node.addEventListener("dblclick", (event) => tools.mode === "look" && stage.zoom(2, event.clientX, event.clientY));
  const buttons = {
    ...acts,
    before: () => stepImage(-1),
    after: () => stepImage(1),
    larger: () => stage.zoom(1.4),
    smaller: () => stage.zoom(1 / 1.4),
    whole: () => stage.whole(),
    close: closeImage,
  };
  for (const [id, action] of Object.entries(buttons)) byId(id).addEventListener("click", action);
  // In a list letters look for an entry; once a bone is picked by the pointer they are keys of the tools again.
  let picking = false;
  for (const kind of ["mousedown", "keydown"]) byId("bone").addEventListener(kind, () => (picking = kind === "mousedown"));
  byId("bone").addEventListener("change", ({ target }) => {
    chooseBone(Number(target.value));
    if (picking) byId("stage").focus({ preventScroll: true });
  });
  byId("bone").addEventListener("focus", () => light(editor.drawing, (_, bone) => bone === editor.bone));
  // After a press by the pointer (keys have no detail) keys are for the image again.
  byId("viewer").addEventListener("click", ({ detail, target }) => {
    if (!detail || !target.closest("button, summary, .tick")) setTimeout(keepFocus);
    else if (!byId("help").open) byId("stage").focus({ preventScroll: true });
  });
  byId("viewer").addEventListener("focusout", () => setTimeout(keepFocus));
  byId("viewer").addEventListener("close", () => {
    const { id } = editor;
    opening = null;
    document.body.append(byId("tip"));
    hideTip();
    releaseTools();
    leaveAddress(id)?.then(() => editor.id ?? closed(id)); // an address may take the focus with it
    node.replaceChildren();
    Object.assign(editor, { id: null, view: null, drawing: null, acts: null });
    closed(id);
  });
  onChange((id) => {
    if (id === null || id !== editor.id) return;
    const image = server.images.get(id);
    if (!image) closeImage();
    else if (image.revision > editor.acts.revision() && !editor.acts.waiting().length) lookAgain(id);
  });
}

export { stage };
