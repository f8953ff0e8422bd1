// Files on their way to the server: dropped or chosen, a few at a time, each with its progress or its error in words.

import { upload } from "./api.js";
import { byId, element } from "./elements.js";
import { server } from "./images.js";
import { say, whole } from "./settings.js";

const AT_ONCE = 3;
const files = [];
let under = 0;

function add(chosen) {
  for (const each of chosen) files.push({ ...each, state: "queued", share: 0, words: "" });
  send();
}

function send() {
  while (under < AT_ONCE) {
    const next = files.find(({ state }) => state === "queued");
    if (!next) break;
    under += 1;
    next.state = "sending";
    sendOne(next).finally(() => {
      under -= 1;
      send();
    });
  }
  showUploads();
}

async function sendOne(entry) {
  const { name } = entry;
  const most = server.limits.upload ?? Infinity;
  const megabytes = (bytes) => (bytes / 1e6).toFixed(1);
  try {
    const file = await readable(entry);
    if (file.size > most) throw new Error(say("tooLarge", { name, size: megabytes(file.size), most: megabytes(most) }));
    if (!file.size) throw new Error(say("emptyFile"));
    const { fresh } = await upload(file, name, (share) => {
      entry.share = share;
      showProgress();
    });
    Object.assign(entry, { state: "sent", share: 1, words: fresh ? "" : say("there") });
  } catch (error) {
    Object.assign(entry, { state: "failed", words: error.message });
  }
}

// The file, once it is sure that the browser can read it.
async function readable({ take }) {
  try {
    const file = await take();
    await file.slice(0, 1).arrayBuffer();
    return file;
  } catch (error) {
    throw new Error(say("notReadable", { error: error.message }));
  }
}

export function showUploads() {
  const listed = files.filter(({ state, words }) => state === "failed" || state === "sending" || words);
  byId("uploads").hidden = !files.length;
  if (!files.length) return;
  const failed = files.filter(({ state }) => state === "failed");
  const busy = files.some(({ state }) => state === "sending" || state === "queued");
  const sent = files.filter(({ state }) => state === "sent").length;
  const words = !busy && failed.length ? "uploadsFailed" : "uploading";
  const n = words === "uploadsFailed" ? failed.length : sent;
  byId("uploads-count").textContent = say(words, { n: whole(n), all: whole(files.length) });
  byId("uploads-again").hidden = busy || !failed.length;
  byId("uploads-clear").hidden = busy;
  byId("uploads-list").replaceChildren(...listed.map(line));
  showProgress();
  if (!busy && !listed.length) setTimeout(clearSent, 1500);
}

function clearSent() {
  if (files.every(({ state, words }) => state === "sent" && !words)) clear();
}

function clear() {
  files.length = 0;
  showUploads();
}

function again(entries) {
  for (const entry of entries) Object.assign(entry, { state: "queued", share: 0, words: "" });
  send();
}

function line(entry) {
  const retry = { type: "button", onclick: () => again([entry]) };
  const button = entry.state === "failed" ? [element("button", retry, say("again"))] : [];
  const words = element("span", { class: entry.state === "failed" ? "warning" : "faint" }, entry.words);
  return element("li", { "data-state": entry.state }, element("b", {}, entry.name), words, ...button);
}

function showProgress() {
  const done = files.reduce((sum, { state, share }) => sum + (state === "failed" ? 1 : share), 0);
  byId("uploads-progress").value = files.length ? done / files.length : 0;
}

const ofFile = (file) => ({ name: file.name, take: async () => file });

// All files of what was dropped, those in folders too, by their names within what was dropped.
async function dropped({ items }) {
  const those = [...items].filter(({ kind }) => kind === "file");
  // What was dropped is there only until the first pause.
  const found = those.map((item) => item.webkitGetAsEntry?.() ?? item.getAsFile());
  return (await Promise.all(found.map((each) => (each instanceof File ? [ofFile(each)] : filesOf(each))))).flat();
}

// What can't be read says so when its turn comes, and keeps nothing else back.
async function filesOf(entry) {
  const name = entry.fullPath.replace(/^\//, "");
  if (entry.isFile) return [{ name, take: () => new Promise((resolve, reject) => entry.file(resolve, reject)) }];
  const reader = entry.createReader();
  const all = [];
  const failed = [];
  try {
    for (;;) {
      const some = await new Promise((resolve, reject) => reader.readEntries(resolve, reject)); // a hundred at a time
      if (!some.length) break;
      all.push(...some);
    }
  } catch (error) {
    failed.push({ name, take: () => Promise.reject(error) });
  }
  const within = all.filter(({ name }) => !name.startsWith(".")).map(filesOf);
  return [...(await Promise.all(within)).flat(), ...failed];
}

export function prepareUploads() {
  const zone = byId("drop");
  byId("choose").addEventListener("click", () => byId("files").click());
  byId("files").addEventListener("change", ({ target }) => {
    add([...target.files].map(ofFile));
    target.value = "";
  });
  // A file that misses the zone would replace the page.
  document.addEventListener("dragover", (event) => {
    event.preventDefault();
    zone.classList.add("over");
  });
  document.addEventListener("dragleave", (event) => {
    if (!event.relatedTarget) zone.classList.remove("over");
  });
  document.addEventListener("drop", async (event) => {
    event.preventDefault();
    zone.classList.remove("over");
    add(await dropped(event.dataTransfer));
  });
  byId("uploads-again").addEventListener("click", () => again(files.filter(({ state }) => state === "failed")));
  byId("uploads-clear").addEventListener("click", clear);
}

export const sending = () => files.some(({ state }) => state === "sending" || state === "queued");
