"""The page of ``handseg report`` in a real Chromium: what it shows is what the masks hold, and nothing else happens."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from selenium.webdriver import Chrome
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from handseg_monai.bones import BONES, INDEX, NAMES, NUM_BONES, Group
from handseg_monai.data.labels import convert
from handseg_monai.phantom import PRESETS, render_phantom
from handseg_monai.plausibility.judge import plausibility
from handseg_monai.report import write_report
from handseg_monai.report.outlines import outlines
from handseg_monai.rle import encode_planes, write_csv
from handseg_monai.score.evaluation import evaluate
from tests.browser import CHROMIUM, DRIVER, chromium, move_to, prefer, resize, settle
from tests.hands import both_hands, hand, mask, moved, phantom, with_mask, without
from tests.programs import Done, handseg

UNKNOWN = "Lunate"
"""Bone that nobody has labelled in b.png."""


@dataclass(frozen=True)
class Made:
    """A submission, its images and their labels, with the masks that they hold."""

    prediction: Path
    images: Path
    labels: Path
    predicted: dict[str, np.ndarray]
    truth: dict[str, np.ndarray]
    page: Path

    def dice(self, name: str, bone: str) -> float:
        """Dice, pixel by pixel."""
        a, b = mask(self.predicted[name], bone), mask(self.truth[name], bone)
        return 1.0 if not (a.any() or b.any()) else 2 * int((a & b).sum()) / (int(a.sum()) + int(b.sum()))

    def mean(self, name: str) -> float:
        known = [bone for bone in NAMES if (name, bone) != ("b.png", UNKNOWN)]
        return float(np.mean([self.dice(name, bone) for bone in known]))


def write_rows(path: Path, planes: dict[str, np.ndarray], left_out: tuple[tuple[str, str], ...] = ()) -> Path:
    write_csv(path, ((name, encode_planes(of_image)) for name, of_image in planes.items()))
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(line for line in lines if not line.startswith(tuple(f"{a},{b}," for a, b in left_out))))
    return path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """Three hands: c.png without a fault, a.png with some, and b.png, which lacks a bone, has a hole and a speck."""
    root = tmp_path_factory.mktemp("report")
    (root / "images" / "person").mkdir(parents=True)
    truth = {name: hand(number) for number, name in enumerate(("a.png", "b.png", "c.png"))}
    for number, name in enumerate(truth):
        cv2.imwrite(str(root / "images" / "person" / name), phantom(number).image)
    predicted = {name: planes.copy() for name, planes in truth.items()}
    for bone, right, down in (("Scaphoid", 3, 1), ("finger-7", -2, 4), ("Pisiform", 5, 5)):
        predicted["a.png"] = moved(predicted["a.png"], bone, right, down)
    radius = mask(truth["b.png"], "Radius")
    middle = np.argwhere(cv2.erode(radius.astype(np.uint8), np.ones((15, 15))))[0]
    radius[middle[0] - 3 : middle[0] + 4, middle[1] - 2 : middle[1] + 3] = False
    radius[0, 0] = True
    worst = with_mask(without(truth["b.png"], "Radius"), "Radius", radius)
    predicted["b.png"] = moved(without(worst, "finger-4"), "Hamate", 20, 0)
    write_rows(root / "truth.csv", truth, (("b.png", UNKNOWN),))
    convert("submission", root / "truth.csv", root / "images", root / "labels", missing="unknown", progress=False)
    prediction = write_rows(root / "prediction.csv", predicted)
    write_report(prediction, root / "images", root / "page.html", root / "labels", progress=False)
    return Made(prediction, root / "images", root / "labels", predicted, truth, root / "page.html")


@pytest.fixture(scope="module")
def driver() -> Iterator[Chrome]:
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium and chromedriver; apt-get install chromium chromium-driver")
    with chromium() as driver:
        yield driver


@pytest.fixture
def page(driver: Chrome, made: Made) -> Chrome:
    """The page on a wide screen, as one sees it first."""
    return show(driver, made.page)


def show(driver: Chrome, page: Path, width: int = 1360, height: int = 900) -> Chrome:
    resize(driver, width, height)
    prefer(driver, "light")
    driver.get(page.as_uri())
    driver.execute_script("localStorage.clear()")
    driver.get(page.as_uri())
    settle(driver)
    return driver


def all_of(driver: Chrome, selector: str) -> list[WebElement]:
    return driver.find_elements(By.CSS_SELECTOR, selector)


def names_in_order(driver: Chrome) -> list[str]:
    return [card.get_attribute("data-name") or "" for card in all_of(driver, ".card") if card.is_displayed()]


def press(driver: Chrome, selector: str) -> None:
    all_of(driver, selector)[0].click()
    settle(driver)


def enlarge(driver: Chrome, name: str) -> None:
    press(driver, f".card[data-name='{name}'] .name")


def hover(driver: Chrome, row: int, column: int) -> dict[str, str]:
    """Point at a pixel of the enlarged image; texts of the tip by bone."""
    place = driver.execute_script(
        "const p = new DOMPoint(arguments[0] + .5, arguments[1] + .5)"
        ".matrixTransform(document.querySelector('#stage svg').getScreenCTM()); return [p.x, p.y]",
        int(column),
        int(row),
    )
    move_to(driver, *place)
    return {
        NAMES[int(p.get_attribute("data-bone") or -1)]: p.text for p in all_of(driver, "#tip p") if p.is_displayed()
    }


def inside(planes: np.ndarray, *bones: str) -> tuple[int, int]:
    """Find the pixel that lies deepest in what these bones, and no others, have."""
    alone = planes == np.int32(sum(1 << INDEX[bone] for bone in bones))
    depth = cv2.distanceTransform(np.pad(alone, 1).astype(np.uint8), cv2.DIST_L2, 5)[1:-1, 1:-1]
    row, column = np.unravel_index(int(depth.argmax()), depth.shape)
    return int(row), int(column)


class TestWhatItShows:
    def test_worst_images_come_first_and_other_orders_can_be_chosen(self, page: Chrome, made: Made) -> None:
        assert names_in_order(page) == sorted(made.truth, key=made.mean) == ["b.png", "a.png", "c.png"]
        captions = [card.text for card in all_of(page, ".figures-line b")]
        assert captions == [f"{made.mean(name):.3f}" for name in ("b.png", "a.png", "c.png")]
        choose(page, "byName")
        assert names_in_order(page) == ["a.png", "b.png", "c.png"]
        choose(page, "byScore")
        judged = {name: plausibility(planes) for name, planes in made.predicted.items()}
        assert names_in_order(page) == sorted(judged, key=lambda n: (judged[n].plausible, judged[n].score, n))
        choose(page, "byLowest")
        assert names_in_order(page)[-1] == "c.png"

    def test_figures_are_those_of_handseg_evaluate(self, page: Chrome, made: Made) -> None:
        result = evaluate(made.prediction, made.labels, progress=False)
        figures = page.find_element(By.ID, "figures").text
        assert f"{result.mean_dice:.4f}" in figures
        assert f"{result.mean_dice_present:.4f}" in figures
        means = {bone: [made.dice(n, bone) for n in made.truth if (n, bone) != ("b.png", UNKNOWN)] for bone in NAMES}
        weakest = min(means, key=lambda bone: np.mean(means[bone]))
        assert f"{BONES[INDEX[weakest]].english} {np.mean(means[weakest]):.3f}".lower() in figures.lower()

    @pytest.mark.parametrize("bone", ["Scaphoid", "finger-7", "Pisiform", "Ulna", "finger-16"])
    def test_hover_tells_name_area_and_dice(self, page: Chrome, made: Made, bone: str) -> None:
        enlarge(page, "a.png")
        found = hover(page, *inside(made.predicted["a.png"] | made.truth["a.png"], bone))
        assert list(found) == [bone]
        assert BONES[INDEX[bone]].english in found[bone]
        assert f"{mask(made.predicted['a.png'], bone).sum():,} px" in found[bone]
        assert f"truth {mask(made.truth['a.png'], bone).sum():,} px" in found[bone]
        assert f"Dice {made.dice('a.png', bone):.3f}" in found[bone]

    def test_hover_tells_all_bones_that_overlap_there(self, page: Chrome, made: Made) -> None:
        enlarge(page, "c.png")
        both = hover(page, *inside(made.predicted["c.png"], "Pisiform", "Triquetrum"))
        assert list(both) == ["Pisiform", "Triquetrum"]
        assert len(all_of(page, "#stage .outline.predicted.lit")) == 2

    def test_a_bone_that_was_missed_is_found_by_its_true_outline(self, page: Chrome, made: Made) -> None:
        enlarge(page, "b.png")
        (text,) = hover(page, *inside(made.truth["b.png"], "finger-4")).values()
        assert "0 px" in text
        assert "Dice 0.000" in text
        assert "index distal phalanx is missing" in page.find_element(By.ID, "findings").text

    def test_bones_that_are_not_labelled_have_no_dice_and_no_true_outline(self, page: Chrome, made: Made) -> None:
        enlarge(page, "b.png")
        (row,) = all_of(page, f"#table tr[data-bone='{INDEX[UNKNOWN]}']")
        assert row.text.split("\n")[-1].endswith(f"{mask(made.predicted['b.png'], UNKNOWN).sum():,} px not labelled –")
        assert all_of(page, f"#stage .predicted.bone-{INDEX[UNKNOWN]}")
        assert not all_of(page, f"#stage .truth.bone-{INDEX[UNKNOWN]}")

    def test_the_table_of_an_image_begins_with_its_worst_bones(self, page: Chrome, made: Made) -> None:
        enlarge(page, "a.png")
        rows = [NAMES[int(row.get_attribute("data-bone") or -1)] for row in all_of(page, "#table tbody tr")]
        assert len(rows) == NUM_BONES
        values = [made.dice("a.png", bone) for bone in rows]
        assert values == sorted(values)

    def test_charts_show_every_bone_and_count_every_image(self, page: Chrome, made: Made) -> None:
        assert len(all_of(page, "#strips .strip .median")) == NUM_BONES
        for chart in all_of(page, "#histograms .chart"):
            titles = [t.get_attribute("textContent") or "" for t in chart.find_elements(By.TAG_NAME, "title")]
            assert sum(int(re.findall(r": (\d+) images", title)[0]) for title in titles) == len(made.truth)

    def test_a_bone_of_the_chart_sorts_the_images(self, page: Chrome, made: Made) -> None:
        all_of(page, "#strips .row button")[INDEX["Scaphoid"]].click()
        assert names_in_order(page)[0] == "a.png" == min(made.truth, key=lambda name: made.dice(name, "Scaphoid"))
        assert "scaphoid" in page.find_element(By.ID, "order").text


def choose(driver: Chrome, order: str) -> None:
    press(driver, f"#order option[value='{order}']")


class TestSwitches:
    def test_bones_and_groups_that_are_switched_off_vanish(self, page: Chrome, made: Made) -> None:
        enlarge(page, "a.png")
        place = inside(made.predicted["a.png"] | made.truth["a.png"], "Scaphoid")
        assert list(hover(page, *place)) == ["Scaphoid"]
        press(page, "#close")
        press(page, f"#groups [data-bone='{INDEX['Scaphoid']}']")
        assert visible(page) == set(NAMES) - {"Scaphoid"}
        enlarge(page, "a.png")
        assert hover(page, *place) == {}
        press(page, "#close")
        press(page, "#groups [data-group='carpal'] legend label")
        assert visible(page) == set(NAMES)
        press(page, "#groups [data-group='carpal'] legend label")
        assert visible(page) == {bone.name for bone in BONES if bone.group is not Group.CARPAL}
        press(page, "#none")
        assert visible(page) == set()
        assert not any(box.is_selected() for box in all_of(page, "#groups input"))
        press(page, f"#groups [data-bone='{INDEX['Ulna']}']")
        assert visible(page) == {"Ulna"}
        forearm = page.find_element(By.CSS_SELECTOR, "#groups [data-group='forearm'] legend input")
        assert forearm.get_property("indeterminate") is True
        press(page, "#all")
        assert visible(page) == set(NAMES)

    def test_prediction_and_truth_are_switched_apart(self, page: Chrome) -> None:
        assert layers(page) == {"predicted", "truth"}
        press(page, "#layers [data-layer='prediction']")
        assert layers(page) == {"truth"}
        press(page, "#layers [data-layer='truth']")
        assert layers(page) == set()
        press(page, "#layers [data-layer='prediction']")
        assert layers(page) == {"predicted"}

    def test_names_are_filtered(self, page: Chrome) -> None:
        page.find_element(By.ID, "filter").send_keys("B.p")
        assert names_in_order(page) == ["b.png"]
        assert page.find_element(By.ID, "count").text == "1 of 3"
        page.find_element(By.ID, "filter").send_keys("x")
        assert names_in_order(page) == []
        assert page.find_element(By.ID, "nothing").is_displayed()

    def test_dark_follows_the_system_and_the_switch_which_is_kept(self, page: Chrome) -> None:
        light = colours(page)
        assert light[0] > 200 > 100 > light[1]
        prefer(page, "dark")
        dark = colours(page)
        assert dark[0] < 50 < 180 < dark[1]
        press(page, "#theme")
        assert colours(page) == light
        prefer(page, "light")
        press(page, "#theme")
        assert colours(page) == dark
        page.refresh()
        assert colours(page) == dark

    def test_korean_is_kept_and_says_everything(self, page: Chrome) -> None:
        strings: dict[str, dict[str, Any]] = page.execute_script("return STRINGS")
        assert strings["en"].keys() == strings["ko"].keys()
        english = page.find_element(By.TAG_NAME, "main").text
        press(page, "#language")
        page.refresh()
        settle(page)
        assert page.find_element(By.TAG_NAME, "html").get_attribute("lang") == "ko"
        korean = page.find_element(By.TAG_NAME, "main").text
        for bone in BONES:
            assert bone.korean in korean
            assert bone.english not in korean
        for group in Group:
            assert group.korean in korean
        words = set(re.findall(r"[A-Za-z]{3,}", korean))
        assert words <= {"Dice", "png", "handseg", "monai"}
        assert words < set(re.findall(r"[A-Za-z]{3,}", english))
        enlarge(page, "b.png")
        found = page.find_element(By.ID, "findings").text
        assert "오류 · 집게손가락 끝마디뼈: 마스크가 없습니다" in found
        assert re.search(r"갈고리뼈: 주변 뼈로 예상한 자리에서 \d+\.\d mm 벗어났습니다", found)


def visible(driver: Chrome) -> set[str]:
    """Bones of which an outline is to be seen on the first card."""
    card = all_of(driver, ".card[data-name='a.png']")[0]
    driver.execute_script("arguments[0].scrollIntoView({block: 'center'})", card)
    settle(driver)
    paths = card.find_elements(By.CSS_SELECTOR, ".outline")
    shown = {NAMES[int(p.get_attribute("data-bone") or -1)] for p in paths if p.is_displayed()}
    assert len(paths) == 2 * NUM_BONES
    return shown


def layers(driver: Chrome) -> set[str]:
    kinds = ("predicted", "truth")
    return {k for k in kinds if any(p.is_displayed() for p in all_of(driver, f".card .outline.{k}"))}


def colours(driver: Chrome) -> tuple[float, float]:
    """Mean brightness of the ground and of the text, 0 to 255."""
    script = "const s = getComputedStyle(document.body); return [s.backgroundColor, s.color]"
    ground, text = (np.mean([int(n) for n in re.findall(r"\d+", c)[:3]]) for c in driver.execute_script(script))
    return float(ground), float(text)


class TestKeysAndScreens:
    def test_keys_walk_open_zoom_pan_and_close(self, page: Chrome) -> None:
        first = all_of(page, ".card .name")[0]
        first.send_keys(Keys.ARROW_RIGHT)
        assert focused(page) == "a.png"
        page.switch_to.active_element.send_keys(Keys.END)
        assert focused(page) == "c.png"
        page.switch_to.active_element.send_keys(Keys.HOME)
        page.switch_to.active_element.send_keys(Keys.ENTER)
        viewer = page.find_element(By.ID, "viewer")
        assert page.find_element(By.ID, "viewer-title").text == "b.png"
        whole = box(page)
        viewer.send_keys("+")
        assert box(page)[2] == pytest.approx(whole[2] / 1.4)
        viewer.send_keys(Keys.SHIFT, Keys.ARROW_RIGHT, Keys.NULL)
        assert box(page)[0] > whole[0] + (whole[2] - box(page)[2]) / 2
        viewer.send_keys("0")
        assert box(page) == whole
        viewer.send_keys(Keys.ARROW_RIGHT)
        assert page.find_element(By.ID, "viewer-title").text == "a.png"
        viewer.send_keys(Keys.ESCAPE)
        settle(page)
        assert not viewer.is_displayed()
        assert focused(page) == "a.png"

    def test_the_wheel_zooms_about_the_pointer(self, page: Chrome, made: Made) -> None:
        enlarge(page, "a.png")
        place = inside(made.predicted["a.png"] | made.truth["a.png"], "Radius")
        assert list(hover(page, *place)) == ["Radius"]
        before = screen(page, place)
        page.execute_script(
            "document.querySelector('#stage').dispatchEvent(new WheelEvent('wheel', "
            "{deltaY: -800, clientX: arguments[0], clientY: arguments[1], cancelable: true}))",
            *before,
        )
        assert screen(page, place) == pytest.approx(before, abs=4)  # the event has whole pixels, enlarged 3.3 times
        assert list(hover(page, *place)) == ["Radius"]

    def test_focus_can_be_seen(self, page: Chrome) -> None:
        page.find_element(By.ID, "theme").send_keys(Keys.TAB)
        width = page.execute_script("return getComputedStyle(document.activeElement).outlineWidth")
        assert width == "2px"

    @pytest.mark.parametrize("width", [360, 390, 768, 1024, 1920])
    def test_nothing_runs_out_of_the_screen(self, driver: Chrome, made: Made, width: int) -> None:
        show(driver, made.page, width, 800)
        assert driver.execute_script("return document.documentElement.scrollWidth") <= width
        if width < 900:
            assert not driver.find_element(By.ID, "groups").is_displayed()
        enlarge(driver, "b.png")
        assert driver.find_element(By.ID, "stage").size["width"] >= 0.5 * width
        assert driver.find_element(By.ID, "close").is_displayed()


def focused(driver: Chrome) -> str:
    return driver.switch_to.active_element.text


def box(driver: Chrome) -> list[float]:
    (drawing,) = all_of(driver, "#stage svg")
    return [float(n) for n in (drawing.get_dom_attribute("viewBox") or "").split()]


def screen(driver: Chrome, place: tuple[int, int]) -> list[float]:
    script = (
        "const p = new DOMPoint(arguments[1], arguments[0])"
        ".matrixTransform(document.querySelector('#stage svg').getScreenCTM()); return [p.x, p.y]"
    )
    found: list[float] = driver.execute_script(script, *place)
    return found


FILL = """
const [width, height] = arguments;
const canvas = document.createElement("canvas");
Object.assign(canvas, { width, height });
const context = canvas.getContext("2d", { willReadFrequently: true });
return [...document.querySelectorAll("#stage .outline.predicted")].map((path) => {
  context.clearRect(0, 0, width, height);
  context.fill(new Path2D(path.getAttribute("d")), getComputedStyle(path).fillRule);
  const around = path.getBBox();
  const [left, top] = [around.x, around.y].map((value) => Math.max(0, Math.floor(value) - 2));
  const columns = Math.min(width - left, Math.ceil(around.width) + 4);
  const { data } = context.getImageData(left, top, columns, Math.min(height - top, Math.ceil(around.height) + 4));
  const inside = [];
  for (let at = 0; 4 * at < data.length; at++) {
    if (data[4 * at + 3] > 127) inside.push((top + Math.floor(at / columns)) * width + left + (at % columns));
  }
  return [Number(path.dataset.bone), inside];
});
"""
"""Pixels that each outline fills on a canvas of the image's size."""


def test_outlines_that_chromium_fills_are_the_masks_at_full_size(driver: Chrome, tmp_path: Path) -> None:
    of = render_phantom(99, 0, "left", PRESETS["standard"], 2048)
    planes = of.planes.copy()
    rows, columns = (slice(n - 12, n + 12) for n in inside(planes, "Radius"))
    planes[rows, columns] &= ~np.int32(1 << INDEX["Radius"])
    sizes = {}
    for page, names in (("twice", ["full.png", "again.png"]), ("page", ["full.png"])):
        (tmp_path / page).mkdir()
        for name in names:
            cv2.imwrite(str(tmp_path / page / name), of.image)
        rows_of = write_rows(tmp_path / f"{page}.csv", dict.fromkeys(names, planes))
        write_report(rows_of, tmp_path / page, tmp_path / f"{page}.html", progress=False)
        sizes[page] = (tmp_path / f"{page}.html").stat().st_size
    assert sizes["page"] + 287 * (sizes["twice"] - sizes["page"]) < 25e6  # as large again with a truth
    show(driver, tmp_path / "page.html")
    enlarge(driver, "full.png")
    height, width = planes.shape
    filled = driver.execute_script(FILL, width, height)
    assert {bone for bone, _ in filled} == {k for k in range(NUM_BONES) if (planes >> k & 1).any()}
    for bone, pixels in filled:
        found = np.zeros(planes.size, bool)
        found[pixels] = True
        expected = mask(planes, NAMES[bone]).ravel()
        assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.99, NAMES[bone]
        if NAMES[bone] == "Radius":
            hole = found.reshape(planes.shape)[rows, columns]
            assert hole.mean() < 0.02


def fill(path: str, shape: tuple[int, int]) -> np.ndarray:
    """Fill path data at the centres of pixels by the rule even-odd, crossing by crossing."""
    y, x = (np.arange(n) + 0.5 for n in shape)
    found = np.zeros(shape, bool)
    for ring in path.removesuffix("z").split("z"):
        numbers = [float(n) for n in re.findall(r"-?(?:\d+\.?\d*|\.\d+)", ring)]
        points = np.cumsum(np.reshape(numbers, (-1, 2)), axis=0)
        for (x0, y0), (x1, y1) in zip(points, np.roll(points, -1, axis=0), strict=True):
            rows = (y0 <= y) != (y1 <= y)
            if rows.any():
                crossing = x0 + (y[rows] - y0) * (x1 - x0) / (y1 - y0)
                found[rows] ^= x > crossing[:, None]
    return found


@pytest.mark.parametrize("seed", [0, 1])
def test_outlines_without_tolerance_are_exact(seed: int) -> None:
    rng = np.random.default_rng(seed)
    noise = cv2.GaussianBlur(rng.standard_normal((70, 90, 2)), (0, 0), 1.2) > 0.1
    planes = noise[..., 0].astype(np.int32) << 3 | noise[..., 1].astype(np.int32) << 28
    planes[0, 0] = planes[-1, -1] = 1 << 7
    found = outlines(planes, 0)
    assert found.keys() == {3, 7, 28}
    for bone, path in found.items():
        np.testing.assert_array_equal(fill(path, planes.shape), planes >> bone & 1 != 0)


def test_simplified_outlines_stay_near_and_keep_specks() -> None:
    planes = hand(2)
    planes[0, 0] = 1
    for bone, path in outlines(planes).items():
        found, expected = fill(path, planes.shape), planes >> bone & 1 != 0
        assert 2 * (found & expected).sum() / (found.sum() + expected.sum()) > 0.96
        core = cv2.erode(expected.astype(np.uint8), np.ones((3, 3))) > 0
        around = cv2.dilate(expected.astype(np.uint8), np.ones((3, 3))) > 0
        assert found[core].all()
        assert not found[~around].any()
    assert outlines(np.zeros((4, 5), np.int32)) == {}
    assert "M.5" in outlines(planes)[0] or "M1,.5" in outlines(planes)[0] or "M0.5" in outlines(planes)[0]


class TestNoHarm:
    def test_nothing_is_asked_of_a_network_and_nothing_is_complained_of(self, driver: Chrome, made: Made) -> None:
        for log in ("browser", "performance"):
            driver.get_log(log)
        show(driver, made.page)
        enlarge(driver, "b.png")
        press(driver, "#close")
        press(driver, "#language")
        messages = [json.loads(entry["message"])["message"] for entry in driver.get_log("performance")]
        asked = [m["params"]["request"]["url"] for m in messages if m["method"] == "Network.requestWillBeSent"]
        assert made.page.as_uri() in asked
        assert all(url == made.page.as_uri() or url.startswith("data:image/webp;base64,") for url in asked)
        assert driver.get_log("browser") == []
        assert set(re.findall(r"https?://[\w./]*", made.page.read_text())) == {"http://www.w3.org/2000/svg"}

    def test_hostile_names_are_shown_and_do_nothing(self, driver: Chrome, tmp_path: Path) -> None:
        names = [
            "<img src=x onerror=window.harm=1>.png",
            "</script><script>window.harm=1</script>.png",
            "<!--<script>.png",
            "\"'><svg onload=window.harm=1>&amp;.png",
            "{{script}}{{data}}.png",
            "__proto__.png",
            "이름 \u2028 ${window.harm=1}.png",
        ]
        for number, name in enumerate(names):
            (tmp_path / "images" / name).parent.mkdir(parents=True, exist_ok=True)
            (tmp_path / "images" / name).write_bytes(cv2.imencode(".png", np.full((40, 60), number, np.uint8))[1])
        prediction = write_rows(tmp_path / "<b>p.csv", {name: np.zeros((40, 60), np.int32) for name in names})
        write_report(prediction, tmp_path / "images", tmp_path / "page.html", progress=False)
        show(driver, tmp_path / "page.html")
        assert sorted(names_in_order(driver)) == sorted(names)
        enlarge(driver, "__proto__.png")
        assert driver.find_element(By.ID, "viewer-title").text == "__proto__.png"
        assert driver.title.startswith("<b>p.csv")
        assert driver.execute_script("return window.harm") is None
        assert not all_of(driver, "img, main b b, .card script")
        assert [entry for entry in driver.get_log("browser") if entry["level"] == "SEVERE"] == []

    def test_the_policy_stops_what_the_page_did_not_bring(self, page: Chrome) -> None:
        page.execute_script(
            "const s = document.createElement('script'); s.textContent = 'window.harm = 1'; document.body.append(s);"
            "const d = document.createElement('div'); d.innerHTML = '<img src=x onerror=\"window.harm = 1\">';"
            "document.body.append(d)"
        )
        settle(page)
        assert page.execute_script("return window.harm") is None


def test_without_a_truth_plausibility_and_areas_are_shown(driver: Chrome, made: Made, tmp_path: Path) -> None:
    write_report(made.prediction, made.images, tmp_path / "page.html", progress=False)
    show(driver, tmp_path / "page.html")
    judged = {name: plausibility(planes) for name, planes in made.predicted.items()}
    assert names_in_order(driver) == sorted(judged, key=lambda n: (judged[n].plausible, judged[n].score, n))
    text = driver.find_element(By.TAG_NAME, "main").text
    assert "Dice" not in text
    assert f"{sum(j.plausible for j in judged.values())} of 3" in text
    assert not all_of(driver, ".outline.truth, #layers label")
    assert len(all_of(driver, "#strips .strip .median")) == NUM_BONES
    enlarge(driver, "a.png")
    found = hover(driver, *inside(made.predicted["a.png"], "Radius"))
    assert f"{mask(made.predicted['a.png'], 'Radius').sum():,} px" in found["Radius"]
    assert "Dice" not in found["Radius"]


@dataclass(frozen=True)
class TwoHands:
    """A submission of an image of both hands and one of one hand."""

    images: Path
    prediction: Path
    truth: Path
    predicted: dict[str, np.ndarray]
    true: dict[str, np.ndarray]


@pytest.fixture(scope="module")
def two_hands(tmp_path_factory: pytest.TempPathFactory) -> TwoHands:
    root = tmp_path_factory.mktemp("two")
    image, planes = both_hands(0, 1)
    (root / "images").mkdir()
    cv2.imwrite(str(root / "images" / "two.png"), image)
    cv2.imwrite(str(root / "images" / "one.png"), phantom(2).image)
    true = {"two.png#left": planes["left"], "two.png#right": planes["right"], "one.png": hand(2)}
    predicted = dict(true)
    predicted["two.png#left"] = without(moved(true["two.png#left"], "Hamate", 6, 0), "finger-4")
    predicted["two.png#right"] = moved(true["two.png#right"], "Scaphoid", 4, 3)
    prediction, truth = write_rows(root / "p.csv", predicted), write_rows(root / "t.csv", true)
    return TwoHands(root / "images", prediction, truth, predicted, true)


class TestBothHandsOfAnImage:
    @pytest.fixture
    def page(self, driver: Chrome, two_hands: TwoHands, tmp_path: Path) -> Chrome:
        page = tmp_path / "page.html"
        write_report(two_hands.prediction, two_hands.images, page, two_hands.truth, progress=False)
        return show(driver, page)

    def test_they_are_on_one_picture_and_the_worse_one_judges_it(self, page: Chrome, two_hands: TwoHands) -> None:
        assert names_in_order(page) == ["two.png", "one.png"]
        result = evaluate(two_hands.prediction, two_hands.truth, images=two_hands.images, progress=False)
        assert f"{result.mean_dice:.4f}" in page.find_element(By.ID, "figures").text
        assert "1 of 2" in page.find_element(By.ID, "figures").text
        first = all_of(page, ".card")[0]
        of_image = np.mean([result.dice[result.names.index(f"two.png#{side}")].mean() for side in ("left", "right")])
        assert first.find_element(By.CSS_SELECTOR, ".figures-line b").text == f"{of_image:.3f}"
        assert "0.00 left index distal phalanx" in first.text
        for side, count in (("left", NUM_BONES - 1), ("right", NUM_BONES)):
            assert len(first.find_elements(By.CSS_SELECTOR, f".outline.predicted.hand-{side}")) == count
            assert len(first.find_elements(By.CSS_SELECTOR, f".outline.truth.hand-{side}")) == NUM_BONES

    def test_hover_tells_the_side_and_lights_one_hand(self, page: Chrome, two_hands: TwoHands) -> None:
        enlarge(page, "two.png")
        for side in ("left", "right"):
            planes = two_hands.predicted[f"two.png#{side}"]
            found = hover(page, *inside(planes, "Radius"))
            assert f"{side} radius" in found["Radius"]
            assert f"{mask(planes, 'Radius').sum():,} px" in found["Radius"]
            lit = all_of(page, "#stage .outline.predicted.lit")
            assert [path.get_attribute("class") for path in lit] == [f"outline predicted bone-27 hand-{side} lit"]

    def test_the_table_has_them_side_by_side_and_findings_say_whose(self, page: Chrome, two_hands: TwoHands) -> None:
        enlarge(page, "two.png")
        heads = [
            [cell.text for cell in row.find_elements(By.TAG_NAME, "th")] for row in all_of(page, "#table thead tr")
        ]
        assert heads == [["", "Left hand", "Right hand"], ["Bone", "Area", "Dice", "Area", "Dice"]]
        assert len(all_of(page, "#table tbody tr")) == NUM_BONES
        for bone in ("finger-4", "Hamate", "Scaphoid", "Ulna"):
            cells = [cell.text for cell in all_of(page, f"#table tr[data-bone='{INDEX[bone]}'] td")]
            expected: list[str] = []
            for side in ("left", "right"):
                a, b = (mask(of[f"two.png#{side}"], bone) for of in (two_hands.predicted, two_hands.true))
                expected += [f"{a.sum():,} px", f"{2 * (a & b).sum() / (a.sum() + b.sum()):.3f}"]
            assert cells == expected
        findings = [item.text for item in all_of(page, "#findings li")]
        assert findings[0] == "Left hand: index distal phalanx is missing"
        assert all(text.startswith("Left hand: ") for text in findings)
        figures = page.find_element(By.ID, "viewer-figures").text
        assert re.search(r"Left hand\nImplausible · 0\.\d\d\nRight hand\nPlausible · 1\.00", figures)

    def test_a_hand_is_switched_off_with_its_mark(self, page: Chrome) -> None:
        def shown() -> set[str]:
            nodes = [n for n in all_of(page, ".card[data-name='two.png'] svg [class*='hand-']") if n.is_displayed()]
            return {
                side for node in nodes for side in ("left", "right") if f"hand-{side}" in node.get_attribute("class")
            }

        settle(page)
        assert [mark.text for mark in all_of(page, ".card .side-mark")] == ["Left hand", "Right hand"]
        assert shown() == {"left", "right"}
        press(page, "#layers [data-layer='left']")
        assert shown() == {"right"}
        assert all_of(page, ".card[data-name='one.png'] .outline")[0].is_displayed()
        press(page, "#layers [data-layer='right']")
        assert shown() == set()
        press(page, "#layers [data-layer='left']")
        assert shown() == {"left"}

    def test_marks_lie_on_the_picture_apart_from_one_another(self, page: Chrome) -> None:
        for name in ("card", "stage"):
            if name == "stage":
                enlarge(page, "two.png")
            picture = all_of(page, f".{name} svg image")[0].rect
            left, right = (mark.rect for mark in all_of(page, f".{name} .side-mark"))
            assert picture["x"] <= left["x"] < left["x"] + left["width"] < right["x"]
            assert right["x"] + right["width"] <= picture["x"] + picture["width"]
            assert all(picture["y"] <= m["y"] < picture["y"] + picture["height"] / 2 for m in (left, right))

    def test_korean_names_the_hands(self, page: Chrome) -> None:
        settle(page)
        press(page, "#language")
        assert [mark.text for mark in all_of(page, ".card .side-mark")] == ["왼손", "오른손"]
        assert [tick.text for tick in all_of(page, "#layers label")] == ["예측", "정답", "왼손", "오른손"]
        assert "왼손 집게손가락 끝마디뼈" in all_of(page, ".card")[0].text
        enlarge(page, "two.png")
        assert [head.text for head in all_of(page, "#table thead .hand")] == ["왼손", "오른손"]
        assert "왼손: 오류 · 집게손가락 끝마디뼈: 마스크가 없습니다" in page.find_element(By.ID, "findings").text

    def test_a_label_of_one_hand_scores_the_hand_that_it_lies_over(
        self, driver: Chrome, two_hands: TwoHands, tmp_path: Path
    ) -> None:
        one = {"two.png": two_hands.true["two.png#right"], "one.png": two_hands.true["one.png"]}
        truth = write_rows(tmp_path / "one.csv", one)
        done = write_report(two_hands.prediction, two_hands.images, tmp_path / "page.html", truth, progress=False)
        assert done.evaluation is not None
        assert done.evaluation.chosen == {"two.png": "two.png#right"}
        show(driver, tmp_path / "page.html")
        enlarge(driver, "two.png")
        assert not all_of(driver, "#stage .outline.truth.hand-left")
        assert len(all_of(driver, "#stage .outline.truth.hand-right")) == NUM_BONES
        cells = [cell.text for cell in all_of(driver, f"#table tr[data-bone='{INDEX['Ulna']}'] td")]
        assert (cells[1], cells[3]) == ("–", "1.000")

    def test_images_of_one_hand_have_no_switches_and_marks_of_hands(self, page: Chrome, made: Made) -> None:
        assert all_of(page, "#layers [data-layer='left']")
        show(page, made.page)
        assert not all_of(page, "#layers [data-layer='left'], .side-mark")


def test_only_images_in_view_are_drawn(driver: Chrome, tmp_path: Path) -> None:
    planes = np.zeros((60, 60), np.int32)
    planes[10:40, 10:40] = 1 << 28
    for number in range(150):
        cv2.imwrite(str(tmp_path / f"{number}.png"), np.full((60, 60), number, np.uint8))
    rows = {f"{number}.png": planes for number in range(150)}
    write_report(write_rows(tmp_path / "p.csv", rows), tmp_path, tmp_path / "page.html", progress=False)
    show(driver, tmp_path / "page.html")
    heights = driver.execute_script("return document.documentElement.scrollHeight")
    driver.execute_script("scrollTo(0, document.documentElement.scrollHeight)")
    for _ in range(10):
        settle(driver)
    assert 3 < len(all_of(driver, ".card svg")) < 60
    assert all_of(driver, ".card:last-child svg")
    assert not all_of(driver, ".card:first-child svg")
    assert driver.execute_script("return document.documentElement.scrollHeight") == heights


class TestBadInput:
    def test_rows_without_an_image_and_images_without_rows(self, made: Made, tmp_path: Path) -> None:
        page = tmp_path / "page.html"
        some = write_rows(tmp_path / "some.csv", {n: made.predicted[n] for n in ("a.png", "c.png")})
        for truth in (None, made.labels):
            with pytest.raises(ValueError, match=r"some\.csv: lacks 1 image \(b\.png\); --missing zero counts"):
                write_report(some, made.images, page, truth, progress=False)
            skipped = write_report(some, made.images, page, truth, "skip", progress=False)
            assert (sorted(skipped.names), skipped.missing_images) == (["a.png", "c.png"], ["b.png"])
            zero = write_report(some, made.images, page, truth, "zero", progress=False)
            assert sorted(zero.names) == ["a.png", "b.png", "c.png"]
        assert evaluate(some, made.labels, "zero", progress=False).mean_dice == zero.evaluation.mean_dice  # type: ignore[union-attr]
        (tmp_path / "none").mkdir()
        with pytest.raises(ValueError, match=r"lacks 3 of the images \(a\.png"):
            write_report(made.prediction, tmp_path / "none", page, progress=False)

    def test_rows_that_are_missing(self, driver: Chrome, made: Made, tmp_path: Path) -> None:
        some = write_rows(tmp_path / "some.csv", made.predicted, (("a.png", "Radius"), ("a.png", "Ulna")))
        with pytest.raises(ValueError, match=r"lacks 2 rows \(a\.png Radius, a\.png Ulna\)"):
            write_report(some, made.images, tmp_path / "page.html", progress=False)
        write_report(some, made.images, tmp_path / "page.html", made.labels, "skip", progress=False)
        show(driver, tmp_path / "page.html")
        enlarge(driver, "a.png")
        (row,) = all_of(driver, f"#table tr[data-bone='{INDEX['Radius']}']")
        assert "no row" in row.text
        assert row.text.endswith("–")

    def test_sizes_that_differ_and_names_that_come_twice(self, made: Made, tmp_path: Path) -> None:
        (tmp_path / "images" / "x").mkdir(parents=True)
        for name in made.predicted:
            cv2.imwrite(str(tmp_path / "images" / name), np.zeros((512, 600), np.uint8))
        with pytest.raises(ValueError, match=r"a\.png: 512 x 600 pixels; .*a\.png, which has the label, 512 x 512"):
            write_report(made.prediction, tmp_path / "images", tmp_path / "page.html", made.labels, progress=False)
        cv2.imwrite(str(tmp_path / "images" / "a.png"), np.zeros((20, 20), np.uint8))
        with pytest.raises(ValueError, match=r"prediction\.csv: image a\.png: .*past the end"):
            write_report(made.prediction, tmp_path / "images", tmp_path / "page.html", progress=False)
        cv2.imwrite(str(tmp_path / "images" / "x" / "a.png"), np.zeros((20, 20), np.uint8))
        with pytest.raises(ValueError, match=r"two images of the name a\.png"):
            write_report(made.prediction, tmp_path / "images", tmp_path / "page.html", progress=False)
        assert not (tmp_path / "page.html").exists()

    def test_a_page_is_whole_or_the_old_one(self, made: Made, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        def interrupt(*_: object) -> None:
            raise KeyboardInterrupt

        (tmp_path / "page.html").write_text("old")
        monkeypatch.setattr("handseg_monai.report.results.outlines", interrupt)
        with pytest.raises(KeyboardInterrupt):
            write_report(made.prediction, made.images, tmp_path / "page.html", progress=False)
        assert [path.name for path in tmp_path.iterdir()] == ["page.html"]
        assert (tmp_path / "page.html").read_text() == "old"

    def test_command(self, made: Made, tmp_path: Path) -> None:
        def run(*more: object) -> Done:
            return handseg("report", made.prediction, "--images", made.images, *more)

        done = run("--truth", made.labels, "--out", tmp_path / "page.html", "--size", 256)
        assert done.returncode == 0, done.stderr
        assert re.search(r"mean Dice 0\.\d{6} of 3 images\n.*page\.html: 3 images, 0\.\d MB", done.stdout)
        for bad, message in (
            (("--out", tmp_path), "is a folder"),
            (("--out", tmp_path / "q.html", "--size", 5), "expected a longer side"),
            (("--out", tmp_path / "q.html", "--truth", tmp_path), "no dataset"),
        ):
            failed = run(*bad)
            assert failed.returncode == 2
            assert message in failed.stderr
            assert len(failed.stderr.strip().splitlines()) == 1
        assert [path.name for path in tmp_path.iterdir()] == ["page.html"]


def test_measures_are_shown_and_one_that_is_pressed_is_drawn(driver: Chrome, made: Made, tmp_path: Path) -> None:
    write_report(made.prediction, made.images, tmp_path / "page.html", progress=False)
    text = (tmp_path / "page.html").read_text()
    measures = [
        {
            "name": "length finger-12",
            "value": 64.31,
            "unit": "mm",
            "says": "at the detector",
            "lines": [[[100, 120], [140, 300]]],
            "reference": True,
        },
        {"name": "width finger-12", "value": 9.2, "unit": "mm", "says": "on the film", "lines": []},
        {"name": "ulnar variance", "value": None, "unit": "mm", "reason": "finger-4 is not there", "lines": []},
    ]
    reference = {
        "mean": 65.2,
        "sd": 4.1,
        "range": [58, 73],
        "unit": "mm",
        "population": "healthy adults",
        "source": "<b>Somebody</b> 1972",
    }

    def change(name: str, change: Callable[[Any], None]) -> None:
        nonlocal text
        (found,) = re.findall(rf'id="{name}">(.*)</script>', text)
        content = json.loads(found)
        change(content)
        text = text.replace(found, json.dumps(content).replace("<", "\\u003c"))

    shown = [name for name in re.findall(r'"name":"([^"]+)"', text) if name.endswith(".png")]
    change(f"image-{shown.index('a.png')}", lambda content: content["hands"][0].update(measures=measures))
    change("summary", lambda content: content["references"].update({"length finger-12": reference}))
    (tmp_path / "page.html").write_text(text)
    show(driver, tmp_path / "page.html")
    enlarge(driver, "a.png")
    rows = {row.get_attribute("data-measure"): row for row in all_of(driver, "#measures tbody tr")}
    assert list(rows) == ["ulnar variance", "length finger-12", "width finger-12"]  # those of single bones come last
    length = rows["length finger-12"]
    assert not length.is_displayed()
    press(driver, "#sizes summary")
    assert driver.find_element(By.ID, "plane").text == "Lengths at the detector."
    assert "at the detector" not in length.text
    assert "on the film" in rows["width finger-12"].text
    assert length.text.startswith(f"Length · {BONES[INDEX['finger-12']].english} 64.3 mm")
    assert "65.2 ± 4.1" in length.text
    assert "index distal phalanx is not there" in rows["ulnar variance"].text
    length.find_element(By.TAG_NAME, "button").send_keys(Keys.ENTER)
    (line,) = all_of(driver, "#stage .measure-lines .over")
    assert [line.get_dom_attribute(name) for name in ("x1", "y1", "x2", "y2")] == ["100", "120", "140", "300"]
    assert length.find_element(By.TAG_NAME, "button").get_attribute("aria-pressed") == "true"
    press(driver, "#sizes-table summary")
    assert "<b>Somebody</b> 1972" in length.text
    length.find_element(By.TAG_NAME, "button").click()
    assert not all_of(driver, "#stage .measure-lines")
    for _ in range(7):
        press(driver, "#larger")
    driver.switch_to.active_element.send_keys(Keys.SHIFT, Keys.ARROW_LEFT * 9, Keys.NULL)
    length.find_elements(By.TAG_NAME, "td")[0].click()  # the whole row answers to the pointer
    (line,) = all_of(driver, "#stage .measure-lines .over")
    box = "return arguments[0].getBoundingClientRect().toJSON()"
    seen = driver.execute_script(box, line)
    frame = driver.execute_script(box, driver.find_element(By.ID, "stage"))
    assert frame["left"] <= seen["left"] <= seen["right"] <= frame["right"]
    assert frame["top"] <= seen["top"] <= seen["bottom"] <= frame["bottom"]
    rows["width finger-12"].find_elements(By.TAG_NAME, "td")[0].click()  # has no lines
    assert length.find_element(By.TAG_NAME, "button").get_attribute("aria-pressed") == "true"
