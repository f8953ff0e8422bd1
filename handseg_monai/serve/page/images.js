// What the page knows of the server: its images, its network, its training; kept up by the server's events.

import { ask, refusalOf } from "./api.js";
import { REFERENCES } from "./measures.js";
import { setBones } from "./settings.js";

export const server = { images: new Map(), model: {}, training: null, forms: [], limits: {}, version: "", guarded: false };
export const isReady = ({ state }) => state === "ready";
export const isWaiting = ({ state }) => ["waiting", "reading", "inferring"].includes(state);
export const toCorrect = (image) => isReady(image) && !image.done;

const listeners = [];

// Call a function when something changes: the images whose ids it gets, or with null all that is not an image.
export const onChange = (listener) => listeners.push(listener);
const tell = (id) => listeners.forEach((listener) => listener(id));

// What the page hears while it waits for the state may be newer than the state, and so is done once more after it.
let loading = null;

function change(act) {
  act();
  loading?.push(act);
}

// Says whether the state is in: not where it was asked for anew before it came.
export async function loadState() {
  const heard = (loading = []);
  const { images, bones, groups, references, ...rest } = await ask("GET", "/api/state");
  if (loading !== heard) return false;
  loading = null;
  setBones(bones, groups);
  Object.assign(REFERENCES, references);
  Object.assign(server, rest);
  const gone = new Set(server.images.keys());
  for (const image of images) gone.delete(image.id);
  for (const id of gone) server.images.delete(id);
  for (const image of images) server.images.set(image.id, image);
  tell(null);
  for (const id of [...gone, ...server.images.keys()]) tell(id);
  for (const act of heard) act();
  return true;
}

export function putImage(overview) {
  change(() => {
    server.images.set(overview.id, overview);
    tell(overview.id);
  });
}

export function dropImage(id) {
  change(() => {
    server.images.delete(id);
    tell(id);
  });
}

export const putTraining = (training) => put({ training });

function put(news) {
  change(() => {
    Object.assign(server, news);
    tell(null);
  });
}

// Listen for as long as somebody looks at the page: a browser opens few connections to a server, and pages that stay in
// the background would take them all. `connected` hears whether the server is there, and if not, why.
export function listen(connected) {
  let source = null;
  const follow = () => {
    source?.close();
    source = document.hidden ? null : hear(connected, follow);
  };
  document.addEventListener("visibilitychange", follow);
  follow();
}

function hear(connected, again) {
  const source = new EventSource("/api/events");
  let lost = false;
  const on = (kind, act) => source.addEventListener(kind, (event) => act(JSON.parse(event.data)));
  on("image", ({ overview }) => putImage(overview));
  on("removed", ({ id }) => dropImage(id));
  on("training", putTraining);
  on("model", (model) => put({ model }));
  // What happened before it listened is not told.
  source.addEventListener("open", async () => {
    while (source.readyState === EventSource.OPEN) {
      try {
        if (!(await loadState())) return;
        lost = false;
        return connected(true);
      } catch {
        await new Promise((resume) => setTimeout(resume, 2000));
      }
    }
  });
  source.addEventListener("error", async () => {
    const refused = source.readyState === EventSource.CLOSED;
    if (!lost) connected(false);
    lost = true;
    if (!refused) return; // the browser tries again by itself
    connected(false, await refusalOf("/api/events"));
    setTimeout(again, 2000);
  });
  return source;
}
