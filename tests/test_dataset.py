"""Random draws depend on (seed, epoch, index) alone; each rank gets its share of the images; failures are carried."""

from __future__ import annotations

import hashlib
from collections.abc import Hashable, Mapping
from pathlib import Path
from typing import Any

import albumentations as A
import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from monai.data import DataLoader
from monai.engines import SupervisedTrainer
from monai.transforms import Compose, MapTransform, RandSpatialCropd

from handseg_monai.data import labelled_items
from handseg_monai.data.dataset import EpochSampler, RadiographDataset, prepare_planes
from handseg_monai.transforms import LoadBonePlanesd, LoadRadiographd, RandAlbumentationsd


class Rescaled(MapTransform):
    """Bring grey values to [0, 1], and count the calls."""

    def __init__(self, keys: str) -> None:
        super().__init__(keys)
        self.calls = 0

    def __call__(self, data: Mapping[Hashable, Any]) -> dict[Hashable, Any]:
        self.calls += 1
        return {**data, **{key: data[key] / 255 for key in self.keys}}


def preprocessing() -> Compose:
    return Compose(
        [
            LoadRadiographd("image"),
            Rescaled("image"),
            LoadBonePlanesd("label"),
            RandAlbumentationsd("image", "label", [A.Affine(rotate=(-30, 30), p=0.9), A.GaussNoise(p=0.9)]),
            RandSpatialCropd(["image", "label"], roi_size=[48, 48], random_size=False),
        ]
    )


@pytest.fixture(scope="module")
def items(drawn_dataset: Path) -> list[Any]:
    found, faults = labelled_items(drawn_dataset / "train")
    assert not faults
    return found[:7]


def digest(image: torch.Tensor, label: torch.Tensor) -> str:
    return hashlib.sha256(image.numpy().tobytes() + label.numpy().tobytes()).hexdigest()


def drawn(items: list[Any], epochs: range, workers: int = 0, **options: Any) -> dict[int, list[tuple[str, str]]]:
    """Name and digest of every item in the order of each epoch, as a training loop would see them."""
    dataset = RadiographDataset(items, preprocessing(), progress=False, **options)
    sampler = EpochSampler(dataset, shuffle=True, seed=options.get("seed", 0))
    loader = DataLoader(dataset, batch_size=2, sampler=sampler, num_workers=workers)
    seen = {}
    for epoch in epochs:
        sampler.set_epoch(epoch)
        seen[epoch] = [
            (name, digest(image, label))
            for batch in loader
            for name, image, label in zip(batch["name"], batch["image"], batch["label"], strict=True)
        ]
    return seen


class TestRandomDraws:
    def test_two_workers_and_two_epochs_draw_no_augmentation_twice(self, items: list[Any]) -> None:
        """One image under 7 names: were a draw repeated, two digests would be the same."""
        copies = [{**items[0], "name": f"copy {i}"} for i in range(7)]
        seen = drawn(copies, range(1, 3), workers=2)
        digests = [d for epoch in seen.values() for _, d in epoch]
        assert len(digests) == 14
        assert len(set(digests)) == 14

    def test_workers_change_no_draw(self, items: list[Any]) -> None:
        assert drawn(items, range(1, 3), workers=2) == drawn(items, range(1, 3), workers=0)

    def test_resuming_at_epoch_3_draws_what_running_through_draws(self, items: list[Any]) -> None:
        through = drawn(items, range(1, 5))
        resumed = drawn(items, range(3, 5))
        assert resumed == {epoch: through[epoch] for epoch in (3, 4)}

    def test_the_seed_changes_every_draw(self, items: list[Any]) -> None:
        first, second = (dict(drawn(items, range(1, 2), seed=seed)[1]) for seed in (0, 1))
        assert first.keys() == second.keys()
        assert all(first[name] != second[name] for name in first)

    def test_the_order_is_new_in_each_epoch(self, items: list[Any]) -> None:
        orders = [[name for name, _ in epoch] for epoch in drawn(items, range(1, 4)).values()]
        assert all(sorted(order) == sorted(orders[0]) for order in orders)
        assert len({tuple(order) for order in orders}) == 3

    def test_a_draw_does_not_depend_on_what_was_drawn_before(self, items: list[Any]) -> None:
        dataset = RadiographDataset(items, preprocessing())
        index = 2 * len(items) + 4
        alone = dataset[index]
        dataset[0], dataset[index + 1]
        again = dataset[index]
        assert alone["name"] == items[4]["name"]
        assert digest(alone["image"], alone["label"]) == digest(again["image"], again["label"])

    def test_a_numpy_index_is_the_same_as_an_int(self, items: list[Any]) -> None:
        dataset = RadiographDataset(items, preprocessing())
        first, second = dataset[np.int64(9)], dataset[9]
        assert digest(first["image"], first["label"]) == digest(second["image"], second["label"])

    @pytest.mark.parametrize("cache_rate", [1.0, 0.5])
    def test_the_cache_changes_no_draw(self, items: list[Any], cache_rate: float) -> None:
        assert drawn(items, range(1, 3), cache_rate=cache_rate) == drawn(items, range(1, 3))

    def test_the_cache_spares_what_comes_before_the_first_random_transform(self, items: list[Any]) -> None:
        transform = preprocessing()
        dataset = RadiographDataset(items, transform, cache_rate=1.0, progress=False)
        for index in range(2 * len(items)):
            dataset[index]
        assert transform.transforms[1].calls == len(items)

    @pytest.mark.parametrize("start", [0, 2])
    def test_monais_engine_counts_the_epochs(self, items: list[Any], start: int) -> None:
        """What the trainer sees in epoch e are the draws of epoch e, after a resume too."""
        seen: dict[int, list[tuple[str, str]]] = {}

        def step(engine: Any, batch: dict[str, Any]) -> dict[str, Any]:
            seen.setdefault(engine.state.epoch, []).extend(
                (name, digest(image, label))
                for name, image, label in zip(batch["name"], batch["image"], batch["label"], strict=True)
            )
            return {}

        dataset = RadiographDataset(items, preprocessing())
        sampler = EpochSampler(dataset, shuffle=True)
        network = torch.nn.Conv2d(1, 1, 1)
        trainer = SupervisedTrainer(
            device=torch.device("cpu"),
            max_epochs=4,
            train_data_loader=DataLoader(dataset, batch_size=2, sampler=sampler),
            network=network,
            optimizer=torch.optim.SGD(network.parameters(), lr=0.1),
            loss_function=torch.nn.MSELoss(),
            iteration_update=step,
            decollate=False,
        )
        trainer.state.epoch = start
        trainer.state.iteration = start * 4
        trainer.run()
        assert seen == drawn(items, range(start + 1, 5))


class TestFailures:
    @pytest.fixture
    def with_a_bad_one(self, items: list[Any], tmp_path: Path) -> list[Any]:
        (tmp_path / "bad.png").write_text("not an image")
        return [items[0], {"image": str(tmp_path / "bad.png"), "name": "bad.png", "subject": "ID9"}, items[1]]

    def test_a_failed_image_becomes_an_empty_item_that_says_why(self, with_a_bad_one: list[Any]) -> None:
        dataset = RadiographDataset(with_a_bad_one, preprocessing(), keep_failures=True)
        failed = dataset[1]
        assert failed["name"] == "bad.png"
        assert tuple(failed["image"].shape) == (1, 0, 0)
        assert failed["image"].dtype == torch.float32
        assert failed["failure"].startswith(f"{with_a_bad_one[1]['image']}: ")

    def test_the_images_around_it_are_as_without_it(self, with_a_bad_one: list[Any]) -> None:
        dataset = RadiographDataset(with_a_bad_one, preprocessing(), keep_failures=True)
        plain = RadiographDataset(with_a_bad_one, preprocessing())
        for index in (0, 2, 3, 5):
            assert "failure" not in dataset[index]
            assert torch.equal(dataset[index]["image"], plain[index]["image"])

    def test_it_goes_through_a_loader_of_two_workers(self, with_a_bad_one: list[Any]) -> None:
        dataset = RadiographDataset(with_a_bad_one, preprocessing(), keep_failures=True)
        loader = DataLoader(dataset, batch_size=1, sampler=EpochSampler(dataset), num_workers=2)
        batches = list(loader)
        assert [tuple(batch["image"].shape) for batch in batches] == [(1, 1, 48, 48), (1, 1, 0, 0), (1, 1, 48, 48)]
        assert ["failure" in batch for batch in batches] == [False, True, False]

    def test_without_keeping_failures_it_is_an_error(self, with_a_bad_one: list[Any]) -> None:
        dataset = RadiographDataset(with_a_bad_one, preprocessing())
        with pytest.raises(RuntimeError, match="applying transform") as raised:
            dataset[1]
        assert "bad.png: " in str(raised.value.__cause__)

    def test_failures_are_kept_with_a_cache_too(self, with_a_bad_one: list[Any]) -> None:
        dataset = RadiographDataset(with_a_bad_one, preprocessing(), keep_failures=True, cache_rate=1.0, progress=False)
        assert [("failure" in dataset[i]) for i in range(3)] == [False, True, False]


def of_ranks(length: int, ranks: int, epoch: int = 0, **options: Any) -> list[list[int]]:
    """Indices that each rank draws."""
    result = []
    for rank in range(ranks):
        sampler = EpochSampler(range(length), **options)
        sampler.num_replicas, sampler.rank = ranks, rank
        sampler.set_epoch(epoch)
        indices = list(sampler)
        assert len(sampler) == len(indices)
        result.append(indices)
    return result


class TestEpochSampler:
    def test_a_fixed_one_yields_the_same_indices_in_every_epoch(self) -> None:
        sampler = EpochSampler(range(5), shuffle=True, fixed=True)
        first = list(sampler)
        sampler.set_epoch(3)
        assert list(sampler) == first
        assert sorted(first) == [0, 1, 2, 3, 4]

    @given(st.integers(0, 20), st.integers(1, 5), st.integers(0, 3), st.booleans())
    def test_ranks_share_the_images_without_padding(self, length: int, ranks: int, epoch: int, shuffle: bool) -> None:
        drawn_by = of_ranks(length, ranks, epoch, shuffle=shuffle)
        everything = [i for indices in drawn_by for i in indices]
        assert sorted(everything) == [epoch * length + i for i in range(length)]
        counts = [len(indices) for indices in drawn_by]
        assert max(counts) - min(counts) <= 1

    @given(st.integers(0, 20), st.integers(1, 5), st.integers(0, 3), st.booleans())
    def test_even_gives_each_rank_the_same_number_and_no_image_twice(
        self, length: int, ranks: int, epoch: int, shuffle: bool
    ) -> None:
        drawn_by = of_ranks(length, ranks, epoch, shuffle=shuffle, even=True)
        assert {len(indices) for indices in drawn_by} == {length // ranks}
        everything = [i for indices in drawn_by for i in indices]
        assert len(set(everything)) == len(everything)
        assert set(everything) <= set(range(epoch * length, (epoch + 1) * length))

    def test_even_leaves_out_other_images_in_other_epochs(self) -> None:
        left_out = set()
        for epoch in range(20):
            seen = {i % 7 for indices in of_ranks(7, 2, epoch, shuffle=True, even=True) for i in indices}
            left_out |= set(range(7)) - seen
        assert len(left_out) > 3

    def test_without_shuffling_the_order_is_that_of_the_datalist(self) -> None:
        assert of_ranks(5, 1, epoch=0) == [[0, 1, 2, 3, 4]]
        assert of_ranks(5, 1, epoch=3) == [[15, 16, 17, 18, 19]]
        assert of_ranks(5, 2, epoch=1) == [[5, 7, 9], [6, 8]]

    def test_the_order_is_a_function_of_seed_and_epoch(self) -> None:
        assert of_ranks(9, 1, 2, shuffle=True, seed=3) == of_ranks(9, 1, 2, shuffle=True, seed=3)
        orders = {tuple(i % 9 for i in of_ranks(9, 1, e, shuffle=True, seed=s)[0]) for e in range(3) for s in range(3)}
        assert len(orders) == 9

    def test_ranks_change_no_draw(self, items: list[Any]) -> None:
        dataset = RadiographDataset(items, preprocessing())

        def digests(ranks: int) -> set[tuple[str, str]]:
            indices = [i for of_rank in of_ranks(len(items), ranks, 2, shuffle=True) for i in of_rank]
            return {(d["name"], digest(d["image"], d["label"])) for d in map(dataset.__getitem__, indices)}

        assert digests(1) == digests(3)


def test_prepare_planes_hands_on_bit_planes_of_which_all_are_known() -> None:
    planes = torch.randint(0, 2**29, (2, 1, 5, 4), dtype=torch.int32, generator=torch.Generator().manual_seed(0))
    image = torch.rand(2, 1, 5, 4)
    moved, (target, known) = prepare_planes({"image": image, "label": planes}, torch.device("cpu"))
    assert torch.equal(moved, image)
    assert torch.equal(target, planes)
    assert known.tolist() == [2**29 - 1] * 2


def test_a_dataset_is_iterated_once_and_counted_from_its_end(items: list[Any]) -> None:
    dataset = RadiographDataset(items, preprocessing())
    assert [item["name"] for item in dataset] == [item["name"] for item in items]
    assert dataset[-1]["name"] == items[-1]["name"]
