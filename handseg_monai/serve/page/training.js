// Fine-tuning on what is marked as done: its start, its progress, its result, and whether to take the new weights.

import { ask } from "./api.js";
import { byId, element } from "./elements.js";
import { onChange, putTraining, server } from "./images.js";
import { inWords } from "./serve_strings.js";
import { say, share, state, whole } from "./settings.js";
import { STRINGS } from "./strings.js";

const EPOCHS = 20;
const MOST_NAMED = 5; // images by name
let words = "";
let shown = "";
let epochs = EPOCHS;

async function act(method, address, body) {
  words = "";
  try {
    putTraining(await ask(method, address, body));
  } catch (error) {
    words = error.message;
  }
  showTraining();
}

const button = (name, onclick, more = {}) => element("button", { type: "button", "data-act": name, onclick, ...more }, say(name));

function startForm(done) {
  const note = say(done ? "trainingNote" : "trainingNone", { n: whole(done) });
  const number = { type: "number", min: 1, max: 1000, value: epochs, oninput: ({ target }) => (epochs = Number(target.value)) };
  const { source, run } = server.model;
  const back = button("trainReturn", () => act("POST", "/api/training/return", {}));
  const taken = source === "run" ? [element("p", { class: "hint" }, say("trainUses", { run: whole(run) })), back] : [];
  const start = button("trainStart", () => act("POST", "/api/training", { epochs }), { disabled: !done });
  const field = element("label", { class: "field" }, say("epochs"), element("input", number));
  return [element("p", { class: "hint" }, note), element("div", { class: "train-start" }, field, start), ...taken];
}

function running({ epoch, epochs, says }) {
  const bar = element("progress", { max: epochs || 1, value: epoch ?? 0, "aria-label": say("training") });
  const now = element("p", { role: "status" }, say("trainRunning", { epoch: whole(epoch ?? 0), epochs: whole(epochs ?? 0) }));
  const phase = element("p", { class: "hint", role: "status" }, STRINGS[state.language].phases[says] ?? says);
  return [now, bar, phase, button("trainStop", () => act("DELETE", "/api/training"), { disabled: says === "stopping" })];
}

function result({ before, after, held_out: n, better, counted }) {
  const keep = button("trainKeep", () => act("DELETE", "/api/training?keep=1"));
  // Weights that could not be compared are taken by a plain choice alone.
  if (better === null) {
    const take = button("trainTakeUncompared", () => act("POST", "/api/training/take", { uncompared: true }));
    return [element("p", { role: "status" }, say("trainUncompared")), element("div", { class: "pair" }, keep, take)];
  }
  const row = (name, value) => element("tr", {}, element("th", { scope: "row" }, say(name)), element("td", {}, share(value, 4)));
  const caption = element("caption", {}, say("trainResult", { n: whole(n ?? 0) }));
  const table = element("table", { class: "result" }, caption, row("trainBefore", before), row("trainAfter", after));
  // Weights that are not better can't be taken.
  const take = better ? [button("trainTake", () => act("POST", "/api/training/take", {}), { class: "main" })] : [];
  const said = element("p", { role: "status" }, say(better ? "trainBetter" : "trainWorse"));
  return [table, ...countedBones(counted), said, element("div", { class: "pair" }, ...take, keep)];
}

// Which bones the figures are of: on each image held out, those that somebody has corrected.
function countedBones(counted) {
  const images = Object.entries(counted ?? {});
  if (!images.length) return [];
  const names = images.map(([id]) => server.images.get(id)?.name ?? id);
  const shown = names.length > MOST_NAMED ? [...names.slice(0, MOST_NAMED), `+ ${whole(names.length - MOST_NAMED)}`] : names;
  const bones = whole(images.reduce((sum, [, n]) => sum + n, 0));
  return [element("p", { class: "hint" }, say("trainCounted", { bones, names: shown.join(", ") }))];
}

export function showTraining() {
  const { training } = server;
  const body = byId("training-body");
  const done = [...server.images.values()].filter((image) => image.done).length;
  // Whoever types a number is left alone as long as nothing else is to be shown.
  const now = JSON.stringify([training, server.model, done, words, state.language]);
  if (now === shown) return;
  shown = now;
  const focus = body.contains(document.activeElement) ? document.activeElement.dataset.act ?? "input" : null;
  const said = (text, kind = "") => element("p", { role: "status", class: kind }, text);
  const parts = [];
  if (training?.state === "running") parts.push(...running(training));
  else if (training?.state === "finished") parts.push(...result(training));
  else {
    if (training?.state === "failed") parts.push(said(say("trainFailed", { error: inWords("errors", training.error) }), "warning"));
    if (training?.state === "stopped") parts.push(said(say("trainStopped")));
    if (training?.state === "taken") parts.push(said(say("trainTaken")));
    parts.push(...startForm(done));
  }
  if (words) parts.push(said(words, "warning"));
  body.replaceChildren(...parts);
  if (focus) (focus === "input" ? body.querySelector("input") : body.querySelector(`[data-act=${focus}]`))?.focus();
}

export const prepareTraining = () => onChange(showTraining);
