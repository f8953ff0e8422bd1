// The tools of correction: brush and eraser, areas added and cut, by mouse, pen, finger or keys.
//
// A stroke is drawn at once and stays until the server's outline takes its place.

import { byId, element, vector } from "./elements.js";
import { state } from "./settings.js";
import { STRINGS } from "./strings.js";
import { windowTool } from "./window.js";

export const MODES = ["look", "brush", "erase", "add", "cut"];
const MOST_POINTS = 2000;
const LEAST_RADIUS = 1;
const AT_ONCE = 400; // milliseconds between the clicks of a double click
const isLine = (mode) => mode === "brush" || mode === "erase";
const isArea = (mode) => mode === "add" || mode === "cut";

export const tools = { mode: "look", radius: 12, share: 1 / 80 }; // the radius as a share of the long side, too
let hand = null; // stage and drawing of the image that is open, and whom to tell
let stroke = null; // points under way: {points, node, mask, keys}
let cursor = null;
let penSeen = false;
let windowing = false;

// Where strokes go: `stage`, `drawing`, `width` and `height`, and `send(tool, points, radius, nodes)`.
export function holdTools(held) {
  hand = held;
  stroke = cursor = null;
  const { width, height, drawing } = hand;
  const white = vector("rect", { width, height, fill: "#fff" });
  const mask = { id: "rubbed", maskUnits: "userSpaceOnUse", x: 0, y: 0, width, height };
  hand.rubbed = vector("mask", mask, white);
  hand.layer = vector("g", { class: "strokes" });
  hand.pointer = vector("circle", { class: "pointer", r: 0 });
  drawing.append(vector("defs", {}, hand.rubbed), hand.layer, hand.pointer);
  const long = Math.max(width, height);
  byId("radius").max = Math.max(20, Math.round(long / 8));
  showRadius(tools.share * long);
  showPointer(null);
}

export function releaseTools() {
  choose("look");
  hand = null;
}

export function choose(mode) {
  drop();
  tools.mode = mode;
  byId("stage").dataset.mode = mode;
  for (const button of byId("modes").children) {
    const on = button.dataset.tool === mode;
    button.setAttribute("aria-checked", on);
    button.tabIndex = on ? 0 : -1;
  }
  byId("radius-field").classList.toggle("off", !isLine(mode));
  if (mode === "look") showPointer(null);
}

export function setRadius(radius) {
  showRadius(radius);
  tools.share = tools.radius / Math.max(hand.width, hand.height);
}

// An image may bound the radius, and rounds it; what was chosen stays for the next one.
function showRadius(radius) {
  const most = Number(byId("radius").max);
  tools.radius = Math.min(Math.max(Math.round(radius), LEAST_RADIUS), most);
  byId("radius").value = tools.radius;
  byId("radius-value").textContent = `${tools.radius} px`;
  showPointer(cursor);
}

function showPointer(place) {
  cursor = place;
  if (!hand) return;
  const node = hand.pointer;
  node.style.display = place && tools.mode !== "look" ? "" : "none";
  if (!place) return;
  node.setAttribute("cx", place.x);
  node.setAttribute("cy", place.y);
  node.setAttribute("r", isLine(tools.mode) ? tools.radius : 3 * hand.stage.pixel());
}

const placeOf = (event) => hand.stage.onImage(event.clientX, event.clientY);

function begin(place, keys = false) {
  finish(); // a stroke that was begun by a key
  const { mode, radius } = tools;
  const kind = isArea(mode) ? "polygon" : "polyline";
  const node = vector(kind, { class: `stroke ${mode} bone-${hand.bone()}`, "stroke-width": isLine(mode) ? 2 * radius : null });
  stroke = { points: [], node, mode, radius, keys };
  if (mode === "erase") {
    node.setAttribute("class", "rub");
    hand.rubbed.append(node);
  } else hand.layer.append(node);
  extend(place);
}

function extend({ x, y }, least = 0) {
  const last = stroke.points.at(-1);
  if (last && Math.hypot(x - last[0], y - last[1]) < least) return;
  stroke.points.push([Math.round(x * 100) / 100, Math.round(y * 100) / 100]);
  redraw();
  if (isLine(stroke.mode) && stroke.points.length >= MOST_POINTS) {
    finish();
    begin({ x, y });
  }
}

function redraw(next = null) {
  const points = next ? [...stroke.points, [next.x, next.y]] : stroke.points;
  // A line of one point is drawn only with a second one.
  const drawn = points.length === 1 ? [points[0], [points[0][0] + 0.01, points[0][1]]] : points;
  stroke.node.setAttribute("points", drawn.map((point) => point.join(",")).join(" "));
}

// Send the stroke; an area needs three corners.
export function finish() {
  if (!stroke) return;
  const { points, node, mode, radius } = stroke;
  if (isArea(mode) && points.length < 3) return drop();
  redraw();
  node.classList.add("sent");
  stroke = null;
  hand.send(mode, points, isLine(mode) ? radius : 0, node);
}

// Forget what is under way; says whether there was something.
export function drop() {
  stroke?.node.remove();
  const was = stroke !== null;
  stroke = null;
  return was;
}

function backspace() {
  if (!stroke || !isArea(stroke.mode)) return;
  stroke.points.pop();
  if (stroke.points.length) redraw();
  else drop();
}

// What the stage asks of a tool.
export const stageTool = {
  begin(event) {
    if (!hand) return false;
    windowing = event.button === 2 || (event.button === 0 && event.shiftKey);
    if (windowing) return Boolean(windowTool.begin(event));
    penSeen ||= event.pointerType === "pen";
    const pans = event.button === 1 || (penSeen && event.pointerType === "touch");
    if (tools.mode === "look" || event.button > 0 || pans) return false;
    showPointer(placeOf(event));
    if (isLine(tools.mode)) begin(placeOf(event));
    return true;
  },
  move(event) {
    if (windowing) return windowTool.move(event);
    const events = event.getCoalescedEvents?.() ?? [];
    showPointer(placeOf(event));
    if (stroke && isLine(stroke.mode)) {
      for (const each of events.length ? events : [event]) extend(placeOf(each), Math.max(hand.stage.pixel(), tools.radius / 8));
    } else if (stroke) redraw(placeOf(event));
  },
  end(event) {
    if (windowing) windowing = false;
    else if (stroke && isLine(stroke.mode)) finish();
    else if (hand && isArea(tools.mode)) click(placeOf(event), event.timeStamp);
  },
  cancel() {
    windowing = false;
    if (!isArea(tools.mode)) drop();
  },
};

const near = (place, point, reach) => Math.hypot(place.x - point[0], place.y - point[1]) < reach * hand.stage.pixel();

// A double click closes the area, and its second click sets no corner. A later click at the same place sets one.
function click(place, now) {
  const twice = stroke && now - stroke.clicked < AT_ONCE && near(place, stroke.points.at(-1), 5);
  if (!twice) corner(place);
  else if (stroke.points.length >= 3) finish();
  if (stroke) stroke.clicked = now;
}

// The first corner, set once more, closes the area.
function corner(place) {
  if (!stroke) begin(place);
  else if (stroke.points.length >= 3 && near(place, stroke.points[0], 8)) finish();
  else extend(place);
}

const STEPS = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };

// What a key does on the stage while a tool is held, or nothing.
export function toolKey(event) {
  if (tools.mode === "look" || !hand) return undefined;
  const { key } = event;
  if (key in STEPS && !event.shiftKey) return () => walk(STEPS[key], event.altKey);
  const keys = { Enter: () => (stroke ? finish() : press()), " ": press, Backspace: backspace };
  return keys[key];
}

function walk([right, down], fine) {
  const step = fine ? 1 : Math.max(1, tools.radius / 2);
  const from = cursor ?? hand.middle();
  const x = Math.min(Math.max(from.x + right * step, 0), hand.width);
  const y = Math.min(Math.max(from.y + down * step, 0), hand.height);
  showPointer({ x, y });
  keepInView(x, y);
  if (!stroke) return;
  if (isLine(stroke.mode)) extend(cursor);
  else redraw(cursor);
}

function keepInView(x, y) {
  const frame = byId("stage").getBoundingClientRect();
  const place = new DOMPoint(x, y).matrixTransform(hand.drawing.getScreenCTM());
  const beyond = (at, low, high) => Math.min(at - low - 20, 0) + Math.max(at - high + 20, 0);
  hand.stage.pan(-beyond(place.x, frame.left, frame.right), -beyond(place.y, frame.top, frame.bottom));
}

function press() {
  if (!cursor) showPointer(hand.middle());
  if (isArea(tools.mode)) corner(cursor);
  else if (stroke) finish();
  else begin(cursor, true);
}

export function listModes() {
  const { tools: names, toolHints } = STRINGS[state.language];
  const buttons = MODES.map((mode) => {
    const button = { type: "button", role: "radio", "data-tool": mode, title: toolHints[mode], onclick: () => choose(mode) };
    return element("button", button, names[mode]);
  });
  byId("modes").replaceChildren(...buttons);
  choose(tools.mode);
}

export function prepareTools() {
  byId("radius").addEventListener("input", ({ target }) => setRadius(Number(target.value)));
  byId("stage").addEventListener("contextmenu", (event) => event.preventDefault());
  byId("stage").addEventListener("pointermove", (event) => {
    if (!hand || tools.mode === "look" || event.pointerType === "touch") return;
    showPointer(placeOf(event));
    if (stroke && isArea(stroke.mode)) redraw(cursor);
  });
  byId("stage").addEventListener("pointerleave", () => hand && !stroke && showPointer(null));
  // Arrows walk in the group of tools, as in every group of which one is chosen.
  byId("modes").addEventListener("keydown", (event) => {
    const by = { ArrowLeft: -1, ArrowUp: -1, ArrowRight: 1, ArrowDown: 1 }[event.key];
    if (!by) return;
    event.preventDefault();
    event.stopPropagation();
    choose(MODES[(MODES.indexOf(tools.mode) + by + MODES.length) % MODES.length]);
    byId("modes").querySelector("[aria-checked=true]").focus();
  });
}
