"""The weights that come with the project, those that others publish, and the runs that begin from them or make them."""

from __future__ import annotations

from pathlib import Path

import cv2
import monai.bundle
import numpy as np
import pytest
import torch

from handseg_monai import bundle_root
from handseg_monai.checkpoints import Checkpoint, CheckpointError, publish_weights
from handseg_monai.phantom import write_components, write_dataset
from handseg_monai.score.evaluation import evaluate
from tests.bundle_runs import CONFIGS, run_here, save_untrained, tiny

CONSTANT = {"_target_": "torch.optim.lr_scheduler.ConstantLR", "optimizer": "@optimizer", "factor": 1.0}
SHIPPED = bundle_root() / "models" / "model.pt"


@pytest.fixture(scope="module")
def phantoms(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantoms") / "data"
    write_dataset(out, subjects=3, size=640, seed=71, preset="standard", workers=1, progress=False)
    return out


def seen_at(path: Path) -> tuple[int, int, str]:
    """How the network of a checkpoint saw its images."""
    checkpoint = Checkpoint.read(path)
    return checkpoint.size, checkpoint.window, checkpoint.views


class TestShippedWeights:
    def test_they_are_small_half_precision_and_name_no_images(self) -> None:
        assert SHIPPED.stat().st_size <= 25e6
        content = torch.load(SHIPPED, weights_only=True)
        assert {v.dtype for v in content["network"].values() if v.is_floating_point()} == {torch.float16}
        assert not content.get("trained_on")
        assert Checkpoint.read(SHIPPED).views == "hand"

    def test_inference_finds_the_bones_of_phantoms_with_them_by_default(
        self, phantoms: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """One of the hands is turned on its side and one stands on its head, in images that are not square."""
        monkeypatch.chdir(tmp_path)
        turned = _turned(phantoms, tmp_path / "turned")
        monai.bundle.run(
            config_file=str(CONFIGS / "inference.json"),
            dataset_dir=str(turned / "train" / "DCM"),
            output_dir=str(tmp_path / "out"),
            num_workers=0,
            overlays=False,
        )
        result = evaluate(tmp_path / "out" / "submission.csv", turned, progress=False)
        of_images = np.array([d[t > 0].mean() for d, t in zip(result.dice, result.truth, strict=True)])
        assert (of_images > 0.8).all(), of_images

    def test_fine_tuning_begins_from_them_and_evaluation_and_inference_agree(
        self, phantoms: Path, tmp_path: Path
    ) -> None:
        small = {"size": 256, "window": 256, "num_workers": 0, "num_folds": 3}
        overlays = ("train.json", "finetune.json")
        run_here(
            *overlays,
            run_id="training",
            dataset_dir=str(phantoms),
            output_dir=str(tmp_path),
            epochs=1,
            warmup=0.0,
            learning_rate=1e-4,
            **small,
        )
        assert seen_at(tmp_path / "model.pt") == (256, 256, "hand")
        run_here(
            *overlays, "evaluate.json", dataset_dir=str(phantoms), output_dir=str(tmp_path), num_workers=0, num_folds=3
        )
        figure = float((tmp_path / "evaluation" / "metrics.csv").read_text().split()[-1].split(",")[-1])
        run_here(
            "inference.json",
            dataset_dir=str(phantoms / "train" / "DCM"),
            output_dir=str(tmp_path / "out"),
            checkpoint=str(tmp_path / "model.pt"),
            num_workers=0,
            overlays=False,
        )
        result = evaluate(tmp_path / "out" / "submission.csv", phantoms, progress=False)
        seen = torch.load(tmp_path / "model.pt", weights_only=True)["trained_on"]
        held_out = [i for i, name in enumerate(result.names) if name not in seen]
        assert len(held_out) == 2
        assert figure == pytest.approx(result.dice[held_out].mean(), abs=1e-6)
        assert figure > 0.7


def _turned(data: Path, out: Path) -> Path:
    """Copy a dataset with its first image upright, the second on its side, the third on its head, and so on."""
    import json
    import shutil

    shutil.copytree(data, out)
    for turns, path in enumerate(sorted(out.rglob("*.png"))):
        image = cv2.imread(str(path), cv2.IMREAD_GRAYSCALE)
        label = next(out.rglob(f"{path.stem}.json"))
        content = json.loads(label.read_text())
        # A strip of air beside the hand makes the image wider than high.
        image = np.pad(image, ((0, 0), (0, 100)), mode="edge")
        for _ in range(turns % 3):
            width = image.shape[1]
            image = np.rot90(image)
            for annotation in content["annotations"]:
                annotation["points"] = [[y, width - 1 - x] for x, y in annotation["points"]]
        cv2.imwrite(str(path), image)
        label.write_text(json.dumps(content))
    return out


class TestPublishing:
    def test_weights_are_halved_and_what_they_were_trained_on_is_left_out(self, tmp_path: Path) -> None:
        source = save_untrained(tmp_path / "model.pt", "dynunet")
        content = torch.load(source, weights_only=True)
        facts = {"size": 320, "window": 256, "views": "hand", "epoch": 7, "score": 0.5}
        torch.save(content | facts | {"trained_on": ["a.png"], "states": {}}, source)
        published = torch.load(publish_weights(source, tmp_path / "out" / "small.pt"), weights_only=True)
        assert published.keys() == {"network", "network_name", *facts}
        for name, value in content["network"].items():
            assert torch.equal(published["network"][name], value.half())
        assert seen_at(tmp_path / "out" / "small.pt") == (320, 256, "hand")

    def test_a_value_that_float16_can_not_hold_stays(self, tmp_path: Path) -> None:
        source = save_untrained(tmp_path / "model.pt", "dynunet")
        content = torch.load(source, weights_only=True)
        content["network"] = {"running_var": torch.tensor([1.0, 1e5]), "running_mean": torch.tensor([1.0, 2.0])}
        torch.save(content, source)
        published = torch.load(publish_weights(source, tmp_path / "small.pt"), weights_only=True)["network"]
        assert published["running_var"].tolist() == [1.0, 1e5]
        assert published["running_mean"].dtype == torch.float16

    def test_a_checkpoint_that_does_not_say_how_it_saw_images_gets_the_defaults(self, tmp_path: Path) -> None:
        source = save_untrained(tmp_path / "model.pt", "dynunet")
        assert seen_at(source) == (1024, 1024, "image")

    def test_a_missing_checkpoint_is_named(self, tmp_path: Path) -> None:
        with pytest.raises(CheckpointError, match=r"none\.pt: no such file"):
            Checkpoint.read(tmp_path / "none.pt")


@pytest.fixture(scope="module")
def hands(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hands")
    write_components(out, subjects=3, size=160, seed=5, workers=1, progress=False)
    return out


class TestPretraining:
    def test_it_trains_on_views_of_phantoms_and_goes_on_where_it_was(self, hands: Path, tmp_path: Path) -> None:
        options = tiny() | {"size": 128, "window": 128, "views": "hand", "dataset_dir": str(hands)}
        options["lr_scheduler"] = CONSTANT

        def pretrain(folder: str, **more: object) -> dict[str, torch.Tensor]:
            run_here(
                *("train.json", "pretrain.json"),
                run_id="training",
                output_dir=str(tmp_path / folder),
                **options,
                **more,
            )
            content = torch.load(tmp_path / folder / "last.pt", weights_only=True)
            assert content["views"] == "hand"
            assert content["trained_on"] == ["00000_left", "00000_right", "00001_left", "00001_right"]
            return dict(content["network"])

        whole = pretrain("whole", epochs=2)
        # A constant rate: on resuming the schedule would be stretched to the epochs that are configured then.
        pretrain("parts", epochs=1)
        resumed = pretrain("parts", epochs=2, resume=True)
        assert all(torch.equal(whole[k], v) for k, v in resumed.items())
        assert any(not torch.equal(whole[k], v) for k, v in pretrain("other", epochs=2, seed=1).items())

    def test_files_that_are_there_are_kept_and_a_longer_set_begins_with_a_shorter_one(self, hands: Path) -> None:
        before = {p.name: p.stat().st_mtime_ns for p in hands.glob("*.npz")}
        paths = write_components(hands, subjects=4, size=160, seed=5, workers=1, progress=False)
        assert len(paths) == 8
        assert {name: (hands / name).stat().st_mtime_ns for name in before} == before
        for path in paths[6:]:
            path.unlink()

    def test_phantoms_of_another_seed_are_not_mixed_in(self, hands: Path) -> None:
        with pytest.raises(FileExistsError, match="holds phantoms of"):
            write_components(hands, subjects=3, size=160, seed=6, workers=1, progress=False)

    def test_a_folder_without_phantoms_is_told_in_one_line(
        self, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        with pytest.raises(SystemExit, match="2"):
            run_here(
                "train.json",
                "pretrain.json",
                run_id="training",
                dataset_dir=str(tmp_path),
                output_dir=str(tmp_path / "o"),
            )
        assert "handseg phantom" in capsys.readouterr().err


class TestBeginningFromWeights:
    def test_what_they_were_trained_on_is_not_validated_on_and_is_handed_on(
        self, drawn_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        options = tiny() | {"dataset_dir": str(drawn_dataset), "epochs": 1}
        run_here("train.json", run_id="training", fold=1, output_dir=str(tmp_path / "a"), **options)
        first = tmp_path / "a" / "model.pt"
        with pytest.raises(SystemExit, match="2"):
            run_here(
                "train.json",
                run_id="training",
                fold=2,
                output_dir=str(tmp_path / "b"),
                weights=str(first),
                **options,
            )
        assert "was trained on 2 of the 2 images to validate on" in capsys.readouterr().err
        run_here(
            "train.json",
            run_id="training",
            fold=1,
            output_dir=str(tmp_path / "b"),
            weights=str(first),
            learning_rate=1e-12,
            **options,
        )
        content = torch.load(first, weights_only=True)
        content["trained_on"].append("seen before.png")
        torch.save(content, first)
        run_here(
            *("train.json",),
            run_id="training",
            fold=1,
            output_dir=str(tmp_path / "c"),
            weights=str(first),
            learning_rate=1e-12,
            **options,
        )
        begun = torch.load(tmp_path / "c" / "model.pt", weights_only=True)
        assert "seen before.png" in begun["trained_on"]
        assert set(content["trained_on"]) == set(begun["trained_on"])
        assert all(torch.allclose(content["network"][k], v, atol=1e-6) for k, v in begun["network"].items())

    def test_weights_in_the_folder_of_the_run_are_read_before_it_is_moved_aside(
        self, drawn_dataset: Path, tmp_path: Path
    ) -> None:
        options = tiny() | {"dataset_dir": str(drawn_dataset), "epochs": 1, "output_dir": str(tmp_path)}
        run_here("train.json", run_id="training", **options)
        run_here("train.json", run_id="training", weights=str(tmp_path / "model.pt"), **options)
        assert (tmp_path / "earlier" / "1" / "model.pt").is_file()
        assert (tmp_path / "model.pt").is_file()

    def test_a_missing_file_leaves_an_earlier_run_where_it_is(
        self, drawn_dataset: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
    ) -> None:
        options = tiny() | {"dataset_dir": str(drawn_dataset), "epochs": 1, "output_dir": str(tmp_path)}
        run_here("train.json", run_id="training", **options)
        with pytest.raises(SystemExit, match="2"):
            run_here("train.json", run_id="training", weights="nowhere.pt", **options)
        assert "nowhere.pt: no such file" in capsys.readouterr().err
        assert (tmp_path / "model.pt").is_file()
        assert not (tmp_path / "earlier").exists()
