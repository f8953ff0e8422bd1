// Corrections of an image on their way to the server: one after another, each based on the revision before it.

import { ask } from "./api.js";

const PAUSES = [500, 1000, 2000, 4000];
const NOT_TWICE = ["undo", "redo", "ask"]; // all others do nothing where they are done a second time
const busy = new Map();

// Whether corrections of any image are not saved yet.
export const unsaved = () => busy.size > 0;

// Wait until all corrections of an image are saved or given up.
export const settled = (id) => busy.get(id) ?? Promise.resolve();

// `heard` gets what becomes of the acts: `done(act, answer)`, `refused(act, error)`, `stale(view)` with the image
// anew, `lost()` and `found(view)` when the server answers again, and `idle()` once nothing waits.
export function makeActs(id, revision, heard) {
  const queue = [];
  const address = `/api/images/${id}`;
  let now = revision;

  function push(act) {
    queue.push(act);
    if (busy.has(id) && queue.length > 1) return;
    const drained = run().finally(() => {
      busy.delete(id);
      heard.idle();
    });
    busy.set(id, drained);
  }

  async function run() {
    while (queue.length) {
      const act = queue[0];
      try {
        // Outlines come at once; what is said of them follows when no act waits.
        const answer = await ask("POST", `${address}/${act.path}?only=outlines`, { ...act.body, revision: now });
        now = answer.revision;
        queue.shift();
        heard.done(act, answer);
      } catch (error) {
        if (!error.lost && error.status !== 409) heard.refused(queue.shift(), error);
        else await lookAnew(act, error);
      }
    }
  }

  async function lookAnew(act, error) {
    try {
      await (error.lost ? reconnect() : reload(act, error));
    } catch (gone) {
      for (const waiting of queue.splice(0)) heard.refused(waiting, gone);
    }
  }

  // The answer is lost, so that nobody knows whether the act is done: what the server has now says so.
  async function reconnect() {
    heard.lost();
    const before = now;
    const view = await persist();
    now = view.revision;
    if (now !== before && NOT_TWICE.includes(queue[0].path)) queue.shift();
    heard.found(view, queue);
  }

  async function reload(act, error) {
    const view = await persist();
    if (view.revision === now) return heard.refused(queue.shift(), error); // it is refused for another reason
    now = view.revision;
    queue.length = 0;
    heard.stale(view);
  }

  async function persist() {
    for (let n = 0; ; n++) {
      try {
        return await ask("GET", address);
      } catch (error) {
        if (!error.lost && error.status !== 503) throw error;
        await new Promise((resume) => setTimeout(resume, PAUSES[Math.min(n, PAUSES.length - 1)]));
      }
    }
  }

  // Go on from another window's revision; says whether it is another one.
  function renew(revision) {
    const changed = revision !== now;
    now = revision;
    return changed;
  }

  return { push, renew, waiting: () => queue, revision: () => now };
}
