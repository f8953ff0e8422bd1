"""What a conversion drew is looked at: sizes of bones, the side of a turned image, and where its bones lie."""

from __future__ import annotations

import json
import struct
import sys
from collections.abc import Callable
from pathlib import Path

import cv2
import numpy as np
import pytest
from PIL import Image, UnidentifiedImageError

from handseg_monai.bitplanes import boxes
from handseg_monai.bones import BONES, INDEX, NAMES
from handseg_monai.cli import main
from handseg_monai.data import DatasetError, LabelError, training_datalist
from handseg_monai.data.label_fit import LEVEL, misplaced, shift
from handseg_monai.data.labels import convert
from handseg_monai.data.labels.drawn import hand_faults, size_faults
from handseg_monai.data.layouts import read_truth
from handseg_monai.data.reading.images import read_radiograph
from handseg_monai.data.reading.orientation import orientation, stored_from_upright, upright_shape
from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.plausibility.ranges import load_ranges
from handseg_monai.plausibility.submission import judge_submission
from handseg_monai.rle import encode_planes, write_csv
from tests.conftest import write_drawn_dataset, write_label
from tests.hands import both_hands, hand, mask, pair, phantom, with_mask, without
from tests.pictures import tiff

UPRIGHT = phantom(0).image[:, 60:], np.ascontiguousarray(hand(0)[:, 60:])
"""Radiograph and planes of a hand, not square."""

TO_STORED: dict[int, Callable[[np.ndarray], np.ndarray]] = {
    2: lambda a: a[:, ::-1],
    3: lambda a: a[::-1, ::-1],
    4: lambda a: a[::-1],
    5: lambda a: a.T,
    6: lambda a: a.T[::-1],
    7: lambda a: a.T[::-1, ::-1],
    8: lambda a: a.T[:, ::-1],
}
"""From the picture that viewers show to the stored one, by EXIF's orientation."""


def write_image(path: Path, pixels: np.ndarray, stated: int = 1) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    exif = Image.Exif()
    exif[274] = stated
    Image.fromarray(np.ascontiguousarray(pixels)).save(path, exif=exif, quality=95)


def write_source(folder: Path, form: str, name: str, planes: np.ndarray) -> dict[str, object]:
    """Write a label of planes; what ``convert`` needs besides."""
    folder.mkdir(parents=True, exist_ok=True)
    present = [k for k in range(29) if (planes >> k & 1).any()]
    height, width = planes.shape
    if form == "masks":
        for k in present:
            path = folder / Path(name).stem / f"{NAMES[k]}.png"
            path.parent.mkdir(exist_ok=True)
            cv2.imwrite(str(path), ((planes >> k) & 1).astype(np.uint8) * 255)
        return {}
    if form == "labelmap":
        flat = np.zeros(planes.shape, np.uint8)
        for k in present:
            flat[(planes >> k) & 1 != 0] = k + 1
        cv2.imwrite(str(folder / f"{Path(name).stem}.png"), flat)
        (folder.parent / "c.json").write_text(json.dumps({str(k + 1): NAMES[k] for k in range(29)}))
        return {"classes": folder.parent / "c.json"}
    outlines = {}
    for k in present:
        fine = np.kron(((planes >> k) & 1).astype(np.uint8), np.ones((4, 4), np.uint8))
        pieces, _ = cv2.findContours(fine, cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
        outlines[k] = [((piece[:, 0] + 0.5) / 4).tolist() for piece in pieces]
    if form == "labelme":
        shapes = [{"label": NAMES[k], "points": points} for k, rings in outlines.items() for points in rings]
        content = {"shapes": shapes, "imagePath": name, "imageHeight": height, "imageWidth": width}
    else:
        content = {
            "images": [{"id": 1, "file_name": name, "height": height, "width": width}],
            "categories": [{"id": k, "name": NAMES[k]} for k in range(29)],
            "annotations": [
                {"image_id": 1, "category_id": k, "segmentation": [np.ravel(ring).tolist() for ring in rings]}
                for k, rings in outlines.items()
            ],
        }
    (folder / f"{Path(name).stem}.json").write_text(json.dumps(content))
    return {}


def converted(tmp_path: Path, form: str, planes: np.ndarray, name: str = "a.png", **options: object) -> np.ndarray:
    """Planes of the one image in ``tmp_path / "im"`` whose label is converted."""
    more = write_source(tmp_path / "source", form, name, planes)
    convert(form, tmp_path / "source", tmp_path / "im", tmp_path / "out", progress=False, **more, **options)  # type: ignore[arg-type]
    (label,) = (tmp_path / "out" / "labels").iterdir()
    return read_truth(label, read_radiograph(tmp_path / "im" / name).shape)  # type: ignore[arg-type]


def counts(planes: np.ndarray, bone: int) -> list[int]:
    """Runs of 0 and 1 in turn along the rows, where COCO's run down the columns."""
    flat = np.concatenate([[0], (planes >> bone & 1).ravel()])
    ends = [0, *(np.flatnonzero(np.diff(flat))), planes.size]
    return np.diff(ends).tolist()


class TestSizes:
    def test_usual_areas_are_those_of_the_ranges(self) -> None:
        np.testing.assert_allclose([bone.area for bone in BONES], load_ranges().area, rtol=0.01)

    @pytest.mark.parametrize("number", range(4))
    def test_a_hand_of_any_resolution_passes(self, number: int) -> None:
        planes = hand(number)
        for step in (1, 2, 4):
            assert size_faults(planes[::step, ::step]) == []

    @pytest.mark.parametrize("number", range(6))
    def test_a_young_childs_wrist_passes(self, number: int) -> None:
        """Some carpal bones are dots of a hundredth of the adult's area; at 1,024 pixels they have 12 or more."""
        planes = render_phantom(7, number, "left", PRESETS["children"], 1024).planes
        assert size_faults(planes) == []

    def test_a_part_of_a_hand_passes(self) -> None:
        rows, _ = np.nonzero(hand(0) & (1 << INDEX["Radius"]))
        assert size_faults(hand(0)[rows.min() - 70 :]) == []
        assert size_faults(hand(0)[: rows.min() + 12]) == []

    def dot(self, name: str, side: int) -> np.ndarray:
        rows, columns = np.nonzero(mask(hand(0), name))
        y, x = int(rows.mean()), int(columns.mean())
        small = np.zeros(hand(0).shape, bool)
        small[y : y + side, x : x + side] = True
        return with_mask(without(hand(0), name), name, small)

    @pytest.mark.parametrize("name", ["Scaphoid", "finger-7"])
    def test_a_bone_of_a_few_pixels_is_told(self, name: str) -> None:
        assert size_faults(self.dot(name, 3)) == [f"{name} covers 9 pixels; expected 12 or more, or --small-bones"]
        assert size_faults(self.dot(name, 3), small_bones=True) == []

    def test_a_bone_of_a_fiftieth_is_told(self) -> None:
        (fault,) = size_faults(self.dot("finger-7", 4))
        assert fault.startswith("finger-7 covers 16 pixels, in a hand of this size usually ")
        area = int(mask(hand(0), "finger-7").sum())
        assert abs(int(fault.split("usually ")[1].split(";")[0]) - area) < 0.3 * area
        assert size_faults(self.dot("finger-7", int(np.sqrt(area / 20)))) == []

    def test_a_bone_of_more_than_a_quarter_of_the_image_is_told(self) -> None:
        planes = hand(0)
        planes[: planes.shape[0] // 3] |= 1 << INDEX["Lunate"]
        for small_bones in (False, True):
            (fault,) = size_faults(planes, small_bones)
            assert fault.startswith("Lunate covers 3")

    @pytest.mark.parametrize("form", ["coco", "labelme", "masks", "labelmap"])
    def test_every_form_is_looked_at(self, tmp_path: Path, form: str) -> None:
        write_image(tmp_path / "im" / "a.png", phantom(0).image)
        with pytest.raises(LabelError, match=r"Scaphoid covers 9 pixels; expected 12 or more, or --small-bones"):
            converted(tmp_path, form, self.dot("Scaphoid", 3))
        assert not (tmp_path / "out").exists()
        found = converted(tmp_path, form, self.dot("Scaphoid", 3), small_bones=True)
        assert mask(found, "Scaphoid").sum() == 9


class TestTwoHands:
    @pytest.mark.parametrize("form", ["coco", "labelme", "masks", "labelmap"])
    def test_both_in_one_label_are_told(self, tmp_path: Path, form: str) -> None:
        image, planes = both_hands(0, 1)
        write_image(tmp_path / "im" / "a.png", image)
        left, both = planes["left"], planes["left"] | planes["right"]
        if form == "labelmap":
            left, both = left & -left, both & -both
        with pytest.raises(LabelError, match=r"shows two hands: 29 of 29 bones come twice.*; a label is of one hand"):
            converted(tmp_path, form, both)
        np.testing.assert_array_equal(converted(tmp_path, form, left), left)

    @pytest.mark.parametrize("number", range(2))
    def test_hands_close_together_and_wrists(self, number: int) -> None:
        for name in ("standard", "children"):
            of_two = pair(5, number, name, 800, inwards=number == 0)
            wrist = np.int32(sum(1 << k for k in range(19, 29)))
            for planes in (of_two.planes[0] | of_two.planes[1], (of_two.planes[0] | of_two.planes[1]) & wrist):
                assert len(hand_faults(planes)) == 1
            for planes in (*of_two.planes, of_two.planes[0] & wrist):
                assert hand_faults(planes) == []

    def test_two_views_of_both_hands(self) -> None:
        _, planes = both_hands(0, 1)
        both = planes["left"] | planes["right"]
        for four in (np.vstack([both, both]), np.hstack([both, both])):
            assert len(hand_faults(four)) == 1

    def test_bones_in_two_pieces_are_those_of_one_hand(self) -> None:
        """Each bone cut across, the middle third of it hidden as by an implant; and one bone drawn twice."""
        planes = hand(0)
        for k, (rows, columns) in boxes(planes):
            third = (rows.stop - rows.start) // 3
            planes[rows.start + third : rows.stop - third, columns] &= ~np.int32(1 << k)
        assert hand_faults(planes) == []
        twice = hand(0)
        twice[:60, :60] |= 1 << INDEX["Ulna"]
        assert hand_faults(twice) == []
        assert hand_faults(twice & (1 << INDEX["Ulna"])) == []


class TestTurnedImages:
    @pytest.mark.parametrize("suffix", ["jpg", "png", "tif"])
    @pytest.mark.parametrize("stated", list(TO_STORED))
    def test_orientation_is_read_and_undone(self, tmp_path: Path, stated: int, suffix: str) -> None:
        image, planes = UPRIGHT
        stored = TO_STORED[stated](image)
        write_image(tmp_path / f"a.{suffix}", stored, stated)
        assert orientation(tmp_path / f"a.{suffix}") == stated
        assert upright_shape(stored.shape, stated) == image.shape
        np.testing.assert_array_equal(stored_from_upright(planes, stated), TO_STORED[stated](planes))

    @pytest.mark.parametrize(
        "tags",
        [{"t258": 16, "t339": 3}, {"t258": 10}, {"t258": [16, 16], "t277": 2, "t338": 2}],
        ids=["float16", "10 bits", "grey and alpha of 16 bits"],
    )
    def test_of_tiff_it_is_read_whatever_the_samples_are(self, tmp_path: Path, tags: dict[str, int]) -> None:
        (tmp_path / "a.tif").write_bytes(tiff(bytes(4 * 37 * 43), (43, 37), **tags, t274=6))
        with pytest.raises(UnidentifiedImageError):
            Image.open(tmp_path / "a.tif")
        assert read_radiograph(tmp_path / "a.tif").shape == (43, 37)
        assert orientation(tmp_path / "a.tif") == 6

    def test_an_orientation_of_another_type_is_read_where_it_is_one(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.jpg", UPRIGHT[0], 6)
        content = (tmp_path / "a.jpg").read_bytes()
        start = content.index(struct.pack(">HHIH", 274, 3, 1, 6))
        for kind, value, stated in ((1, b"\x06\0\0\0", 6), (11, struct.pack(">f", np.inf), 1), (2, bytes(4), 1)):
            entry = struct.pack(">HHI", 274, kind, 1) + value
            (tmp_path / "b.jpg").write_bytes(content[:start] + entry + content[start + 12 :])
            assert orientation(tmp_path / "b.jpg") == stated

    def test_what_states_none_is_upright(self, tmp_path: Path) -> None:
        write_image(tmp_path / "nine.png", UPRIGHT[0], 9)
        cv2.imwrite(str(tmp_path / "plain.png"), UPRIGHT[0])
        (tmp_path / "none.jpg").write_bytes(b"no image")
        for name in ("nine.png", "plain.png", "none.jpg", "missing.png"):
            assert orientation(tmp_path / name) == 1

    @pytest.mark.parametrize("stated", list(TO_STORED))
    def test_outlines_of_labelme_are_turned_with_the_image(self, tmp_path: Path, stated: int) -> None:
        """LabelMe shows images upright."""
        image, planes = UPRIGHT
        write_image(tmp_path / "im" / "a.jpg", TO_STORED[stated](image), stated)
        found = converted(tmp_path, "labelme", planes, "a.jpg")
        np.testing.assert_array_equal(found, TO_STORED[stated](planes))

    @pytest.mark.parametrize("form", ["coco", "masks", "labelmap"])
    def test_of_other_forms_the_size_tells_or_the_option(self, tmp_path: Path, form: str) -> None:
        image, planes = UPRIGHT
        planes = planes & -planes if form == "labelmap" else planes  # without overlaps
        for stated in (3, 6):
            folder, turn = tmp_path / str(stated), TO_STORED[stated]
            write_image(folder / "im" / "a.jpg", turn(image), stated)
            if stated == 6:
                np.testing.assert_array_equal(converted(folder, form, planes, "a.jpg"), turn(planes))
            else:
                with pytest.raises(
                    LabelError, match=r"stored turned \(orientation 3 .*--orientation upright, or as it"
                ):
                    converted(folder, form, planes, "a.jpg")
            found = converted(folder, form, planes, "a.jpg", orientation="upright")
            np.testing.assert_array_equal(found, turn(planes))
            more = write_source(folder / "other", form, "a.jpg", np.ascontiguousarray(turn(planes)))
            options = {"orientation": "stored", "progress": False, **more}
            result = convert(form, folder / "other", folder / "im", folder / "out", **options)  # type: ignore[arg-type]
            found = read_truth(result.items[0]["label"], turn(planes).shape)
            np.testing.assert_array_equal(found, turn(planes))

    def test_outlines_on_a_turned_image_stop_training(self, tmp_path: Path) -> None:
        root = write_drawn_dataset(tmp_path, subjects=5)
        image = min((root / "train" / "DCM").rglob("*.png"))
        training_datalist(root, verify=True)
        write_image(image, np.array(Image.open(image)), 3)
        with pytest.raises(DatasetError, match=rf"{image.name}: stored turned \(orientation 3 in its EXIF"):
            training_datalist(root, verify=True)


TURNED = {
    "mirrored, left for right": lambda planes: planes[:, ::-1],
    "turned over, top for bottom": lambda planes: planes[::-1],
    "turned by 180 degrees": lambda planes: planes[::-1, ::-1],
    "rows and columns exchanged": lambda planes: planes.T,
    "turned by 90 degrees to the right": lambda planes: np.rot90(planes, 1),
    "turned by 90 degrees to the left": lambda planes: np.rot90(planes, -1),
}


class TestWhereBonesLie:
    @pytest.mark.parametrize("form", ["coco", "labelme", "masks", "labelmap"])
    @pytest.mark.parametrize("turn", list(TURNED))
    def test_a_label_that_lies_on_them_only_once_it_is_turned_is_told(
        self, tmp_path: Path, form: str, turn: str
    ) -> None:
        write_image(tmp_path / "im" / "a.png", phantom(0).image)
        with pytest.raises(LabelError, match=f"the label lies on the bones only once it is {turn}; correct"):
            converted(tmp_path, form, np.ascontiguousarray(TURNED[turn](hand(0))))

    def test_masks_read_along_the_wrong_axis_are_told(self, tmp_path: Path) -> None:
        """Of an image that is not square they are no turned ones."""
        write_image(tmp_path / "im" / "a.png", phantom(0).image[:, 60:])
        planes = hand(0)[:, 60:]
        along = np.ascontiguousarray(planes).reshape(planes.shape[::-1]).T
        down = np.ascontiguousarray(planes.T).reshape(planes.shape)
        for wrong, words in ((along, "along the rows, not down the col"), (down, "down the columns, not along the ro")):
            with pytest.raises(LabelError, match=f"only once it is read {words}"):
                converted(tmp_path, "masks", np.ascontiguousarray(wrong))
        segments = [
            {"image_id": 0, "category_id": k, "segmentation": {"size": list(planes.shape), "counts": counts(planes, k)}}
            for k in range(29)
        ]
        content = {"images": [{"id": 0, "file_name": "a.png"}], "annotations": segments}
        content["categories"] = [{"id": k, "name": name} for k, name in enumerate(NAMES)]
        (tmp_path / "coco.json").write_text(json.dumps(content))
        with pytest.raises(LabelError, match="only once it is read along the rows, not down the columns"):
            convert("coco", tmp_path / "coco.json", tmp_path / "im", tmp_path / "out", progress=False)

    def test_three_bones_tell(self, tmp_path: Path) -> None:
        write_image(tmp_path / "im" / "a.png", phantom(0).image)
        few = hand(0) & np.int32(sum(1 << INDEX[name] for name in ("Scaphoid", "Radius", "Ulna")))
        with pytest.raises(LabelError, match="only once it is rows and columns exchanged"):
            converted(tmp_path, "masks", np.ascontiguousarray(few.T))
        np.testing.assert_array_equal(converted(tmp_path, "masks", few), few)

    @pytest.mark.parametrize(("most", "told"), [(512 * 512, "is rows and columns exchanged"), (512 * 512 - 1, "")])
    def test_an_image_is_looked_at_by_the_conversions_own_limit_of_pixels(
        self, tmp_path: Path, most: int, told: str
    ) -> None:
        write_image(tmp_path / "a.png", phantom(0).image)
        text = misplaced(tmp_path / "a.png", np.ascontiguousarray(hand(0).T), max_pixels=most)
        assert (told in text) if told else text == ""

    def test_a_label_of_a_smaller_picture_is_told(self, tmp_path: Path) -> None:
        write_image(tmp_path / "im" / "a.png", phantom(0).image)
        small = np.zeros_like(hand(0))
        small[:256, :256] = hand(0)[::2, ::2]
        with pytest.raises(LabelError, match=r"only once it is multiplied by (2|2\.0\d|1\.9\d); correct"):
            converted(tmp_path, "masks", small)

    @pytest.mark.parametrize("number", range(6))
    def test_a_label_of_another_hand_or_a_shifted_one_is_not_called_turned(self, tmp_path: Path, number: int) -> None:
        """The audit tells such; a conversion must not guess."""
        write_image(tmp_path / "im" / "a.png", phantom(0).image)
        other = np.roll(hand(0), (9 * number, -7), axis=(0, 1)) if number < 3 else hand(2 * number)
        np.testing.assert_array_equal(converted(tmp_path, "masks", other), other)


def in_columns(planes: np.ndarray) -> list[str]:
    return encode_planes(np.ascontiguousarray(planes.T))


def from_0(planes: np.ndarray) -> list[str]:
    return [" ".join(str(int(n) - (i % 2 == 0)) for i, n in enumerate(text.split())) for text in encode_planes(planes)]


IN_COLUMNS = "image 0.png: by the image's edges the run-lengths run down the columns; expected runs along"


class TestRunLengths:
    @pytest.mark.parametrize("made_of", [(256, 256), (512, 504), (505, 519)], ids=["half", "narrower", "wider"])
    def test_masks_of_images_of_another_size_are_told(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        made_of: tuple[int, int],
    ) -> None:
        folder = tmp_path / "data" / "train"
        image = folder / "DCM" / "ID001" / "image1.png"
        write_image(image, phantom(0).image)
        outlines = {}
        for k, name in enumerate(NAMES):
            pieces, _ = cv2.findContours((hand(0) >> k & 1).astype(np.uint8), cv2.RETR_EXTERNAL, cv2.CHAIN_APPROX_NONE)
            outlines[name] = max(pieces, key=len)[:, 0].tolist()
        write_label(folder / "outputs_json" / "ID001" / "image1.json", outlines)
        height, width = made_of
        every = 512 // min(width, 512)
        planes = np.zeros(made_of, np.int32)
        part = hand(0)[::every, ::every][:height, :width]
        planes[: part.shape[0], : part.shape[1]] = part
        write_csv(tmp_path / "p.csv", [("image1.png", encode_planes(planes))])
        images = ["--images", str(image.parent)]
        words = f"image1.png: the run-lengths fit images {width} pixels wide; this one has 512: give the images that"
        for command, *more in (
            ["convert", "submission", *images, "--out", "c"],
            ["plausibility", *images],
            ["evaluate", "--truth", "data", "--missing", "skip", "--out", "e"],
            ["report", *images, "--out", "r.html"],
            ["export", *images, "--to", "labelme", "--out", "x"],
        ):
            place = 1 if command == "convert" else 0
            monkeypatch.chdir(tmp_path)
            monkeypatch.setattr(sys, "argv", ["handseg", command, *more[:place], "p.csv", *more[place:]])
            with pytest.raises(SystemExit) as exit_:
                main()
            output = capsys.readouterr()
            assert (exit_.value.code, words in " ".join(output.err.split())) == (2, True), (command, output.err)
        assert {path.name for path in tmp_path.iterdir()} == {"data", "p.csv"}

    @pytest.mark.parametrize("cut", [0, 60], ids=["square", "not square"])
    @pytest.mark.parametrize(
        ("runs", "words"),
        [
            (in_columns, IN_COLUMNS),
            (from_0, "all masks lie one pixel to the left of the bones: the run-lengths count pixels from 0; expected"),
        ],
    )
    def test_down_the_columns_or_from_0_are_told(
        self,
        tmp_path: Path,
        monkeypatch: pytest.MonkeyPatch,
        capsys: pytest.CaptureFixture[str],
        cut: int,
        runs: Callable[[np.ndarray], list[str]],
        words: str,
    ) -> None:
        texts = {}
        if cut and words == IN_COLUMNS:
            words = "image 0.png: the run-lengths fit images 512 pixels wide, or run down the columns; this one has 452"
        for number in (0, 1):
            write_image(tmp_path / "im" / f"{number}.png", phantom(number).image[:, cut:])
            texts[f"{number}.png"] = np.ascontiguousarray(hand(number)[:, cut:])
        write_csv(tmp_path / "right.csv", ((name, encode_planes(planes)) for name, planes in texts.items()))
        write_csv(tmp_path / "wrong.csv", ((name, runs(planes)) for name, planes in texts.items()))
        for command in (["convert", "submission"], ["plausibility"]):
            for source, code in (("right.csv", 0), ("wrong.csv", 2)):
                arguments = [*command, str(tmp_path / source), "--images", str(tmp_path / "im")]
                arguments += ["--out", str(tmp_path / f"{command[0]}.out")]
                monkeypatch.setattr(sys, "argv", ["handseg", *arguments])
                with pytest.raises(SystemExit) as exit_:
                    main()
                output = capsys.readouterr()
                assert (exit_.value.code, words in " ".join(output.err.split())) == (code, code == 2), output.err

    def test_a_bone_wide_or_narrow_all_round_is_not_shifted(self) -> None:
        image, planes = phantom(0).image, hand(0)
        wide = np.zeros_like(planes)
        for bone in range(29):
            grown = cv2.dilate((planes >> bone & 1).astype(np.uint8), np.ones((3, 3), np.uint8))
            wide |= grown.astype(np.int32) << np.int32(bone)
        for label in (planes, wide):
            for seen in (image, 255 - image):
                assert np.abs(shift(seen, label)).max() < LEVEL
        for moved in (-1, 1):
            right, below = shift(image, np.roll(planes, moved, axis=1))
            assert abs(right + moved) < LEVEL
            assert abs(below) < LEVEL

    def test_masks_of_which_edges_can_tell_nothing_pass(self, tmp_path: Path) -> None:
        planes = {"corner": np.zeros((50, 60), np.int32), "line": np.zeros((80, 200), np.int32), "all": None}
        planes["corner"][:5, :5], planes["line"][40] = 1, 4
        planes["all"] = np.full((3, 4), 1, np.int32)
        for name, of_image in planes.items():
            write_image(tmp_path / "im" / f"{name}.png", np.arange(of_image.size).reshape(of_image.shape).astype("u1"))
        write_csv(tmp_path / "p.csv", ((f"{name}.png", encode_planes(p)) for name, p in planes.items()))
        assert len(judge_submission(tmp_path / "p.csv", tmp_path / "im", progress=False)) == 3

    def test_a_submission_without_pictures_of_bones_is_judged_as_it_is(self, tmp_path: Path) -> None:
        write_image(tmp_path / "a.png", np.zeros(hand(0).shape, np.uint8))
        write_csv(tmp_path / "p.csv", [("a.png", in_columns(hand(0)))])
        assert list(judge_submission(tmp_path / "p.csv", tmp_path, progress=False)) == ["a.png"]
