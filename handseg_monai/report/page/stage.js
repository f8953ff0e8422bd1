// The stage of an enlarged image: zoom and pan by wheel, pointer, fingers and keys.

const PANS = { ArrowLeft: [80, 0], ArrowRight: [-80, 0], ArrowUp: [0, 80], ArrowDown: [0, -80] };

// A pointer belongs to the tool where `tool.begin(event)` says so: then `tool.move` and `tool.end` get its events, and
// `tool.cancel` ends its work when a second finger comes, for two fingers always zoom.
export function makeStage(node, tool = { begin: () => false }) {
  const fingers = new Map();
  let drawing = null;
  let long = 1;
  let box = null;
  let held = null;

  function setBox(to) {
    box = to;
    drawing.setAttribute("viewBox", `${box.x} ${box.y} ${box.width} ${box.height}`);
    drawing.style.setProperty("--pixel", `${pixel()}px`);
  }

  function show(shown) {
    drawing = shown;
    long = drawing.viewBox.baseVal.width;
    fingers.clear();
    held = null;
    const { x, y, width, height } = drawing.viewBox.baseVal;
    const whole = { x, y, width, height };
    stage.whole = () => setBox(whole);
    node.replaceChildren(drawing);
    stage.whole();
  }

  // Pixels of the image in a pixel of the screen.
  const pixel = () => 1 / (drawing.getScreenCTM()?.a || 1);

  const onImage = (x, y) => new DOMPoint(x, y).matrixTransform(drawing.getScreenCTM().inverse());

  // Zoom by a factor about a place on the screen, which stays where it is: by default the middle.
  function zoom(factor, clientX = null, clientY = null) {
    const { x, y, width, height } = box;
    const now = long / width;
    const bounded = Math.min(Math.max(now * factor, 0.5), 24) / now;
    const centre = clientX === null ? { x: x + width / 2, y: y + height / 2 } : onImage(clientX, clientY);
    setBox({
      x: centre.x + (x - centre.x) / bounded,
      y: centre.y + (y - centre.y) / bounded,
      width: width / bounded,
      height: height / bounded,
    });
  }

  function pan(byX, byY) {
    setBox({ ...box, x: box.x - byX * pixel(), y: box.y - byY * pixel() });
  }

  // Bring a box of the image into view: by as little as it takes, and smaller where it is larger than the view.
  function reveal(part) {
    const frame = node.getBoundingClientRect();
    const share = Math.max((part.width / frame.width) * 1.2, (part.height / frame.height) * 1.2) / pixel();
    if (share > 1) zoom(1 / share);
    const [from, to] = [onImage(frame.left, frame.top), onImage(frame.right, frame.bottom)];
    const edge = 20 * pixel();
    const beyond = (low, high, least, most) => Math.min(low - edge - least, 0) || Math.max(high + edge - most, 0);
    const x = box.x + beyond(part.x, part.x + part.width, from.x, to.x);
    const y = box.y + beyond(part.y, part.y + part.height, from.y, to.y);
    if (x !== box.x || y !== box.y) setBox({ ...box, x, y });
  }

  function drag(event) {
    const before = fingers.get(event.pointerId);
    if (!before) return;
    const others = [...fingers.entries()].filter(([id]) => id !== event.pointerId).map(([, place]) => place);
    const now = { x: event.clientX, y: event.clientY };
    fingers.set(event.pointerId, now);
    if (others.length) {
      const apart = (place) => Math.hypot(place.x - others[0].x, place.y - others[0].y);
      zoom(apart(now) / Math.max(1, apart(before)), (now.x + others[0].x) / 2, (now.y + others[0].y) / 2);
      pan((now.x - before.x) / 2, (now.y - before.y) / 2);
    } else {
      pan(now.x - before.x, now.y - before.y);
    }
  }

  function press(event) {
    const place = { x: event.clientX, y: event.clientY };
    if (held !== null) {
      fingers.set(held.pointerId, { x: held.clientX, y: held.clientY });
      tool.cancel();
      held = null;
    } else if (!fingers.size && tool.begin(event)) {
      held = event;
      node.setPointerCapture(event.pointerId);
      return;
    }
    fingers.set(event.pointerId, place);
    node.setPointerCapture(event.pointerId);
  }

  function move(event) {
    if (held === null || held.pointerId !== event.pointerId) return drag(event);
    held = event;
    tool.move(event);
  }

  function release(event) {
    fingers.delete(event.pointerId);
    if (held?.pointerId !== event.pointerId) return;
    held = null;
    if (event.type === "pointerup") tool.end(event);
    else tool.cancel();
  }

  // What a key does to the view, or nothing.
  function key(event) {
    const keys = { "+": () => zoom(1.4), "=": () => zoom(1.4), "-": () => zoom(1 / 1.4), 0: () => stage.whole() };
    return event.shiftKey && PANS[event.key] ? () => pan(...PANS[event.key]) : keys[event.key];
  }

  const turned = (event) => {
    event.preventDefault();
    zoom(Math.exp(-event.deltaY * (event.deltaMode ? 0.05 : 0.0015)), event.clientX, event.clientY);
  };
  node.addEventListener("wheel", turned, { passive: false });
  node.addEventListener("pointerdown", press);
  node.addEventListener("pointermove", move);
  for (const name of ["pointerup", "pointercancel"]) node.addEventListener(name, release);

  const stage = { show, zoom, pan, reveal, key, onImage, pixel, whole: () => {} };
  return stage;
}
