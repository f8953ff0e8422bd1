"""Published values of people without a disease of hand or wrist, by the name of the measure.

A measure has one only where the source gives the figure itself and measures what is measured here, or nearly so.
"""

from __future__ import annotations

from handseg_monai.measure.measures import Reference

_SCHUIND = "Schuind, Linscheid, An, Chao: J Bone Joint Surg Am 1992; 74: 1418-1429"
_LENGTHS = {
    "finger-1": (21.67, 1.60),
    "finger-2": (31.57, 3.13),
    "finger-3": (46.22, 3.94),
    "finger-4": (15.82, 2.26),
    "finger-5": (22.38, 2.51),
    "finger-6": (39.78, 4.94),
    "finger-7": (68.12, 6.27),
    "finger-8": (17.40, 1.85),
    "finger-9": (26.33, 3.00),
    "finger-10": (44.63, 3.81),
    "finger-11": (64.60, 5.38),
    "finger-12": (17.30, 2.22),
    "finger-13": (25.65, 3.29),
    "finger-14": (41.37, 3.87),
    "finger-15": (58.00, 5.06),
    "finger-16": (15.95, 2.45),
    "finger-17": (18.11, 2.54),
    "finger-18": (32.74, 2.77),
    "finger-19": (53.69, 4.36),
}
"""Mean and standard deviation, millimetres, on radiographs."""

_WRISTS, _ADULTS = "120 adults aged 25 to 60", "66 adults aged 19 to 78"
_HANDS = "Buryanov, Kotiuk: Int J Morphol 2010; 28: 755-758"

REFERENCES: dict[str, Reference] = {
    **{f"length {bone}": Reference(mean, sd, None, "mm", _ADULTS, _HANDS) for bone, (mean, sd) in _LENGTHS.items()},
    "ulnar variance": Reference(-0.9, None, (-4.2, 2.3), "mm", _WRISTS, _SCHUIND),
    "radial inclination": Reference(24.0, None, (19.0, 29.0), "degrees", _WRISTS, _SCHUIND),
    "carpal height ratio": Reference(0.53, None, (0.46, 0.61), "", _WRISTS, _SCHUIND),
    "carpal height to capitate": Reference(
        1.57,
        0.05,
        None,
        "",
        "100 wrists of 50 volunteers",
        "Nattrass, King, McMurtry, Brant: J Bone Joint Surg Am 1994; 76: 88-94",
    ),
    "carpal angle": Reference(
        131.5, None, None, "degrees", "466 people", "Kosowicz: J Clin Endocrinol Metab 1962; 22: 949-952"
    ),
    "scapholunate gap": Reference(
        2.0,
        0.4,
        None,
        "mm",
        "71 Chinese patients",
        "Tang et al.: E-Health Telecommun Syst Netw 2018; 7: 57-65",
    ),
    "cortical index 2": Reference(
        0.51,
        0.079,
        None,
        "",
        "African-American women aged 20 to 40, mean of several metacarpals",
        "Metacarpal index and bone mineral density ...: Osteoporos Int 2005; 16: 1621-1626",
    ),
}
