// What the judge finds on an image that does not fit a hand, in words.

import { byId, element } from "./elements.js";
import { boneName, BONES, handName, inEnglish, say, state } from "./settings.js";
import { STRINGS } from "./strings.js";

export function findingText(finding) {
  if (state.language === "en") return inEnglish(finding.text);
  return `${say(finding.wrong ? "wrong" : "doubtful")} · ${inKorean(finding)}`;
}

function inKorean({ text, bones, part }) {
  const names = bones.map(boneName);
  for (const [pattern, words] of STRINGS.ko.findings) {
    const found = text.match(pattern);
    if (found) return words.replace(/\{(\w)\}/g, (_, k) => (k >= "a" ? names["abc".indexOf(k)] : bonesNamed(found[k])));
  }
  return `${STRINGS.ko.parts[part]}${names.length ? `: ${names.join(", ")}` : ""}`;
}

// A list of proportions, each named after bones and in English: the bones alone.
function bonesNamed(words) {
  if (!/[A-Za-z]/.test(words)) return words;
  const named = words.match(/finger-\d+|[A-Z]\w+/g) ?? [];
  const bones = [...new Set(named)].map((name) => BONES.findIndex((bone) => bone.name === name)).filter((bone) => bone >= 0);
  return bones.map(boneName).join(", ");
}

// Write the findings of each hand: a hand has its side, or null where there is but one.
export function showFindings(hands) {
  const said = hands.flatMap(({ side, findings }) =>
    findings.map((finding) => {
      const words = `${side ? `${handName(side)}: ` : ""}${findingText(finding)}`;
      return element("li", { class: finding.wrong ? "wrong" : "" }, words);
    }),
  );
  byId("findings").replaceChildren(...(said.length ? said : [element("li", { class: "fine" }, say("fine"))]));
}
