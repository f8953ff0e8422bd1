// Hand on what was segmented: a file in the form that somebody needs.

import { fetchFile } from "./api.js";
import { byId, element } from "./elements.js";
import { isReady, onChange, server } from "./images.js";
import { say, state, whole } from "./settings.js";
import { STRINGS } from "./strings.js";

const WORDS = { done: "onlyDone", ready: "allReady" };
const NONE = { done: "noneDone", ready: "noneReady" };
let busy = false;

const counts = () => {
  const ready = [...server.images.values()].filter(isReady);
  return { ready: ready.length, done: ready.filter(({ done }) => done).length };
};

// The choices stay the same nodes, so that whoever is on one of them keeps the focus.
export function showForms() {
  const now = counts();
  for (const option of byId("which").options) {
    const words = say(WORDS[option.value], { n: whole(now[option.value]) });
    if (option.textContent !== words) option.textContent = words;
  }
  const { value } = byId("which");
  const reason = value in NONE && !now[value] ? say(NONE[value]) : "";
  if (byId("forms-reason").textContent !== reason) byId("forms-reason").textContent = reason;
  byId("forms-reason").hidden = !reason;
  const names = STRINGS[state.language].forms;
  for (const button of byId("forms").children) {
    const { form } = button.dataset;
    button.textContent = names[form] ?? form;
    button.setAttribute("aria-disabled", busy || !now[value]);
  }
}

async function save(form) {
  const { value } = byId("which");
  if (busy || !counts()[value]) return;
  busy = true;
  showForms();
  tell(say("makingFile"));
  try {
    // Without ids the server takes all that are segmented: an address has no room for thousands of them.
    const { name, content, leftOut } = await fetchFile(`/api/export/${form}${value === "done" ? "?done=1" : ""}`);
    const address = URL.createObjectURL(content);
    element("a", { href: address, download: name }).click();
    setTimeout(() => URL.revokeObjectURL(address), 60_000);
    tell([say("madeFile", { name }), ...(leftOut ? [say("leftOut", { n: whole(leftOut) })] : [])].join(" "), leftOut > 0);
  } catch (error) {
    tell(error.message, true);
  } finally {
    busy = false;
    showForms();
  }
}

function tell(words, warning = false) {
  byId("exported").textContent = words;
  byId("exported").classList.toggle("warning", warning);
}

export function prepareHandOn() {
  const make = (form) => element("button", { type: "button", "data-form": form, onclick: () => save(form) });
  byId("which").replaceChildren(...Object.keys(WORDS).map((value) => element("option", { value })));
  byId("forms").replaceChildren(...server.forms.map(make));
  byId("which").addEventListener("change", showForms);
  onChange(showForms);
  showForms();
}
