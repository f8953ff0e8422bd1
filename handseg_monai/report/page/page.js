// Brings the page to life: figures, bones to switch, language and theme.

function showFigures() {
  const plausible = IMAGES.filter((image) => image.plausible).length;
  const figures = [[say("images"), whole(IMAGES.length)]];
  if (REPORT.scored) {
    figures.push([say("meanDice"), share(REPORT.meanDice, 4)]);
    figures.push([say("meanDicePresent"), share(REPORT.meanDicePresent, 4)]);
    const means = BONES.map((_, bone) => {
      const values = IMAGES.flatMap((image) => measures(image, bone));
      return values.length ? values.reduce((a, b) => a + b) / values.length : Infinity;
    });
    const weakest = means.indexOf(Math.min(...means));
    figures.push([say("weakest"), `${boneName(weakest)} ${share(means[weakest])}`]);
  }
  figures.push([say("plausible"), say("ofImages", { n: whole(plausible), all: whole(IMAGES.length) })]);
  byId("figures").replaceChildren(...figures.map(figure));
}

function tick(label, checked, changed, mark = []) {
  const box = element("input", { type: "checkbox" });
  box.checked = checked;
  box.addEventListener("change", () => changed(box.checked));
  return element("label", { class: "tick" }, box, ...mark, element("span", {}, label));
}

function switchBones(bones, on) {
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

function listBones() {
  const groups = REPORT.groups.map((group) => {
    const bones = BONES.map((_, bone) => bone).filter((bone) => BONES[bone].group === group.id);
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

function layer(name, words, mark = []) {
  const hidden = `without-${name}`;
  const changed = (on) => document.documentElement.classList.toggle(hidden, !on);
  const label = tick(words, !document.documentElement.classList.contains(hidden), changed, mark);
  label.dataset.layer = name;
  return label;
}

function listLayers() {
  const kinds = REPORT.scored ? ["prediction", "truth"].map((kind) => layer(kind, say(kind), [sample(kind)])) : [];
  const sides = TWO_HANDS ? ["left", "right"].map((side) => layer(side, handName(side))) : [];
  byId("layers").replaceChildren(...kinds, ...sides);
}

function sample(kind) {
  const line = vector("line", { x1: 1, y1: 6, x2: 27, y2: 6 });
  return vector("svg", { class: `sample ${kind}`, viewBox: "0 0 28 12", "aria-hidden": "true" }, line);
}

function applyLanguage() {
  document.documentElement.lang = state.language;
  for (const node of document.querySelectorAll("[data-text]")) node.textContent = say(node.dataset.text);
  for (const node of document.querySelectorAll("[data-label]")) node.setAttribute("aria-label", say(node.dataset.label));
  byId("language").textContent = say("language");
  byId("language").lang = state.language === "en" ? "ko" : "en";
  nameTheme();
  showFigures();
  listLayers();
  listBones();
  drawCharts(sortByBone);
  orderChoices();
  captionCards();
  for (const mark of document.querySelectorAll(".side-mark")) mark.textContent = handName(mark.dataset.side);
  arrange();
}

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

function switchLanguage() {
  state.language = state.language === "en" ? "ko" : "en";
  remember("language", state.language);
  applyLanguage();
}

function start() {
  const theme = recalled("theme", ["light", "dark"]);
  if (theme) document.documentElement.dataset.theme = theme;
  document.title = `${REPORT.prediction} – handseg`;
  byId("title").textContent = REPORT.prediction;
  byId("version").textContent = `handseg-monai ${REPORT.version}`;
  byId("bones").open = matchMedia("(min-width: 60rem)").matches;
  applyLooks();
  applyLanguage();
  prepareGallery();
  prepareViewer((index) => focusCard(index));
  byId("language").addEventListener("click", switchLanguage);
  byId("theme").addEventListener("click", switchTheme);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", nameTheme);
  const every = BONES.map((_, bone) => bone);
  byId("all").addEventListener("click", () => switchBones(every, true));
  byId("none").addEventListener("click", () => switchBones(every, false));
  byId("loading").remove();
  byId("main").hidden = false;
}

start();
