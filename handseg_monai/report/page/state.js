// What is shown and how: the summary, the reader's choices, and words and numbers in the reader's language.

const REPORT = JSON.parse(byId("summary").textContent);
const BONES = REPORT.bones;
const IMAGES = REPORT.images.map((image) => ({ ...image, ...judged(image), ...scored(image) }));
const TWO_HANDS = IMAGES.some((image) => image.hands.some(({ side }) => side));

const state = {
  language: recalled("language", ["en", "ko"]) ?? (navigator.language.startsWith("ko") ? "ko" : "en"),
  hidden: new Set(),
  order: REPORT.scored ? "byDice" : "byScore",
  bone: null,
};

// Plausibility of an image: that of the worse of its hands.
function judged({ hands }) {
  return { plausible: hands.every((hand) => hand.plausible), score: Math.min(...hands.map((hand) => hand.score)) };
}

// Mean Dice of an image, over its hands, and its weakest bone.
function scored({ hands }) {
  const all = hands.flatMap((hand) => (hand.dice ?? []).map((dice, bone) => ({ dice, bone, side: hand.side })));
  const known = all.filter(({ dice }) => dice !== null);
  if (!known.length) return { mean: null, weakest: null };
  const mean = known.reduce((sum, { dice }) => sum + dice, 0) / known.length;
  return { mean, weakest: known.reduce((a, b) => (b.dice < a.dice ? b : a)) };
}

// A browser may refuse to keep things; the page works without.
function recalled(key, choices) {
  try {
    const kept = localStorage.getItem(`handseg-${key}`);
    return choices.includes(kept) ? kept : null;
  } catch {
    return null;
  }
}

function remember(key, value) {
  try {
    localStorage.setItem(`handseg-${key}`, value);
  } catch {
    // nothing to be done
  }
}

function say(key, values = {}) {
  return STRINGS[state.language][key].replace(/\{(\w+)\}/g, (_, name) => values[name]);
}

const boneName = (bone) => BONES[bone][state.language];
const boneOf = (side, bone) => (side ? say(`${side}Bone`, { bone: boneName(bone) }) : boneName(bone));
const handName = (side) => STRINGS[state.language].hands[side];
const share = (value, digits = 3) => (value == null ? "–" : value.toFixed(digits));
const whole = (value) => value.toLocaleString(state.language);
const pixels = (value) => say("pixels", { n: whole(value) });

// The values of a bone, of one hand or two, that the charts show and images are sorted by: Dice, or areas where there
// is no truth.
const measures = (image, bone) =>
  image.hands
    .map((hand) => (REPORT.scored ? hand.dice?.[bone] : hand.predicted[bone] || null))
    .filter((value) => value != null);

