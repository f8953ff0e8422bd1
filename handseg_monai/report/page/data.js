// What a report holds, out of its own page.

import { byId } from "./elements.js";
import "./report_strings.js";
import { REFERENCES } from "./measures.js";
import { setBones, state } from "./settings.js";

export const REPORT = JSON.parse(byId("summary").textContent);
setBones(REPORT.bones, REPORT.groups);
Object.assign(REFERENCES, REPORT.references);
export const IMAGES = REPORT.images.map((image) => ({ ...image, ...judged(image), ...scored(image) }));
export const TWO_HANDS = IMAGES.some((image) => image.hands.some(({ side }) => side));
Object.assign(state, { order: REPORT.scored ? "byDice" : "byScore", bone: null });

// What is shown of an image only when somebody opens it.
export const load = (index) => JSON.parse(byId(`image-${index}`).textContent);

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

// The values of a bone, of one hand or two, that the charts show and images are sorted by: Dice, or areas where there
// is no truth.
export const valuesOf = (image, bone) =>
  image.hands
    .map((hand) => (REPORT.scored ? hand.dice?.[bone] : hand.predicted[bone] || null))
    .filter((value) => value != null);
