// The window of a radiograph: which share of its greys is black and which is white.
//
// While it is pulled, a filter changes the picture that is there; then the server draws it from the radiograph itself.

import { byId, vector } from "./elements.js";


const LEAST = 0.01;
const window_ = { id: null, side: 1024, picture: null, functions: [], drawn: [0, 1], wanted: [0, 1], timer: 0, from: null };

const address = ([low, high]) => `/api/images/${window_.id}/picture?low=${low.toFixed(2)}&high=${high.toFixed(2)}&side=${window_.side}`;

// The picture of an image that is opened.
export function firstPicture(id, side) {
  clearTimeout(window_.timer);
  Object.assign(window_, { id, side, drawn: [0, 1], wanted: [0, 1], from: null });
  showSliders();
  return address([0, 1]);
}

export function windowDrawing(drawing) {
  window_.functions = ["R", "G", "B"].map((channel) => vector(`feFunc${channel}`, { type: "linear" }));
  const transfer = vector("feComponentTransfer", {}, ...window_.functions);
  const filter = { id: "window-filter", "color-interpolation-filters": "sRGB", x: 0, y: 0, width: 1, height: 1 };
  drawing.prepend(vector("defs", {}, vector("filter", filter, transfer)));
  window_.picture = drawing.querySelector("image");
}

export function pull(low, high) {
  const bottom = Math.min(Math.max(low, 0), 1 - LEAST);
  window_.wanted = [bottom, Math.min(Math.max(high, bottom + LEAST), 1)];
  showSliders();
  filterPicture();
  clearTimeout(window_.timer);
  window_.timer = setTimeout(fetchPicture, 250);
}

function filterPicture() {
  const [[oldLow, oldHigh], [low, high]] = [window_.drawn, window_.wanted];
  const same = oldLow === low && oldHigh === high;
  if (same) return window_.picture.removeAttribute("filter");
  for (const node of window_.functions) {
    node.setAttribute("slope", (oldHigh - oldLow) / (high - low));
    node.setAttribute("intercept", (oldLow - low) / (high - low));
  }
  window_.picture.setAttribute("filter", "url(#window-filter)");
}

async function fetchPicture() {
  const { picture, wanted } = window_;
  const image = new Image();
  image.src = address(wanted);
  try {
    await image.decode();
  } catch {
    return; // the filtered picture stays
  }
  if (window_.picture !== picture || window_.wanted !== wanted) return;
  picture.setAttribute("href", image.src);
  window_.drawn = wanted;
  filterPicture();
}

function showSliders() {
  const [low, high] = window_.wanted;
  for (const [name, value] of [["low", low], ["high", high]]) {
    byId(name).value = Math.round(100 * value);
    byId(`${name}-value`).textContent = `${Math.round(100 * value)} %`;
  }
  byId("window-reset").disabled = low === 0 && high === 1;
}

// A drag on the stage: sideways contrast, up and down brightness.
export const windowTool = {
  begin: (event) => (window_.from = { x: event.clientX, y: event.clientY, wanted: window_.wanted }),
  move: (event) => {
    const { x, y, wanted } = window_.from;
    const half = Math.max(LEAST / 2, ((wanted[1] - wanted[0]) / 2) * Math.exp((event.clientX - x) / -250));
    const middle = (wanted[0] + wanted[1]) / 2 + (event.clientY - y) / 400;
    pull(middle - half, middle + half);
  },
};

export function prepareWindow() {
  byId("low").addEventListener("input", ({ target }) => pull(Math.min(target.value / 100, window_.wanted[1] - LEAST), window_.wanted[1]));
  byId("high").addEventListener("input", ({ target }) => pull(window_.wanted[0], Math.max(target.value / 100, window_.wanted[0] + LEAST)));
  byId("window-reset").addEventListener("click", () => pull(0, 1));
}
