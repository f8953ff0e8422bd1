// What the judge finds on an image that does not fit a hand, in words.

import { byId, element } from "./elements.js";
import { boneName, handName, inEnglish, say, state } from "./settings.js";
import { STRINGS } from "./strings.js";

export function findingText(finding) {
  if (state.language === "en") return inEnglish(finding.text);
  const bones = finding.bones.map(boneName).join(", ");
  return `${say(finding.wrong ? "wrong" : "doubtful")} · ${STRINGS.ko.parts[finding.part]}${bones ? `: ${bones}` : ""}`;
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
