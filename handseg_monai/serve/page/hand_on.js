// Hand on what was segmented: a file in the form that somebody needs.

import { fetchFile } from "./api.js";
import { byId, element } from "./elements.js";
import { isReady, onChange, server } from "./images.js";
import { say, state, whole } from "./settings.js";
import { STRINGS } from "./strings.js";

const counts = () => {
  const ready = [...server.images.values()].filter(isReady);
  return { ready: ready.length, done: ready.filter(({ done }) => done).length };
};

export function showForms() {
  const { ready, done } = counts();
  const chosen = byId("which").value || "done";
  const choices = [["done", say("onlyDone", { n: whole(done) })], ["ready", say("allReady", { n: whole(ready) })]];
  byId("which").replaceChildren(...choices.map(([value, words]) => element("option", { value }, words)));
  byId("which").value = chosen;
  const names = STRINGS[state.language].forms;
  const buttons = server.forms.map((form) =>
    element("button", { type: "button", "data-form": form, onclick: () => save(form) }, names[form] ?? form),
  );
  byId("forms").replaceChildren(...buttons);
  enable();
}

function enable(busy = false) {
  const none = !counts()[byId("which").value];
  for (const button of byId("forms").children) button.disabled = busy || none;
}

async function save(form) {
  const ids = [...server.images.values()].filter(isReady).map(({ id }) => id);
  const which = byId("which").value === "done" ? "done=1" : `ids=${ids.join(",")}`;
  tell(say("makingFile"));
  enable(true);
  try {
    const { name, content, leftOut } = await fetchFile(`/api/export/${form}?${which}`);
    const address = URL.createObjectURL(content);
    element("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    tell([say("madeFile", { name }), ...(leftOut ? [say("leftOut", { n: whole(leftOut) })] : [])].join(" "), leftOut > 0);
  } catch (error) {
    tell(error.message, true);
  } finally {
    enable();
  }
}

function tell(words, warning = false) {
  byId("exported").textContent = words;
  byId("exported").classList.toggle("warning", warning);
}

export function prepareHandOn() {
  byId("which").addEventListener("change", () => enable());
  onChange(showForms);
}
