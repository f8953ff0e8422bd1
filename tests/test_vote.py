"""Vote on runs: equal to decoding, summing and encoding, whatever comes in; what does not fit is said."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from handseg_monai.bones import NAMES, NUM_BONES
from handseg_monai.export.vote import vote_submissions
from handseg_monai.rle import RunsError, decode, encode, parse, parse_many, read_csv, vote, write_csv
from tests.programs import handseg

SHAPE = (5, 7)
Masks = list[list[np.ndarray]]


def by_decoding(texts: list[list[str]], weights: list[int], least: int, shape: tuple[int, int]) -> list[str]:
    """What a team would write: decode, add up, threshold, encode."""
    result = []
    for of_mask in zip(*texts, strict=True):
        votes = sum(
            weight * decode(text, shape).astype(np.int64) for weight, text in zip(weights, of_mask, strict=True)
        )
        result.append(encode(np.asarray(votes) >= least))
    return result


masks = st.lists(st.booleans(), min_size=35, max_size=35).map(lambda flat: encode(np.array(flat).reshape(SHAPE)))


@given(st.data(), st.integers(1, 6), st.integers(1, 4))
def test_a_vote_is_what_decoding_gives(data: st.DataObject, voters: int, count: int) -> None:
    texts = [data.draw(st.lists(masks, min_size=count, max_size=count)) for _ in range(voters)]
    weights = data.draw(st.lists(st.integers(1, 5), min_size=voters, max_size=voters))
    least = data.draw(st.integers(1, sum(weights)))
    runs = [parse_many(of_voter, [35] * count) for of_voter in texts]
    assert vote(runs, count, weights, least) == by_decoding(texts, weights, least, SHAPE)


@given(st.lists(st.one_of(masks, st.none(), st.just(float("nan")), st.just("1 2 3 4"), st.just(" 3  4 "))))
def test_many_texts_are_parsed_as_one_is(texts: list[str | float | None]) -> None:
    runs = parse_many(texts)
    for number, text in enumerate(texts):
        own = slice(runs.first[number], runs.first[number + 1])
        expected = parse(text)
        np.testing.assert_array_equal(runs.start[own], expected[:, 0])
        np.testing.assert_array_equal(runs.end[own], expected.sum(axis=1))


@pytest.mark.parametrize("count", [1, 5, 29, 1000])
def test_many_short_texts_are_all_read(count: int) -> None:
    runs = parse_many([f"{1 + n % 9} 1" for n in range(count)])
    assert runs.start.tolist() == [n % 9 for n in range(count)]
    assert vote([runs, runs], count, [1, 1], 2) == [f"{1 + n % 9} 1" for n in range(count)]


@pytest.mark.parametrize(
    "bad", ["1", "0 3", "3 0", "1 4 3 2", "5 1 1 1", "a b", "1 2 -3 4", "1.5 2", "34 3", f"1 {10**18}", "1,2", "1 2;"]
)
def test_of_many_texts_the_first_bad_one_is_named_as_alone(bad: str) -> None:
    with pytest.raises(ValueError, match=r"run|number|integers") as alone:
        parse(bad, 35)
    with pytest.raises(RunsError) as among:
        parse_many(["1 2", bad, "x"], [35] * 3)
    assert among.value.mask == 1
    assert str(among.value) == str(alone.value)


def submission(path: Path, masks: dict[str, np.ndarray], order: int = 1) -> Path:
    write_csv(path, [(name, [encode(mask) for mask in of_image]) for name, of_image in list(masks.items())[::order]])
    return path


@pytest.fixture
def three(tmp_path: Path) -> tuple[list[Path], dict[str, list[np.ndarray]]]:
    """Three submissions of six images, rows in different orders, and their masks by image."""
    rng = np.random.default_rng(0)
    names = [f"image{n}.png" for n in range(6)]
    of = {name: [rng.random((NUM_BONES, *SHAPE)) < 0.5 for _ in range(3)] for name in names}
    paths = [
        submission(tmp_path / f"{number}.csv", {name: each[number] for name, each in of.items()}, order)
        for number, order in enumerate((1, -1, 1))
    ]
    return paths, of


def test_submissions_are_joined_by_name_and_elect_by_majority(three, tmp_path: Path) -> None:
    paths, of = three
    result = vote_submissions(paths, tmp_path / "v.csv", size=SHAPE, progress=False)
    assert (result.checked, result.empty, result.left_out) == (True, {}, ())
    elected = read_csv(tmp_path / "v.csv")
    assert list(elected) == list(of)
    for name, each in of.items():
        assert elected[name] == [encode(mask) for mask in np.sum(each, axis=0) >= 2]


def test_weights_are_exact_decimals_and_half_of_them_is_not_enough(three, tmp_path: Path) -> None:
    paths, of = three
    vote_submissions(paths, tmp_path / "v.csv", weights=["0.3", "0.1", "0.2"], progress=False)
    elected = read_csv(tmp_path / "v.csv")
    for name, (a, b, c) in of.items():
        # 0.1 + 0.2 is as much as 0.3, the half.
        assert elected[name] == [encode(mask) for mask in a & (b | c)]


def test_min_votes_make_union_and_intersection(three, tmp_path: Path) -> None:
    paths, of = three
    for least, combine in ((1, np.any), (3, np.all)):
        vote_submissions(paths, tmp_path / "v.csv", min_votes=least, progress=False)
        elected = read_csv(tmp_path / "v.csv")
        for name, each in of.items():
            assert elected[name] == [encode(mask) for mask in combine(each, axis=0)]


def test_missing_rows_count_as_empty_and_are_told(three, tmp_path: Path) -> None:
    paths, of = three
    lines = paths[1].read_text().splitlines(keepends=True)
    gone = [n for n, line in enumerate(lines) if line.startswith("image2.png,Lunate")]
    paths[1].write_text("".join(line for n, line in enumerate(lines) if n not in gone))
    result = vote_submissions(paths, tmp_path / "v.csv", progress=False)
    assert result.empty == {str(paths[1]): 1}
    a, _, c = of["image2.png"]
    lunate = NAMES.index("Lunate")
    assert read_csv(tmp_path / "v.csv")["image2.png"][lunate] == encode(a[lunate] & c[lunate])


def test_different_images_are_refused_unless_the_common_ones_are_asked_for(three, tmp_path: Path) -> None:
    paths, of = three
    lines = paths[2].read_text().splitlines(keepends=True)
    paths[2].write_text("".join(line for line in lines if not line.startswith("image4.png")))
    with pytest.raises(ValueError, match=r"2\.csv lacks 1 \(image4\.png\); --common"):
        vote_submissions(paths, tmp_path / "v.csv", progress=False)
    assert not (tmp_path / "v.csv").exists()
    result = vote_submissions(paths, tmp_path / "v.csv", common=True, progress=False)
    assert result.left_out == ("image4.png",)
    assert list(read_csv(tmp_path / "v.csv")) == [name for name in of if name != "image4.png"]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"min_votes": 0}, "1 to 3"),
        ({"min_votes": 4}, "1 to 3"),
        ({"weights": ["1", "1"]}, "expected 3"),
        ({"weights": ["1", "x", "1"]}, "'x'"),
        ({"weights": ["1", "nan", "1"]}, "'nan'"),
        ({"weights": ["1", "-1", "1"]}, "'-1'"),
        ({"weights": ["1", "1", "1"], "min_votes": 2}, "one of them"),
        ({"size": (5, 6)}, r"0\.csv: image image0\.png, class finger-\d+: .*past the end of an image of 30 pixels$"),
        ({"size": (5, 7), "images": "."}, "one of them"),
    ],
)
def test_what_does_not_fit_is_said_and_nothing_is_written(three, tmp_path: Path, options: dict, message: str) -> None:
    with pytest.raises(ValueError, match=message):
        vote_submissions(three[0], tmp_path / "v.csv", progress=False, **options)
    assert not (tmp_path / "v.csv").exists()


def test_places_are_exact_however_far_out(three, tmp_path: Path) -> None:
    paths, _ = three
    for path in paths:
        lines = [line for line in path.read_text().splitlines() if not line.startswith("image0.png,Radius")]
        path.write_text("\n".join([*lines, f"image0.png,Radius,{10**17} 5", ""]))
    vote_submissions(paths, tmp_path / "v.csv", progress=False)
    assert read_csv(tmp_path / "v.csv")["image0.png"][NAMES.index("Radius")] == f"{10**17} 5"


def test_command_checks_against_the_images(three, tmp_path: Path) -> None:
    paths, of = three
    folder = tmp_path / "images"
    folder.mkdir()
    for name in of:
        cv2.imwrite(str(folder / name), np.zeros(SHAPE, np.uint8))

    done = handseg("vote", *paths, "--out", tmp_path / "v.csv", "--images", folder, "--weights", "2,1,1.5")
    assert done.returncode == 0, done.stderr
    assert "6 images" in done.stdout
    assert "not checked" not in done.stdout
    unchecked = handseg("vote", *paths, "--out", tmp_path / "w.csv")
    assert "not checked" in unchecked.stdout
    cv2.imwrite(str(folder / "image3.png"), np.zeros((4, 7), np.uint8))
    failed = handseg("vote", *paths, "--out", tmp_path / "x.csv", "--images", folder)
    assert failed.returncode == 2
    assert "image3.png" in failed.stderr
    assert "Traceback" not in failed.stderr
    assert handseg("vote", *paths, "--out", tmp_path / "x.csv", "--size", "5").returncode == 2
