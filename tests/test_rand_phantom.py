"""Training views of cached phantoms: exact labels, image and labels together, and the file they come from."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from handseg_monai.bitplanes import areas
from handseg_monai.bones import BONES, INDEX, Group
from handseg_monai.data import DatasetError, phantom_datalist
from handseg_monai.phantom import PRESETS
from handseg_monai.phantom.cache import load_components, save_components
from handseg_monai.phantom.components import Components, render_components
from handseg_monai.phantom.rand_phantom import RandPhantomd, ViewRanges, rand_view


@pytest.fixture(scope="module")
def parts() -> Components:
    return render_components(3, 1, "right", PRESETS["standard"], 320)


@pytest.fixture(scope="module")
def file(parts: Components, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("phantoms") / "00001_right.npz"
    save_components(path, parts)
    return path


def test_a_saved_phantom_comes_back_cut_to_the_hand(parts: Components, file: Path) -> None:
    back = load_components(file)
    assert back.side == parts.side
    assert back.spacing == parts.spacing
    height, width = back.shape
    assert width < parts.shape[1]
    assert (back.soft[:, [0, 1, -2, -1]] == 0).all()
    assert (back.soft[:2] == 0).all()
    assert (back.soft[-1] > 0).any()
    rows, columns = np.nonzero(parts.planes)
    first = rows.min(), columns.min()
    rows, columns = np.nonzero(back.planes)
    shift = first[0] - rows.min(), first[1] - columns.min()
    box = slice(shift[0], shift[0] + height), slice(shift[1], shift[1] + width)
    assert np.array_equal(back.planes, parts.planes[box])
    assert np.abs(back.soft - parts.soft[box]).max() < 1e-3 * parts.soft.max()
    assert np.abs(back.bone - parts.bone[box]).max() < 1e-3 * parts.bone.max()


@pytest.mark.parametrize("seed", range(12))
def test_planes_of_a_view_hold_values_of_the_phantom_alone(parts: Components, seed: int) -> None:
    view = rand_view(np.random.default_rng(seed), ViewRanges(), parts, 192)
    assert view.planes.shape == view.soft.shape == view.bone.shape == (192, 192)
    assert view.planes.dtype == np.int32
    assert np.isin(view.planes, parts.planes).all()


@pytest.mark.parametrize("seed", range(12))
def test_bone_and_labels_are_viewed_alike(parts: Components, seed: int) -> None:
    view = rand_view(np.random.default_rng(seed), ViewRanges(), parts, 192)
    shown, labelled = view.bone > 0.1, view.planes != 0
    assert 2 * (shown & labelled).sum() / (shown.sum() + labelled.sum()) > 0.9


def test_a_close_view_shows_the_whole_hand(parts: Components) -> None:
    ranges = ViewRanges(
        wide_share=0.0, wrist_share=0.0, part_share=0.0, close=(240.0, 260.0), shift=(0.0, 0.0), turned_share=0.0
    )
    for seed in range(5):
        view = rand_view(np.random.default_rng(seed), ranges, parts, 192)
        assert (areas(view.planes) > 0).all()
        expected = areas(parts.planes) * (parts.spacing / view.spacing) ** 2
        # The forearm goes on beyond a close view.
        assert np.abs(areas(view.planes)[:27] / expected[:27] - 1).max() < 0.6


def test_the_forearm_goes_on_below_the_phantom_s_own_image(parts: Components, file: Path) -> None:
    ranges = ViewRanges(
        **{"wide": (480.0, 480.0), "wide_share": 1.0, "turned_share": 0.0, "wide_turn": (0.0, 0.0), "bend": (0.0, 0.0)}
    )
    view = rand_view(np.random.default_rng(0), ranges, load_components(file), 192)
    assert (view.soft[-1] > 0).any()
    assert (view.planes[-1] != 0).any()
    assert not (view.soft[0] > 0).any()


def test_a_wrist_view_shows_carpus_and_forearm_and_few_fingers(parts: Components) -> None:
    ranges = ViewRanges(wide_share=0.0, wrist_share=1.0, part_share=0.0, wrist=(90.0, 100.0), wrist_shift=(-0.1, 0.1))
    for seed in range(5):
        view = rand_view(np.random.default_rng(seed), ranges, parts, 192)
        shown = areas(view.planes) > 0
        assert shown[[INDEX[name] for name in ("Scaphoid", "Lunate", "Capitate", "Radius", "Ulna")]].all()
        assert not shown[[bone.index for bone in BONES if bone.group is Group.DISTAL_PHALANX and bone.ray != 1]].any()


def test_half_of_the_views_are_mirrored(parts: Components) -> None:
    sides = [rand_view(np.random.default_rng(s), ViewRanges(), parts, 64).side for s in range(60)]
    assert 15 < sides.count("left") < 45


def test_the_transform_is_a_function_of_its_seed_and_gives_what_training_takes(file: Path) -> None:
    transform = RandPhantomd("image", "label", 96, ("standard", "hard"))

    def draw(seed: int) -> dict[str, torch.Tensor]:
        transform.set_random_state(seed=seed)
        return transform({"image": str(file), "name": "00001_right"})

    first, again, other = draw(1), draw(1), draw(2)
    assert torch.equal(first["image"], again["image"])
    assert torch.equal(first["label"], again["label"])
    assert not torch.equal(first["image"], other["image"])
    assert first["image"].shape == first["label"].shape == (1, 96, 96)
    assert first["image"].dtype == torch.float32
    assert first["label"].dtype == torch.int32
    assert first["image_size"].tolist() == [96, 96]
    assert 0 <= first["image"].min() < first["image"].max() <= 255


def test_a_second_hand_is_shown_but_not_labelled(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def draw(share: float) -> dict[str, torch.Tensor]:
        monkeypatch.setitem(PRESETS, "hard", replace(PRESETS["standard"], second_hand_share=share, marker_share=0.0))
        views = ViewRanges(close=(330.0, 330.0), wide_share=0.0, wrist_share=0.0, part_share=0.0, box_share=0.0)
        transform = RandPhantomd("image", "label", 96, ("hard",), [str(file)], views)
        transform.set_random_state(seed=5)
        return transform({"image": str(file)})

    alone, joined = draw(0.0), draw(1.0)
    assert torch.equal(alone["label"], joined["label"])
    assert (alone["image"] != joined["image"]).float().mean() > 0.05


@pytest.mark.parametrize("seed", range(4))
def test_bars_of_an_image_that_is_not_square_show_and_label_nothing(file: Path, seed: int) -> None:
    views = ViewRanges(wide_share=0.0, wrist_share=0.0, part_share=1.0, box_share=1.0, box=(0.5, 0.5))
    transform = RandPhantomd("image", "label", 96, ("standard",), views=views)
    transform.set_random_state(seed=seed)
    item = transform({"image": str(file)})
    image, planes = item["image"][0].numpy(), item["label"][0].numpy()
    if (image[:, :24] != image[0, 0]).any():
        image, planes = image.T, planes.T
    for bar in (slice(None, 24), slice(-24, None)):
        assert (image[:, bar] == image[0, 0]).all()
        assert (planes[:, bar] == 0).all()
    assert image[:, 24:72].std() > 1


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 cut short", b"text"])
def test_a_file_that_is_no_phantom_is_named(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "bad.npz"
    path.write_bytes(content)
    with pytest.raises(ValueError, match=r"bad\.npz: expected a phantom before exposure"):
        load_components(path)


def test_arrays_of_several_shapes_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "bad.npz"
    np.savez(path, soft=np.zeros((4, 4)), bone=np.zeros((4, 5)), planes=np.zeros((4, 4)), spacing=1.0, side="left")
    with pytest.raises(ValueError, match="of one shape"):
        load_components(path)


class TestDatalist:
    def test_the_last_subjects_are_held_out_with_both_hands(self, tmp_path: Path) -> None:
        for number in range(10):
            for side in ("left", "right"):
                (tmp_path / f"{number:05d}_{side}.npz").touch()
        lists = phantom_datalist(tmp_path, held_out=0.2)
        assert [item["name"] for item in lists["validation"]] == [
            f"0000{n}_{side}" for n in (8, 9) for side in ("left", "right")
        ]
        assert len(lists["training"]) == 16

    def test_folders_of_phantoms_are_taken_together(self, tmp_path: Path) -> None:
        for folder, count in (("adults", 10), ("children", 5)):
            (tmp_path / folder).mkdir()
            for number in range(count):
                (tmp_path / folder / f"{number:05d}_left.npz").touch()
        lists = phantom_datalist(tmp_path, held_out=0.2)
        assert [item["name"] for item in lists["validation"]] == [
            "adults/00008_left",
            "adults/00009_left",
            "children/00004_left",
        ]
        assert len(lists["training"]) == 12

    def test_too_few_are_refused_with_the_command_that_makes_them(self, tmp_path: Path) -> None:
        with pytest.raises(DatasetError, match=r"0 subjects.*handseg phantom .* --components"):
            phantom_datalist(tmp_path)
