// Brings the page of the server to life.

import { unsaved } from "./acts.js";
import { listBones, prepareBones } from "./bones.js";
import { applyLooks } from "./drawing.js";
import { closeImage, describeAgain, editor, openImage, prepareEditor } from "./editor.js";
import { byId } from "./elements.js";
import { prepareHandOn, showForms } from "./hand_on.js";
import { isReady, listen, loadState, onChange, server } from "./images.js";
import { prepareKeys } from "./keys.js";
import { inWords } from "./serve_strings.js";
import { prepareSettings, say, translate } from "./settings.js";
import { arrange, captionAll, prepareShelf, returnTo } from "./shelf.js";
import { listModes, prepareTools } from "./tools.js";
import { prepareTraining, showTraining } from "./training.js";
import { prepareUploads, sending, showUploads } from "./uploads.js";
import { prepareWindow } from "./window.js";

let connected = true;
let refusal = ""; // why the server does not let the page listen
let notThere = () => ""; // words on an address whose image can't be opened, in the language of the page

function showNotice() {
  const { ready, error } = server.model;
  const words = !connected ? refusal || say("lost") : inWords("errors", error) || notThere() || (ready ? "" : say("loadingModel"));
  byId("notice").textContent = words;
  byId("notice").hidden = !words;
  byId("notice").classList.toggle("warning", !connected || Boolean(error));
}

function applyLanguage() {
  translate();
  byId("privacy").textContent = say(server.guarded ? "privateToken" : "privateHere");
  showNotice();
  showUploads();
  captionAll();
  arrange();
  showForms();
  byId("exported").textContent = ""; // it was said in the other language
  showTraining();
  listBones();
  listModes();
  describeAgain();
}

function openAddressed() {
  const id = location.hash.slice(1);
  const image = server.images.get(id);
  notThere = () => "";
  if (image && isReady(image)) id !== editor.id && openImage(id);
  else {
    if (editor.id !== null) closeImage();
    if (image) notThere = () => `${image.name}: ${say(image.state)}`;
    else if (id && !document.getElementById(id)) notThere = () => say("noSuchImage", { id });
  }
  showNotice();
}

async function load() {
  for (;;) {
    try {
      return await loadState();
    } catch (error) {
      byId("loading").textContent = error.message;
      await new Promise((resume) => setTimeout(resume, 2000));
    }
  }
}

async function start() {
  prepareSettings(applyLanguage);
  translate();
  await load();
  applyLooks();
  prepareShelf(openImage);
  applyLanguage();
  byId("version").textContent = `handseg-monai ${server.version}`;
  const wide = matchMedia("(min-width: 60rem)").matches;
  for (const id of ["hand-on", "training"]) byId(id).open = wide;
  prepareUploads();
  prepareHandOn();
  prepareTraining();
  prepareBones();
  prepareTools();
  prepareWindow();
  prepareEditor(returnTo, (words) => {
    notThere = () => words;
    showNotice();
  });
  prepareKeys();
  onChange((id) => {
    if (id === null) showNotice();
    else if (notThere() && location.hash === `#${id}`) openAddressed(); // it may be there now
  });
  byId("loading").remove();
  byId("main").hidden = false;
  listen((now, why = "") => {
    [connected, refusal] = [now, why];
    showNotice();
  });
  addEventListener("hashchange", openAddressed);
  addEventListener("beforeunload", (event) => (unsaved() || sending()) && event.preventDefault());
  openAddressed();
}

start();
