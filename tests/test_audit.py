"""Audit: every planted fault is found and named, clean data raises no alarm, and what it leaves can be used."""

from __future__ import annotations

import csv
import shutil
from collections import defaultdict
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import cv2
import numpy as np
import pytest

from handseg_monai.audit import Audit, Fault, audit, print_audit, write_audit
from handseg_monai.audit.audit import _suited
from handseg_monai.audit.duplicates import find_duplicates, fingerprint
from handseg_monai.audit.label_faults import label_faults
from handseg_monai.audit.rings import BRIGHT, ring_brightness
from handseg_monai.bitplanes import rasterise
from handseg_monai.bones import INDEX, NAMES, NUM_BONES
from handseg_monai.data import labelled_items, read_exclude, read_polygons, read_radiograph, training_datalist
from handseg_monai.data.label_fit import EdgeDirections, outline_points
from handseg_monai.data.labels import convert
from handseg_monai.data.labels.flat import FLAT_SOURCE, hidden
from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.plausibility.criteria import disorder
from handseg_monai.plausibility.freeze import population_ranges
from handseg_monai.plausibility.hand_measures import measure_hand
from handseg_monai.plausibility.judge import judge_by_age, judge_hand
from handseg_monai.plausibility.ranges import load_ranges, measure_by_age
from handseg_monai.rle import encode_planes, write_csv
from tests.faults import Change, add, drop, grow, images_of, in_shares, label_of, move, plant, points_of, rescale, swap
from tests.flat_labels import DOWN, UP, flatten_labels, flattened
from tests.hands import hand, swapped, without


def ray(first: int, other: int) -> list[tuple[str, str]]:
    return [(f"finger-{first + i}", f"finger-{other + i}") for i in range(4)]


def beside(bone: str) -> Change:
    return add(bone, lambda annotations: points_of(annotations, bone) + np.array([9, -14]))


LABEL_FAULTS: dict[str, tuple[Fault, Change]] = {
    "radius and ulna": (Fault.SWAPPED, swap(("Radius", "Ulna"))),
    "index and ring": (Fault.SWAPPED, swap(*ray(4, 12))),
    "thumb, end to end": (Fault.SWAPPED, swap(("finger-1", "finger-3"))),
    "thumb, two bones": (Fault.SWAPPED, swap(("finger-1", "finger-2"))),
    "thumb and index": (
        Fault.SWAPPED,
        swap(("finger-1", "finger-4"), ("finger-2", "finger-6"), ("finger-3", "finger-7")),
    ),
    "one bone of index and ring": (Fault.SWAPPED, swap(("finger-6", "finger-14"))),
    "two carpals": (Fault.SWAPPED, swap(("Scaphoid", "Lunate"))),
    **{f"no {bone}": (Fault.MISSING, drop(bone)) for bone in ("finger-2", "finger-8", "finger-16", "Pisiform", "Ulna")},
    "no label": (Fault.MISSING, lambda _: []),
    "half": (Fault.SCALE, rescale(0.5)),
    "a tenth smaller": (Fault.SCALE, rescale(0.9)),
    "as the metadata say": (Fault.SCALE, rescale(3060 / 2048)),
    "a copy beside": (Fault.DOUBLED, beside("Radius")),
    "a copy of a small bone": (Fault.DOUBLED, beside("finger-16")),
    "outlined twice": (Fault.DOUBLED, add("Lunate", lambda a: points_of(a, "Lunate"))),
    "one outline, two bones": (Fault.DOUBLED, add("Hamate", lambda a: points_of(a, "Capitate"))),
    "a slip of the mouse": (Fault.STRAY, add("finger-6", lambda _: np.array([[3, 3], [7, 3], [7, 8]]))),
    "too large": (Fault.AREA, grow("finger-7", 1.6)),
    "out of place": (Fault.POSITION, move("Lunate", 24, 0)),
    "a bone in shares": (Fault.LABEL, in_shares("Ulna")),
    "unknown bone": (Fault.LABEL, lambda a: [{**a[0], "label": "finger-20"}, *a[1:]]),
}


def test_outlines_in_shares_alone_are_found(phantom_dataset: Path, tmp_path: Path) -> None:
    """None of them is longer than a point."""
    shutil.copytree(phantom_dataset, tmp_path / "data")
    image = images_of(tmp_path / "data")[0]
    plant(image, lambda annotations: in_shares("Ulna")([a for a in annotations if a["label"] == "Ulna"]))
    (finding,) = (one for one in audit(tmp_path / "data", progress=False).findings if "lie within 0 to 1" in one.text)
    assert (finding.image, finding.fault) == (image.relative_to(tmp_path / "data").as_posix(), Fault.LABEL)


@pytest.fixture(scope="module")
def clean(phantom_dataset: Path) -> Audit:
    return audit(phantom_dataset, progress=False)


@pytest.fixture(scope="module")
def planted(phantom_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Path], Audit]:
    """A copy of the phantoms with a fault a radiograph, the images by their fault, and the audit of it."""
    root = tmp_path_factory.mktemp("planted") / "data"
    shutil.copytree(phantom_dataset, root)
    images = images_of(root)
    where = dict(zip(LABEL_FAULTS, images, strict=False))
    for name, image in where.items():
        plant(image, LABEL_FAULTS[name][1])
    rest = images[len(LABEL_FAULTS) :]
    where |= dict(zip(("no JSON", "constant", "black", "damaged", "other hand's label", "reused"), rest, strict=False))
    label_of(where["no JSON"]).unlink()
    cv2.imwrite(str(where["constant"]), np.full((256, 256), 90, np.uint8))
    cv2.imwrite(str(where["black"]), np.zeros((256, 256), np.uint8))
    where["damaged"].write_bytes(where["damaged"].read_bytes()[:900])
    shutil.copy(label_of(where["reused"]), label_of(where["other hand's label"]))
    orphan = label_of(where["reused"]).with_name("image1.json")
    shutil.copy(label_of(where["reused"]), orphan)
    # The last subject gets the radiograph of one before, re-encoded, smaller and brighter.
    source, copy = rest[6], rest[-1]
    small = cv2.resize(read_radiograph(source), (200, 200), interpolation=cv2.INTER_AREA)
    _, jpeg = cv2.imencode(".jpg", np.clip(small * 0.85 + 20, 0, 255), [cv2.IMWRITE_JPEG_QUALITY, 40])
    cv2.imwrite(str(copy), cv2.imdecode(jpeg, cv2.IMREAD_UNCHANGED))
    shutil.copy(label_of(source), label_of(copy))
    plant(copy, rescale(200 / 256))
    where |= {"original": source, "copy": copy, "orphan": orphan}
    return root, where, audit(root, progress=False)


def found(planted: tuple[Path, dict[str, Path], Audit], name: str) -> list[Fault]:
    root, where, result = planted
    return [f.fault for f in result.findings if f.image == where[name].relative_to(root).as_posix() and f.exclude]


def masks_of(root: Path) -> list[np.ndarray]:
    items = labelled_items(root / "train")[0]
    return [rasterise(read_polygons(item["label"], (256, 256)), (256, 256)) for item in items]


class TestPlantedFaults:
    @pytest.mark.parametrize("name", LABEL_FAULTS)
    def test_a_fault_of_the_label_is_found(self, planted, name: str) -> None:
        assert LABEL_FAULTS[name][0] in found(planted, name)

    @pytest.mark.parametrize(
        ("name", "fault"),
        [
            ("no JSON", Fault.PAIRING),
            ("orphan", Fault.PAIRING),
            ("constant", Fault.CONSTANT),
            ("black", Fault.CONSTANT),
            ("damaged", Fault.UNREADABLE),
            ("other hand's label", Fault.MISFIT),
            ("copy", Fault.DUPLICATE),
        ],
    )
    def test_a_fault_of_the_files_is_found(self, planted, name: str, fault: Fault) -> None:
        assert found(planted, name) == [fault]

    def test_of_a_duplicate_one_is_kept_and_named(self, planted) -> None:
        root, where, result = planted
        (finding,) = [f for f in result.findings if f.fault is Fault.DUPLICATE]
        assert root / finding.other == where["original"]
        assert f"of subject {where['original'].parent.name}" in finding.text
        assert found(planted, "original") == []

    def test_dark_bones_are_noted_and_keep_the_image(self, phantom_dataset: Path, tmp_path: Path) -> None:
        root = shutil.copytree(phantom_dataset, tmp_path / "data")
        dark = images_of(root)[0]
        cv2.imwrite(str(dark), 255 - read_radiograph(dark))
        result = audit(root, progress=False)
        noted = [f for f in result.findings if f.fault is Fault.NEGATIVE]
        assert [(f.image, f.exclude) for f in noted] == [(dark.relative_to(root).as_posix(), False)]
        assert result.excluded == {}

    def test_images_without_a_fault_raise_none(self, planted) -> None:
        root, where, result = planted
        touched = {path.relative_to(root).as_posix() for path in where.values()} - {
            where[name].relative_to(root).as_posix() for name in ("reused", "original")
        }
        assert set(result.excluded) == touched

    def test_a_bone_that_lies_on_another_is_told_from_it_by_its_size(self, phantom_dataset: Path) -> None:
        a, b = INDEX["Pisiform"], INDEX["Triquetrum"]
        for planes in masks_of(phantom_dataset):
            bits = ((planes >> a) ^ (planes >> b)) & 1
            _, measured, ranges = judge_by_age(planes ^ ((bits << a) | (bits << b)))
            assert [faults[:2] for faults in label_faults(measured, ranges)] == [
                (Fault.SWAPPED, ("Pisiform", "Triquetrum"))
            ]

    def test_swaps_name_both_bones(self, planted) -> None:
        root, where, result = planted
        image = where["radius and ulna"].relative_to(root).as_posix()
        assert result.excluded[image] == "Radius and Ulna are swapped"
        ring = where["index and ring"].relative_to(root).as_posix()
        (finding,) = [f for f in result.findings if f.image == ring]
        assert set(finding.bones) == {f"finger-{k}" for k in (4, 5, 6, 7, 12, 13, 14, 15)}

    @pytest.mark.parametrize(
        ("name", "factor"), [("half", 2), ("a tenth smaller", 1 / 0.9), ("as the metadata say", 2048 / 3060)]
    )
    def test_the_factor_that_mends_the_scale_is_told(self, planted, name: str, factor: float) -> None:
        root, where, result = planted
        text = result.excluded[where[name].relative_to(root).as_posix()]
        assert float(text.split("multiplied by ")[1].split(";")[0]) == pytest.approx(factor, rel=0.02)


def points(change: Callable[[np.ndarray], np.ndarray]) -> Change:
    """Change all points of a label."""
    return lambda annotations: [
        {**a, "points": change(np.array(a["points"], np.float64)).tolist()} for a in annotations
    ]


class TestMostLabelsWrong:
    """Where most labels are wrong the others' agreement can't say what is usual."""

    def wrong(self, phantom_dataset: Path, root: Path, images: int, change: Change | None) -> Audit:
        subjects = sorted(path.name for path in (phantom_dataset / "train" / "DCM").iterdir())[: max(1, images // 2)]
        for part in ("DCM", "outputs_json"):
            for subject in subjects:
                shutil.copytree(phantom_dataset / "train" / part / subject, root / "train" / part / subject)
        files = images_of(root)
        for image in files[images:]:
            label_of(image).unlink()
            image.unlink()
        if change is not None:
            for image in files[:images]:
                plant(image, change)
            return audit(root, progress=False)
        labels = [label_of(image).read_bytes() for image in files]
        for image, content in zip(files, labels[1:] + labels[:1], strict=True):
            label_of(image).write_bytes(content)
        return audit(root, progress=False)

    @pytest.mark.parametrize("images", [1, 8])
    @pytest.mark.parametrize(
        ("fault", "change"),
        [
            (Fault.MISFIT, points(lambda p: p[:, ::-1])),
            (Fault.MISFIT, points(lambda p: np.stack([255 - p[:, 0], p[:, 1]], axis=1))),
            (Fault.SCALE, rescale(0.5)),
        ],
    )
    def test_labels_that_are_all_wrong_in_one_way(
        self, phantom_dataset: Path, tmp_path: Path, fault: Fault, change: Change, images: int
    ) -> None:
        result = self.wrong(phantom_dataset, tmp_path / "data", images, change)
        assert len(result.radiographs) == images
        assert {f.image for f in result.findings if f.fault is fault} == {r.name for r in result.radiographs}
        assert not [f for f in result.findings if f.fault is Fault.RING], "no rings on what are no fingers"

    def test_labels_that_all_belong_to_the_next_image(
        self, phantom_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        result = self.wrong(phantom_dataset, tmp_path / "data", 8, None)
        assert {f.image for f in result.findings if f.fault is Fault.MISFIT} == {r.name for r in result.radiographs}
        print_audit(result)
        assert "do they belong to these images?" in capsys.readouterr().out


class TestCleanData:
    def test_phantoms_raise_no_alarm(self, clean: Audit) -> None:
        assert len(clean.radiographs) == 40
        assert clean.excluded == {}
        assert clean.agreement == pytest.approx(0.8, abs=0.1)

    def test_false_alarms_of_labels_are_under_2_percent_of_images(self, phantom_dataset: Path) -> None:
        ranges = load_ranges()
        masks = []
        for planes in masks_of(phantom_dataset):
            masks += [planes, planes[:200].copy(), planes[56:].copy(), np.rot90(planes).copy(), planes[:, :200].copy()]
        alarms = [faults for planes in masks if (faults := label_faults(measure_hand(planes, ranges.area), ranges))]
        assert len(masks) == 200
        assert len(alarms) < 0.02 * len(masks), alarms

    def test_the_hands_of_a_subject_are_no_duplicates_mirrored_or_not(self, phantom_dataset: Path) -> None:
        images = [read_radiograph(path) for path in images_of(phantom_dataset)]
        mirrored = [np.ascontiguousarray(image[:, ::-1]) for image in images]
        assert find_duplicates(np.stack([fingerprint(image) for image in [*images, *mirrored]])) == []

    def test_alike_is_not_the_same(self) -> None:
        """People of the preset ``easy`` differ in little but their bones."""
        images = [render_phantom(3, number, "left", PRESETS["easy"], 384).image for number in range(8)]
        assert find_duplicates(np.stack([fingerprint(image) for image in images])) == []

    def test_a_copy_is_a_duplicate_after_encoding_resizing_and_toning(self, phantom_dataset: Path) -> None:
        for path in images_of(phantom_dataset)[:6]:
            image = read_radiograph(path)
            toned = 200 * (image / 255.0) ** 0.7 + 20
            smaller = cv2.resize(image, None, fx=0.7, fy=0.7, interpolation=cv2.INTER_AREA)
            coarse = cv2.imdecode(cv2.imencode(".jpg", image, [cv2.IMWRITE_JPEG_QUALITY, 30])[1], 0)
            copies = np.stack(
                [fingerprint(other) for other in (image, toned, smaller, coarse, image.astype(np.uint16) * 257)]
            )
            assert len(find_duplicates(copies)) == 10


class TestParts:
    @pytest.mark.parametrize("largest", [255, 1023, 4095, 65535])
    def test_an_image_of_few_bits_in_a_file_of_many_is_not_constant(
        self, phantom_dataset: Path, tmp_path: Path, largest: int
    ) -> None:
        pixels = read_radiograph(images_of(phantom_dataset)[0]).astype(np.float64)
        for name, grey in (("bones", pixels / 255), ("none", np.ones_like(pixels) - 0.004 * (pixels > 99))):
            path = tmp_path / "DCM" / "ID001" / f"{name}.png"
            path.parent.mkdir(parents=True, exist_ok=True)
            cv2.imwrite(str(path), (largest * grey).astype(np.uint16))
        findings = audit(tmp_path, progress=False).findings
        assert [(Path(f.image).stem, f.fault) for f in findings] == [("none", Fault.CONSTANT)]

    @pytest.mark.parametrize("bones", [("Radius",), ("Radius", "Ulna", "Lunate", "finger-7")])
    def test_a_label_of_a_few_bones_of_all_is_missing_the_others(
        self, phantom_dataset: Path, tmp_path: Path, bones: tuple[str, ...]
    ) -> None:
        image = images_of(phantom_dataset)[0]
        copy = tmp_path / "train" / "DCM" / "ID001" / image.name
        for source, target in ((image, copy), (label_of(image), label_of(copy))):
            target.parent.mkdir(parents=True)
            shutil.copy(source, target)
        plant(copy, lambda annotations: [a for a in annotations if a["label"] in bones])
        (finding,) = audit(tmp_path, progress=False).findings
        assert finding.fault is Fault.MISSING
        assert finding.exclude
        assert finding.text.startswith("of 29 bones only ")
        assert all(bone in finding.text for bone in bones)

    def test_a_bone_as_bright_as_the_flesh_beside_it_tells_no_ring(self, recwarn: pytest.WarningsRecorder) -> None:
        planes = hand(0)
        assert ring_brightness(np.full(planes.shape, 90, np.uint8), planes, 0.4) == {}
        assert not recwarn.list

    def test_true_labels_lie_on_their_bones_and_others_do_not(self, phantom_dataset: Path) -> None:
        previous = None
        for item in labelled_items(phantom_dataset / "train")[0][:10]:
            edges = EdgeDirections(read_radiograph(item["image"]))
            points, inward = outline_points([p for _, p in read_polygons(item["label"], (256, 256))])
            assert edges.agreement(points, inward) > 0.6
            assert abs(edges.agreement(points + 6, inward)) < 0.4
            assert edges.best_scale(points / 1.3, inward)[0] == pytest.approx(1.3, rel=0.01)
            if previous is not None:
                assert abs(edges.agreement(*previous)) < 0.4
            previous = points, inward

    def test_normals_point_into_a_polygon_either_way_round(self) -> None:
        square = np.array([[10, 10], [30, 10], [30, 30], [10, 30]])
        for polygon in (square, square[::-1]):
            points, inward = outline_points([polygon])
            assert np.all(np.sum((20 - points) * inward, axis=1) > 0)
            assert len(points) == 40

    def test_rings_are_found_on_the_finger_that_wears_them(self) -> None:
        bare = replace(PRESETS["easy"], ring_share=0.0)
        for number in range(3):
            plain = render_phantom(41, number, "left", bare, 256)
            ringed = render_phantom(41, number, "left", replace(bare, ring_share=1.0), 256)
            before = ring_brightness(plain.image, plain.planes, plain.spacing)
            after = ring_brightness(ringed.image, ringed.planes, ringed.spacing)
            changed = {
                k
                for k in after
                if np.abs(plain.image.astype(int) - ringed.image)[(plain.planes >> k) & 1 > 0].max() > 60
            }
            assert max(before.values()) < BRIGHT
            assert changed
            assert {k for k, brightness in after.items() if brightness >= BRIGHT} == changed

    def test_a_bone_that_is_not_in_its_own_middle_tells_no_ring(self, recwarn: pytest.WarningsRecorder) -> None:
        planes = np.zeros((300, 200), np.int32)
        planes[20:40, 60:140] = planes[260:280, 60:140] = 1 << INDEX["finger-10"]
        image = np.random.default_rng(0).integers(0, 255, planes.shape).astype(np.uint8)
        assert ring_brightness(image, planes, 0.2) == {}
        assert not recwarn.list

    def test_exchanged_measures_are_those_of_exchanged_masks(self) -> None:
        ranges, planes = load_ranges(), hand(0)
        a, b = NAMES.index("finger-6"), NAMES.index("finger-14")
        bits = ((planes >> a) ^ (planes >> b)) & 1
        measured = measure_hand(planes ^ ((bits << a) | (bits << b)), ranges.area)
        original = measure_hand(planes, ranges.area)
        assert measured is not None
        assert original is not None
        exchanged = original.exchanged([(a, b)])
        np.testing.assert_allclose(exchanged.centre, measured.centre, rtol=0.02)
        assert judge_hand(measured, ranges).findings[0].bones == judge_hand(exchanged, ranges).findings[0].bones
        assert disorder(exchanged, ranges)[0] > 3
        assert disorder(exchanged.exchanged([(a, b)]), ranges) == disorder(original, ranges)
        assert disorder(original, ranges)[0] == 0

    def test_own_ranges_are_the_populations_whatever_some_labels_hold(self, phantom_dataset: Path) -> None:
        frozen = load_ranges()
        measured = [measure_hand(planes, frozen.area) for planes in masks_of(phantom_dataset)]
        hands = [one for one in measured if one is not None] * 3
        wide = [one.exchanged([(k, k + 1) for k in range(0, 24, 2)]) for one in hands[:6]]
        own, robust = population_ranges(hands, frozen), population_ranges([*hands, *wide], frozen)
        assert own is not None
        assert robust is not None
        np.testing.assert_allclose(own.area, np.median([one.area for one in hands], axis=0))
        np.testing.assert_allclose(robust.area, own.area, rtol=0.05)
        assert np.median(robust.displacement / own.displacement) < 1.1
        assert np.abs(own.atlas - frozen.atlas).max() < 8
        assert population_ranges(hands[:99], frozen) is None

    @pytest.mark.parametrize("pair", [("finger-4", "finger-8"), ("Radius", "Ulna")])
    def test_a_swap_that_nearly_half_of_all_labels_have_is_called_one(
        self, phantom_dataset: Path, pair: tuple[str, str]
    ) -> None:
        frozen = load_ranges()
        measured = [measure_hand(planes, frozen.area) for planes in masks_of(phantom_dataset)]
        hands = [one for one in measured if one is not None] * 3
        swapped = [one.exchanged([(INDEX[pair[0]], INDEX[pair[1]])]) for one in hands[:52]]
        own = population_ranges([*swapped, *hands[52:]], frozen)
        assert own is not None
        for one in swapped[:8]:
            found, _ = _suited([(one, frozen, None)], own, ())
            assert found
            assert (found[0][0], set(found[0][1])) == (Fault.SWAPPED, set(pair))


class TestOutput:
    def test_table_exclude_and_picture(self, planted, tmp_path: Path) -> None:
        root, where, result = planted
        paths = write_audit(result, tmp_path)
        assert [path.name for path in paths] == ["audit.csv", "exclude.txt", "worst.png"]
        with (tmp_path / "audit.csv").open(newline="") as file:
            table = list(csv.DictReader(file))
        assert len(table) == len(result.findings)
        of = defaultdict(set)
        for line in table:
            of[line["image"]].add(line["fault"])
        assert "swapped" in of[where["radius and ulna"].relative_to(root).as_posix()]
        picture = cv2.imread(str(tmp_path / "worst.png"))
        assert picture.shape[0] > 2000
        assert picture.max() == 255
        assert [p.name for p in tmp_path.iterdir() if p.name.startswith(".")] == []

    def test_training_leaves_out_what_the_audit_lists_and_takes_it_back(self, planted, tmp_path: Path) -> None:
        root, _, result = planted
        exclude = write_audit(result, tmp_path)[1]
        listed = read_exclude(exclude, root)
        assert {path.relative_to(root).as_posix(): reason for path, reason in listed.items()} == result.excluded
        lists = training_datalist(root, num_folds=3, exclude=exclude)
        names = {Path(item["image"]) for items in lists.values() for item in items}
        assert names == set(images_of(root)) - set(listed)
        lines = exclude.read_text().splitlines()
        (line,) = [line for line in lines if "Radius and Ulna are swapped" in line]
        exclude.write_text("\n".join(f"# {text}" if text == line else text for text in lines))
        again = training_datalist(root, num_folds=3, exclude=exclude)
        assert sum(map(len, again.values())) == len(names) + 1

    def test_a_list_that_somebody_has_edited_is_kept(self, planted, tmp_path: Path) -> None:
        _, _, result = planted
        exclude = write_audit(result, tmp_path)[1]
        assert [path.name for path in write_audit(result, tmp_path)] == ["audit.csv", "exclude.txt", "worst.png"]
        for number in (1, 2):
            exclude.write_text(f"# edited {number}\n")
            paths = write_audit(result, tmp_path)
            assert paths[2] == tmp_path / f"exclude.{number}.txt"
            assert paths[2].read_text() == f"# edited {number}\n"
            assert read_exclude(exclude, planted[0])

    def test_a_clean_dataset_leaves_an_empty_list_and_no_picture(self, clean: Audit, tmp_path: Path) -> None:
        (tmp_path / "worst.png").write_bytes(b"of an earlier run")
        notes_only = Audit(clean.radiographs, (), False)
        write_audit(notes_only, tmp_path)
        assert not (tmp_path / "worst.png").exists()
        assert [line for line in (tmp_path / "exclude.txt").read_text().splitlines() if not line.startswith("#")] == []


class TestConvertedLabels:
    def test_faults_are_found_and_bones_that_nobody_has_labelled_are_not_missed(
        self, phantom_dataset: Path, tmp_path: Path
    ) -> None:
        items = labelled_items(phantom_dataset / "train")[0][:5]
        classes = ["Radius", "Ulna", "Scaphoid", "Lunate", "Capitate", "Hamate", "finger-7", "finger-11"]
        for number, item in enumerate(items):
            shape = (256, 256)
            planes = rasterise(read_polygons(item["label"], shape), shape)
            folder = tmp_path / "masks" / Path(item["image"]).stem
            folder.mkdir(parents=True)
            for name in classes:
                # One image has two masks exchanged, one lacks a mask that was drawn in the others.
                of = {"Radius": "Ulna", "Ulna": "Radius"}.get(name, name) if number == 1 else name
                mask = planes >> INDEX[of] & 1 if (number, name) != (2, "Capitate") else np.zeros(shape)
                cv2.imwrite(str(folder / f"{name}.png"), (255 * mask).astype(np.uint8))
        images = tmp_path / "images"
        for item in items:
            (images / item["subject"]).mkdir(parents=True, exist_ok=True)
            shutil.copy(item["image"], images / item["subject"])
        out = tmp_path / "labels"
        convert("masks", tmp_path / "masks", images, out, progress=False)
        stems = [f"../images/{item['subject']}/{item['name']}" for item in items]
        (images / items[3]["subject"] / items[3]["name"]).unlink()
        result = audit(out, progress=False)
        faults = {f.image: (f.fault, f.bones) for f in result.findings if f.exclude}
        assert faults == {
            stems[1]: (Fault.SWAPPED, ("Radius", "Ulna")),
            stems[2]: (Fault.MISSING, ("Capitate",)),
            stems[3]: (Fault.PAIRING, ()),
        }
        write_audit(result, tmp_path / "audit")
        assert {path.name for path in read_exclude(tmp_path / "audit" / "exclude.txt", out)} == {
            items[n]["name"] for n in (1, 2, 3)
        }


class TestLabelsWithoutOverlaps:
    def faults(self, planes: np.ndarray) -> list[tuple[Fault, tuple[str, ...]]]:
        full = planes | hidden(planes, either_way=True)
        of_ages = [
            label_faults(hand, ranges, measure_hand(full, ranges.area)) for hand, ranges in measure_by_age(planes)
        ]
        return [fault[:2] for fault in min(of_ages, key=len)]

    @pytest.mark.parametrize("order", [UP, DOWN])
    def test_what_another_bone_hides_is_no_fault(self, phantom_dataset: Path, order: tuple[int, ...]) -> None:
        assert [found for planes in masks_of(phantom_dataset) if (found := self.faults(flattened(planes, order)))] == []

    def test_judged_as_if_bones_could_overlap_most_of_them_would_be_taken_for_swapped(
        self, phantom_dataset: Path
    ) -> None:
        ranges = load_ranges()
        flat = [flattened(planes) for planes in masks_of(phantom_dataset)[:10]]
        swapped = [
            any(fault[0] is Fault.SWAPPED for fault in label_faults(measure_hand(p, ranges.area), ranges)) for p in flat
        ]
        assert sum(swapped) > 4

    @pytest.mark.parametrize("order", [UP, DOWN])
    @pytest.mark.parametrize(
        "pair",
        [
            ("Radius", "Ulna"),
            ("Scaphoid", "Lunate"),
            ("Trapezium", "Trapezoid"),
            ("Capitate", "Hamate"),
            ("finger-6", "finger-14"),
        ],
    )
    def test_labels_that_are_swapped_are_found(self, pair: tuple[str, str], order: tuple[int, ...]) -> None:
        for number in range(2):
            found = self.faults(swapped(flattened(hand(number), order), *pair))
            assert [(fault, set(bones)) for fault, bones in found if fault is Fault.SWAPPED] == [
                (Fault.SWAPPED, set(pair))
            ]

    def test_pisiform_and_triquetrum_are_told_apart_where_their_sizes_say_so(self, phantom_dataset: Path) -> None:
        flat = [flattened(planes) for planes in masks_of(phantom_dataset)]
        found = [self.faults(swapped(planes, "Pisiform", "Triquetrum")) for planes in flat]
        expected = (Fault.SWAPPED, ("Pisiform", "Triquetrum"))
        assert sum(expected in faults for faults in found) > 4

    @pytest.mark.parametrize("bone", ["Triquetrum", "Trapezoid", "Lunate", "finger-2", "Ulna"])
    def test_a_bone_that_is_missing_is_missed(self, bone: str) -> None:
        assert (Fault.MISSING, (bone,)) in self.faults(without(flattened(hand(0)), bone))

    def test_a_flat_dataset_leaves_out_none_of_its_images_but_those_with_faults(
        self, phantom_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        root = tmp_path / "data"
        for part in ("DCM", "outputs_json"):
            for subject in sorted((phantom_dataset / "train" / part).iterdir())[:6]:
                shutil.copytree(subject, root / "train" / part / subject.name)
        flatten_labels(root)
        images = images_of(root)
        plant(images[3], swap(("Radius", "Ulna")))
        result = audit(root, progress=False)
        assert result.flat
        assert result.excluded == {images[3].relative_to(root).as_posix(): "Radius and Ulna are swapped"}
        print_audit(result)
        assert FLAT_SOURCE in capsys.readouterr().out


class TestSubmissions:
    def test_masks_of_a_submission_are_judged_too(self, phantom_dataset: Path, tmp_path: Path) -> None:
        items = labelled_items(phantom_dataset / "train")[0][:4]
        masks = [rasterise(read_polygons(item["label"], (256, 256)), (256, 256)) for item in items]
        a, b = NAMES.index("Radius"), NAMES.index("Ulna")
        bits = ((masks[1] >> a) ^ (masks[1] >> b)) & 1
        masks[1] = masks[1] ^ ((bits << a) | (bits << b))
        masks[2] = np.zeros((256, 256), np.int32)
        masks[3] = masks[3][:, ::-1]
        folder = tmp_path / "images"
        folder.mkdir()
        for item in items:
            shutil.copy(item["image"], folder)
        shutil.copy(items[0]["image"], folder / "extra.png")
        write_csv(tmp_path / "p.csv", [(i["name"], encode_planes(m)) for i, m in zip(items, masks, strict=True)])
        result = audit(tmp_path / "p.csv", folder, progress=False)
        faults = {f.image: f.fault for f in result.findings if f.exclude}
        assert faults == {
            items[1]["name"]: Fault.SWAPPED,
            items[2]["name"]: Fault.MISSING,
            items[3]["name"]: Fault.MISFIT,
            "extra.png": Fault.PAIRING,
        }

    def test_bad_input_is_named(self, phantom_dataset: Path, tmp_path: Path) -> None:
        (tmp_path / "p.csv").write_text("image_name,class,rle\n")
        with pytest.raises(ValueError, match="give it with --images"):
            audit(tmp_path / "p.csv")
        with pytest.raises(ValueError, match=r"p\.csv: no images"):
            audit(tmp_path / "p.csv", phantom_dataset)
        with pytest.raises(ValueError, match="is for a submission"):
            audit(phantom_dataset, tmp_path)
        with pytest.raises(ValueError, match="no such folder"):
            audit(tmp_path / "nowhere")
        with pytest.raises(ValueError, match=r"looked for .*train/DCM"):
            audit(tmp_path)


def test_every_bone_that_is_dropped_is_missed() -> None:
    ranges = load_ranges()
    for number in range(3):
        planes = hand(number)
        for k in range(NUM_BONES):
            faults = label_faults(measure_hand(planes & ~np.int32(1 << k), ranges.area), ranges)
            assert (Fault.MISSING, (NAMES[k],), f"{NAMES[k]} is missing") in faults
