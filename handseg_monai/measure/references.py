"""Published values of healthy adults, by the name of the measure."""

from __future__ import annotations

from handseg_monai.measure.measures import Reference

_SCHUIND = "Schuind et al., J Bone Joint Surg Am 1992; 74: 1418"

REFERENCES: dict[str, Reference] = {
    "ulnar variance": Reference(-0.9, None, (-4.2, 2.3), "mm", "120 adults aged 25 to 60", _SCHUIND),
    "radial inclination": Reference(24.0, None, (19.0, 29.0), "degrees", "120 adults aged 25 to 60", _SCHUIND),
}
