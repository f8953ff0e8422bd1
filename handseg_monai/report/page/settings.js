// The reader's language and theme, the bones, and words and numbers in that language.

import { byId } from "./elements.js";
import { STRINGS } from "./strings.js";

export const state = {
  language: recalled("language", ["en", "ko"]) ?? (navigator.language.startsWith("ko") ? "ko" : "en"),
  hidden: new Set(),
};

export const BONES = [];
export const GROUPS = [];

// What a page knows of the bones comes with its data.
export function setBones(bones, groups) {
  BONES.splice(0, BONES.length, ...bones);
  GROUPS.splice(0, GROUPS.length, ...groups);
}

// A browser may refuse to keep things; the page works without.
export function recalled(key, choices) {
  try {
    const kept = localStorage.getItem(`handseg-${key}`);
    return choices.includes(kept) ? kept : null;
  } catch {
    return null;
  }
}

export function remember(key, value) {
  try {
    localStorage.setItem(`handseg-${key}`, value);
  } catch {
    // nothing to be done
  }
}

export function say(key, values = {}) {
  return STRINGS[state.language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

export const boneName = (bone) => BONES[bone][state.language];
export const boneOf = (side, bone) => (side ? say(`${side}Bone`, { bone: boneName(bone) }) : boneName(bone));
export const handName = (side) => STRINGS[state.language].hands[side];
export const share = (value, digits = 3) => (value == null ? "–" : value.toFixed(digits));
export const whole = (value) => value.toLocaleString(state.language);
export const verdict = (plausible, score) => `${say(plausible ? "plausible" : "implausible")} · ${share(score, 2)}`;
export const pixels = (value) => say("pixels", { n: whole(value) });

// English texts name bones as files do, and what is of two bones as `Radius|Ulna overlap`.
export const inEnglish = (text) =>
  text
    .replace(/([\w-]+)\|([\w-]+) /g, "$1 and $2: ")
    .replace(/finger-\d+/g, (name) => BONES.find((bone) => bone.name === name)?.en ?? name);

function isDark() {
  const theme = document.documentElement.dataset.theme;
  return theme ? theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
}

function nameTheme() {
  byId("theme").textContent = say(isDark() ? "toLight" : "toDark");
}

function switchTheme() {
  const theme = isDark() ? "light" : "dark";
  document.documentElement.dataset.theme = theme;
  remember("theme", theme);
  nameTheme();
}

// Write all texts of the template in the reader's language.
export function translate() {
  document.documentElement.lang = state.language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = say(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", say(node.dataset.label));
  byId("language").textContent = say("language");
  byId("language").lang = state.language === "en" ? "ko" : "en";
  nameTheme();
}

// Make the switches of language and theme work; a change of language is told to the page.
export function prepareSettings(translated) {
  const theme = recalled("theme", ["light", "dark"]);
  if (theme) document.documentElement.dataset.theme = theme;
  byId("language").addEventListener("click", () => {
    state.language = state.language === "en" ? "ko" : "en";
    remember("language", state.language);
    translated();
  });
  byId("theme").addEventListener("click", switchTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
}
