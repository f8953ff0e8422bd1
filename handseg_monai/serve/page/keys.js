// Keys of the page: those of the opened image, and the list of them.

import { acts, closeImage, editor, stage, stepBone, stepImage } from "./editor.js";
import { byId, element, tick } from "./elements.js";
import { recalled, remember, say, state } from "./settings.js";
import { STRINGS } from "./strings.js";
import { choose, drop, setRadius, toolKey, tools } from "./tools.js";

// Whoever speaks to the computer, or hits keys by accident, can turn off the keys of one character.
let characters = recalled("characters", ["on", "off"]) !== "off";

function setCharacters(on) {
  characters = on;
  remember("characters", on ? "on" : "off");
}

// A tool that is chosen by its key is held over the image, where arrows move it.
function take(mode) {
  choose(mode);
  byId("stage").focus();
}

const KEYS = {
  v: () => take("look"),
  b: () => take("brush"),
  e: () => take("erase"),
  a: () => take("add"),
  c: () => take("cut"),
  "[": () => setRadius(Math.min(tools.radius / 1.25, tools.radius - 1)),
  "]": () => setRadius(Math.max(tools.radius * 1.25, tools.radius + 1)),
  ",": () => stepBone(-1),
  ".": () => stepBone(1),
  Delete: acts.clear,
  u: acts.unknown,
  r: acts.ask,
  d: acts.done,
  n: acts.next,
  "?": openHelp,
  PageUp: () => stepImage(-1),
  PageDown: () => stepImage(1),
};
const ONCE = [acts.ask, acts.done, acts.unknown]; // a key that is held down does these once
const LOOKING = { ArrowLeft: () => stepImage(-1), ArrowRight: () => stepImage(1) };
// Letters of other keyboards: the key in the place counts where it gives no character of ours.
const letter = ({ key, code }) => (/^Key[A-Z]$/.test(code) && !/^[ -~]$/.test(key) ? code.at(-1) : key);

function actionOf(event) {
  const name = letter(event);
  const key = name.length === 1 ? name.toLowerCase() : name;
  const { target } = event;
  if (event.ctrlKey || event.metaKey) {
    if (key === "z") return event.shiftKey ? acts.redo : acts.undo;
    return key === "y" ? acts.redo : undefined;
  }
  if (!characters && key.length === 1 && key !== " ") return undefined;
  if (target.matches("select, input[type=text], input[type=search], input[type=number]")) return undefined;
  // Controls keep the keys that work them: all press, sliders and the choice of tools move.
  const presses = key === " " || key === "Enter";
  const moves = key.startsWith("Arrow") || key.startsWith("Page");
  if (presses && target.matches("input, button, summary")) return undefined;
  if (moves && target.matches("input")) return undefined;
  if (moves && !event.shiftKey && target.matches("[role=radio]")) return undefined;
  if (event.altKey && !key.startsWith("Arrow")) return undefined;
  return toolKey(event) ?? stage.key(event) ?? KEYS[key] ?? (tools.mode === "look" ? LOOKING[key] : undefined);
}

function pressed(event) {
  if (editor.view === null) return;
  if (event.key === "Escape") {
    event.preventDefault();
    if (drop()) return;
    if (tools.mode === "look") closeImage();
    else choose("look");
    return;
  }
  const action = actionOf(event);
  if (!action) return;
  event.preventDefault();
  if (!event.repeat || !ONCE.includes(action)) action();
}

export function openHelp() {
  const rows = STRINGS[state.language].keyList.map(([keys, words]) => {
    const names = keys.split(" · ").flatMap((name, n) => [...(n ? [" "] : []), element("kbd", {}, name)]);
    return element("tr", {}, element("th", { scope: "row" }, ...names), element("td", {}, words));
  });
  byId("help-table").replaceChildren(element("tbody", {}, ...rows));
  byId("characters").replaceChildren(tick(say("characters"), characters, setCharacters));
  byId("help").showModal();
}

export function prepareKeys() {
  byId("viewer").addEventListener("keydown", pressed);
  byId("help-open").addEventListener("click", openHelp);
  byId("help").addEventListener("click", ({ target }) => target === byId("help") && byId("help").close());
}
