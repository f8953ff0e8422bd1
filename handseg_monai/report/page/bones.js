// The list of bones by group, each with a switch that shows or hides its outlines.

import { byId, element, tick } from "./elements.js";
import { applyLooks, swatch } from "./drawing.js";
import { BONES, GROUPS, boneName, state } from "./settings.js";

export function switchBones(bones, on) {
  for (const bone of bones) {
    if (on) state.hidden.delete(bone);
    else state.hidden.add(bone);
  }
  applyLooks();
  markBones();
}

// Boxes say what is shown; a group's is in between where some of its bones are.
function markBones() {
  for (const group of document.querySelectorAll("#groups fieldset")) {
    const [all, ...each] = group.querySelectorAll("input");
    for (const box of each) box.checked = !state.hidden.has(Number(box.closest("label").dataset.bone));
    const on = each.filter((box) => box.checked).length;
    all.checked = on === each.length;
    all.indeterminate = on > 0 && on < each.length;
  }
}

export function bonesByGroup() {
  const bones = BONES.map((_, bone) => bone);
  return GROUPS.map((group) => [group, bones.filter((bone) => BONES[bone].group === group.id)]);
}

export function listBones() {
  const groups = bonesByGroup().map(([group, bones]) => {
    const ticks = bones.map((bone) => {
      const label = tick(boneName(bone), true, (on) => switchBones([bone], on), [swatch(bone)]);
      label.dataset.bone = bone;
      return label;
    });
    const all = tick(group[state.language], true, (on) => switchBones(bones, on));
    return element("fieldset", { "data-group": group.id }, element("legend", {}, all), ...ticks);
  });
  byId("groups").replaceChildren(...groups);
  markBones();
}

export function prepareBones() {
  const every = BONES.map((_, bone) => bone);
  byId("all").addEventListener("click", () => switchBones(every, true));
  byId("none").addEventListener("click", () => switchBones(every, false));
}
