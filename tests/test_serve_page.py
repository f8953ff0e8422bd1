"""The page of ``handseg serve`` in a real Chromium: what is done on it is what the server keeps, and nobody else's."""

from __future__ import annotations

import ast
import io
import re
import shutil
import time
import zipfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest
from pydicom import dcmread
from selenium.webdriver import Chrome
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys
from selenium.webdriver.remote.webelement import WebElement

from handseg_monai import measure
from handseg_monai.bones import BONES, INDEX, NUM_BONES
from handseg_monai.data.labels.converted import read_planes
from handseg_monai.data.reading import images
from handseg_monai.files import exclusive, write_json
from handseg_monai.inferers.planes import IN_THE_NEGATIVE
from handseg_monai.plausibility.hand_proportions import proportions
from handseg_monai.plausibility.judge import plausibility
from handseg_monai.report import content
from handseg_monai.rle import decode_image, read_csv
from handseg_monai.serve import service
from handseg_monai.serve.folder import digest
from handseg_monai.serve.journal import Journal
from tests.browser import CHROMIUM, DRIVER, chromium, drag, drop_files, prefer, resize, settle
from tests.dicoms import write_dicom
from tests.hands import mask, phantom
from tests.served import Served, save_quick, served

SCAPHOID = INDEX["Scaphoid"]


@dataclass
class Bench:
    """A browser, a server with two radiographs, and where both keep things."""

    driver: Chrome
    server: Served
    work: Path
    downloads: Path
    weights: Path
    servers: ExitStack

    def load(self, address: str = "") -> None:
        self.driver.get(f"http://127.0.0.1:{self.server.port}/{address}")
        self.until(lambda: self.find("#main") and self.find("#main")[0].is_displayed())

    def restart(self) -> None:
        """Kill the server at once, and start another one on the same folder."""
        self.server.process.kill()
        self.server.process.wait()
        self.server = self.servers.enter_context(served(self.work, "--checkpoint", self.weights))

    def find(self, selector: str) -> list[WebElement]:
        return self.driver.find_elements(By.CSS_SELECTOR, selector)

    def one(self, selector: str) -> WebElement:
        return self.driver.find_element(By.CSS_SELECTOR, selector)

    def press(self, selector: str) -> None:
        self.one(selector).click()

    def keys(self, *keys: str) -> None:
        self.driver.switch_to.active_element.send_keys(*keys)

    def until(self, is_so: Callable[[], object], seconds: float = 60) -> None:
        end = time.monotonic() + seconds
        while not is_so():
            assert time.monotonic() < end, f"waited in vain; the page shows {self.shown}"
            time.sleep(0.05)

    @property
    def shown(self) -> str:
        """What one would look at to find out why something does not happen."""
        if not self.find("#viewer[open]"):
            return self.one("body").text
        texts = {name: self.one(f"#{name}").text for name in ("viewer-title", "said", "done", "undo", "redo")}
        return f"{texts}, saving {self.one('#viewer').get_attribute('data-saving')}, at {self.driver.current_url}"

    @property
    def said(self) -> str:
        return self.one("#said").text if self.find("#viewer[open]") else self.one("body").text

    def saved(self) -> None:
        """Wait until the server has all that was done."""
        self.until(lambda: self.find("#viewer[data-saving='false']") and not self.find(".sent"))

    def open(self, name: str) -> str:
        """Open an image, and return its id."""
        self.press(f".card[data-name='{name}'] .name")
        self.until(lambda: self.find("#viewer[open] #stage .outline"))
        return str(self.driver.execute_script("return location.hash.slice(1)"))

    def choose(self, bone: str) -> None:
        self.press(f"#bone option[value='{INDEX[bone]}']")

    def place(self, x: float, y: float) -> tuple[int, int]:
        """Where a place of the image lies in the window."""
        script = (
            "const p = new DOMPoint(arguments[0], arguments[1])"
            ".matrixTransform(document.querySelector('#stage svg').getScreenCTM()); return [p.x, p.y]"
        )
        x, y = self.driver.execute_script(script, float(x), float(y))
        return round(x), round(y)

    def box(self, bone: str) -> tuple[float, float, float, float]:
        """Left, top, width and height of a bone's outline, in pixels of the image."""
        script = "const b = document.querySelector(arguments[0]).getBBox(); return [b.x, b.y, b.width, b.height]"
        left, top, width, height = self.driver.execute_script(script, f"#stage .outline.bone-{INDEX[bone]}")
        return left, top, width, height

    def planes(self, id: str) -> np.ndarray:
        """Bit planes of an image as the server has them on its disk now."""
        overview = self.server.get(f"/api/images/{id}?only=outlines")["overview"]
        planes = read_planes(self.work / "planes" / f"{id}.npz", (overview["height"], overview["width"]))
        return Journal(self.work / "edits" / f"{id}.jsonl").replayed(planes)

    def handed_on(self, id: str) -> np.ndarray:
        """Bit planes of an image as the server hands them on now."""
        answer = self.server.ask("GET", f"/api/export/csv?ids={id}")
        assert answer.status == 200, answer.body
        path = self.work.parent / "now.csv"
        path.write_bytes(answer.body)
        ((name, texts),) = read_csv(path).items()
        overview = self.server.get(f"/api/images/{id}")["overview"]
        return decode_image(path, name, texts, (overview["height"], overview["width"]))

    def messages(self) -> list[str]:
        """What the browser complained of since it was asked last."""
        return [entry["message"] for entry in self.driver.get_log("browser")]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """A page on which a PNG and a DICOM file were dropped, and are segmented."""
    if not (CHROMIUM and DRIVER):
        pytest.skip("no chromium and chromedriver; apt-get install chromium chromium-driver")
    root = tmp_path_factory.mktemp("page")
    weights = save_quick(root / "quick.pt")
    cv2.imwrite(str(root / "a hand.png"), phantom(0).image)
    pixels = phantom(1).image.astype(np.uint16) * 16
    write_dicom(root / "손.dcm", pixels, BitsStored=12, BodyPartExamined="HAND")
    (root / "downloads").mkdir()
    with chromium() as driver, ExitStack() as servers:
        server = servers.enter_context(served(root / "work", "--checkpoint", weights))
        bench = Bench(driver, server, root / "work", root / "downloads", weights, servers)
        driver.execute_cdp_cmd(
            "Browser.setDownloadBehavior", {"behavior": "allow", "downloadPath": str(bench.downloads)}
        )
        resize(driver, 1360, 900)
        bench.load()
        drop_files(driver, "#drop", [root / "a hand.png", root / "손.dcm"])
        bench.until(lambda: len(bench.find(".card[data-state='ready']")) == 2, 300)
        yield bench


@pytest.fixture
def page(bench: Bench) -> Iterator[Bench]:
    """The page as one sees it first; afterwards the browser has nothing to complain of."""
    resize(bench.driver, 1360, 900)
    prefer(bench.driver, "light")
    bench.load()
    bench.messages()
    yield bench
    bench.driver.execute_script("localStorage.clear()")
    assert bench.messages() == []


def rub_half(page: Bench, bone: str) -> None:
    """Rub out the upper half of a bone, roughly, by one stroke of the mouse."""
    page.choose(bone)
    left, top, width, height = page.box(bone)
    page.press("#modes [data-tool='erase']")
    page.driver.execute_script(
        "const r = document.querySelector('#radius'); r.value = arguments[0]; r.dispatchEvent(new Event('input'))",
        round(height / 4),
    )
    drag(page.driver, [page.place(left, top + height / 4), page.place(left + width, top + height / 4)])


def differing(a: np.ndarray, b: np.ndarray) -> int:
    """Bits of the bones that differ somewhere."""
    return int(np.bitwise_or.reduce(a ^ b, axis=None))


class TestDropped:
    def test_both_files_are_shown_with_their_bones_and_names(self, page: Bench) -> None:
        assert sorted(card.get_attribute("data-name") or "" for card in page.find(".card")) == ["a hand.png", "손.dcm"]
        for name in ("a hand.png", "손.dcm"):
            id = page.open(name)
            assert page.one("#viewer-title").text == name
            assert len(page.find("#stage .outline")) == NUM_BONES
            assert page.driver.execute_script("return document.querySelector('#stage image').href.baseVal") == (
                f"/api/images/{id}/picture?low=0.00&high=1.00&side=512"
            )
            page.press("#close")
        assert "Whoever uses this computer" in page.one("#privacy").text

    def test_what_is_no_radiograph_is_said_in_words_and_can_be_removed(self, page: Bench, tmp_path: Path) -> None:
        png = page.work.with_name("a hand.png").read_bytes()
        (tmp_path / "<img src=x onerror=alert(1)>.png").write_bytes(png[: len(png) // 2])
        (tmp_path / "empty.png").write_bytes(b"")
        (tmp_path / "notes.txt").write_text("no picture")
        drop_files(page.driver, "#drop", [tmp_path / "gone.png", *tmp_path.iterdir()])
        page.until(lambda: page.one("#uploads-again").is_displayed())
        refused = dict(line.text.split("\n")[:2] for line in page.find("#uploads-list li"))
        assert refused["empty.png"] == "the file is empty"
        assert len(refused["notes.txt"]) > 20
        assert refused["gone.png"] == "the file is empty"  # so browsers show what is not there
        (tmp_path / "notes.txt").unlink()
        page.press("#uploads-again")
        page.until(lambda: "notes.txt\nthe browser can't read it" in page.one("#uploads-list").text)
        page.until(lambda: page.one("#uploads-again").is_displayed())
        page.until(lambda: page.find(".card[data-state='failed']"))
        (card,) = page.find(".card[data-state='failed']")
        assert card.find_element(By.CSS_SELECTOR, ".name").text == "<img src=x onerror=alert(1)>.png"
        assert len(card.find_element(By.CSS_SELECTOR, ".figures-line .warning").text) > 20
        remove = card.find_element(By.CSS_SELECTOR, ".remove")
        near = page.driver.execute_script("return arguments[0].nextSibling ?? arguments[0].previousSibling", card)
        remove.click()
        assert "for good" in remove.text
        page.keys(Keys.SHIFT, Keys.TAB, Keys.NULL)
        assert remove.text == "×"
        page.driver.execute_script("arguments[0].click()", remove)  # a click that gives no focus, as in Safari
        assert page.driver.switch_to.active_element == remove
        offline(page.driver, True)
        remove.click()
        page.until(lambda: "connection is lost" in remove.text)
        assert remove.get_attribute("aria-label") == remove.text
        offline(page.driver, False)
        remove.click()
        assert "for good" in remove.text
        remove.click()
        page.until(lambda: len(page.find(".card")) == 2)
        assert page.driver.switch_to.active_element == near.find_element(By.CSS_SELECTOR, ".name")
        page.until(lambda: page.one("#uploads-clear").is_displayed())
        page.press("#uploads-clear")
        assert not page.one("#uploads").is_displayed()
        assert [m for m in page.messages() if not re.search("Failed to load|ERR_INTERNET_DISCONNECTED", m)] == []


def test_rubbed_out_undone_redone_done_and_still_there_after_a_restart(page: Bench) -> None:
    id = page.open("a hand.png")
    before = page.planes(id)
    rub_half(page, "Scaphoid")
    page.saved()
    rubbed = page.planes(id)
    assert differing(before, rubbed) == 1 << SCAPHOID
    assert 0.2 < mask(rubbed, "Scaphoid").sum() / mask(before, "Scaphoid").sum() < 0.8
    assert not (mask(rubbed, "Scaphoid") & ~mask(before, "Scaphoid")).any()
    assert page.box("Scaphoid")[1] == np.flatnonzero(mask(rubbed, "Scaphoid").any(axis=1))[0]
    page.keys(Keys.CONTROL, "z", Keys.NULL)
    page.saved()
    np.testing.assert_array_equal(page.planes(id), before)
    page.keys(Keys.CONTROL, Keys.SHIFT, "z", Keys.NULL)
    page.saved()
    np.testing.assert_array_equal(page.planes(id), rubbed)
    page.choose("Lunate")
    page.press("#unknown")
    page.press("#done")
    page.until(lambda: page.one("#done").get_attribute("aria-pressed") == "true")
    page.saved()
    page.driver.refresh()
    page.until(lambda: page.find("#viewer[open] #stage .outline"))

    def is_as_left() -> None:
        assert page.one("#viewer-title").text == "a hand.png"
        assert page.one("#done").text == "✓ Done"
        assert page.one(f"#bone option[value='{INDEX['Lunate']}']").text == "lunate (unknown)"
        assert page.find(f"#stage .outline.unknown.bone-{INDEX['Lunate']}")
        shown = page.server.get(f"/api/images/{id}")
        assert (shown["done"], shown["unknown"], shown["undo"]) == (True, [INDEX["Lunate"]], 2)

    is_as_left()
    page.restart()
    page.messages()  # of the page that was open then
    page.load(f"#{id}")
    page.until(lambda: page.find("#viewer[open] #stage .outline"))
    is_as_left()
    np.testing.assert_array_equal(page.planes(id), rubbed)
    assert differing(page.handed_on(id), rubbed) == 1 << INDEX["Lunate"]  # what is unknown is not handed on
    page.press("#undo")
    page.saved()
    assert page.said == "The image is no longer marked as done."
    page.press("#undo")
    page.saved()
    np.testing.assert_array_equal(page.planes(id), before)


class TestTools:
    def test_brush_and_areas_change_the_chosen_bone_alone(self, page: Bench) -> None:
        id = page.open("손.dcm")
        before = page.planes(id)
        page.choose("Radius")
        page.press("#modes [data-tool='brush']")
        drag(page.driver, [page.place(40, 60), page.place(80, 60)])
        page.saved()
        brushed = page.planes(id)
        radius = int(page.one("#radius").get_attribute("value") or 0)
        line = np.zeros(before.shape, np.uint8)
        cv2.line(line, (40, 60), (80, 60), 1, 2 * radius)
        added = mask(brushed, "Radius") & ~mask(before, "Radius")
        assert 2 * (added & (line > 0)).sum() / (added.sum() + line.sum()) > 0.95
        page.press("#modes [data-tool='cut']")
        corners = [(30, 30), (60, 30), (60, 90), (30, 90)]
        for corner in [*corners, corners[0]]:
            drag(page.driver, [page.place(*corner)])
        page.saved()
        cut = page.planes(id)
        rows, columns = np.nonzero(mask(brushed, "Radius") & ~mask(cut, "Radius"))
        assert (rows.min(), columns.max()) == (60 - radius, 59)
        page.press("#modes [data-tool='add']")
        for corner in [(100, 20), (120, 20), (120, 40)]:
            drag(page.driver, [page.place(*corner)])
        page.keys(Keys.ENTER)
        page.saved()
        new = mask(page.planes(id), "Radius") & ~mask(cut, "Radius")
        assert new.sum() == pytest.approx(200, abs=25)
        assert differing(before, page.planes(id)) == 1 << INDEX["Radius"]
        for _ in range(3):
            page.press("#undo")
        page.saved()
        np.testing.assert_array_equal(page.planes(id), before)

    def test_a_stroke_of_keys_and_one_of_the_mouse_after_it_both_count(self, page: Bench) -> None:
        id = page.open("a hand.png")
        before = page.planes(id)
        page.choose("Ulna")
        page.one("#stage").click()
        page.keys("b", " ", Keys.ARROW_RIGHT)
        drag(page.driver, [page.place(30, 30), page.place(60, 30)])
        page.saved()
        after = page.planes(id)
        assert differing(before, after) == 1 << INDEX["Ulna"]
        assert mask(after, "Ulna")[30, 45]
        assert page.server.get(f"/api/images/{id}")["revision"] >= 2
        assert not page.find("#stage .stroke")
        for _ in range(2):
            page.press("#undo")
        page.saved()
        np.testing.assert_array_equal(page.planes(id), before)

    def test_an_area_closes_by_a_double_click_and_stays_open_at_a_later_one(self, page: Bench) -> None:
        id = page.open("손.dcm")
        before = page.planes(id)
        page.choose("Radius")
        page.press("#modes [data-tool='add']")
        for corner in [(100, 20), (120, 20), (120, 40)]:
            drag(page.driver, [page.place(*corner)])
        time.sleep(0.5)  # longer than the two clicks of a double click are apart
        x, y = page.place(120, 40)
        drag(page.driver, [(x - 3, y + 3)])
        assert page.find("#stage polygon.stroke.add:not(.sent)")
        double = ActionBuilder(page.driver, duration=10)
        double.pointer_action.move_to_location(*page.place(100, 60)).click().click()
        double.perform()
        page.saved()
        assert not page.find("#stage polygon.stroke")
        new = mask(page.planes(id), "Radius") & ~mask(before, "Radius")
        assert new.sum() == pytest.approx(600, abs=60)
        page.press("#undo")
        page.saved()

    def test_a_tiny_image_leaves_the_brush_as_it_was(self, page: Bench) -> None:
        page.open("a hand.png")
        radius = page.one("#radius-value").text
        assert radius == f"{round(max(phantom(0).image.shape) / 80)} px"
        page.press("#close")
        tiny = cv2.imencode(".png", np.full((8, 8), 90, np.uint8))[1].tobytes()
        id = page.server.upload(tiny, "tiny.png").json()["id"]
        page.until(lambda: page.find(".card[data-name='tiny.png'][data-state='ready']"), 120)
        page.press(".card[data-name='tiny.png'] .name")
        page.until(lambda: page.find("#viewer[open] #stage svg"))
        assert page.one("#radius-value").text == "1 px"
        page.press("#close")
        page.open("a hand.png")
        assert page.one("#radius-value").text == radius
        page.press("#close")
        assert page.server.ask("DELETE", f"/api/images/{id}", headers={"X-Handseg": "1"}).status == 200
        page.until(lambda: len(page.find(".card")) == 2)

    def test_tools_say_how_they_are_used(self, page: Bench) -> None:
        page.open("a hand.png")
        for tool in ("add", "cut"):
            assert "double click" in str(page.one(f"#modes [data-tool='{tool}']").get_attribute("title"))
        assert page.one("#radius-field").text.startswith("Radius")

    def test_nothing_here_takes_the_bone_away_and_is_found_wrong(self, page: Bench) -> None:
        id = page.open("a hand.png")
        before = page.planes(id)
        page.choose("Capitate")
        page.press("#clear")
        page.saved()
        assert differing(before, page.planes(id)) == 1 << INDEX["Capitate"]
        assert not mask(page.planes(id), "Capitate").any()
        assert not page.find(f"#stage .outline.bone-{INDEX['Capitate']}")
        page.until(lambda: "Capitate is missing" in page.one("#findings").text)
        page.press("#undo")
        page.saved()
        np.testing.assert_array_equal(page.planes(id), before)

    @pytest.mark.slow
    def test_the_network_is_asked_again(self, page: Bench) -> None:
        id = page.open("a hand.png")
        before = page.planes(id)
        page.choose("Capitate")
        page.press("#clear")
        page.press("#ask")
        page.saved()
        after = page.planes(id)
        assert differing(before, after) in (0, 1 << INDEX["Capitate"])
        a, b = mask(before, "Capitate"), mask(after, "Capitate")
        assert 2 * (a & b).sum() / (a.sum() + b.sum()) > 0.8
        page.press("#undo")
        page.press("#undo")
        page.saved()
        np.testing.assert_array_equal(page.planes(id), before)

    def test_a_click_chooses_the_bone_and_the_next_click_the_one_below(self, page: Bench) -> None:
        id = page.open("a hand.png")
        planes = page.planes(id)
        both = mask(planes, "Pisiform") & mask(planes, "Triquetrum")
        row, column = np.argwhere(cv2.erode(both.astype(np.uint8), np.ones((3, 3))))[0]
        chosen = []
        for _ in range(2):
            drag(page.driver, [page.place(column + 0.5, row + 0.5)])
            chosen.append(page.one("#bone").get_attribute("value"))
        assert {int(bone or -1) for bone in chosen} == {INDEX["Pisiform"], INDEX["Triquetrum"]}

    def test_a_finger_draws_and_two_fingers_zoom(self, page: Bench) -> None:
        id = page.open("a hand.png")
        before = page.planes(id)
        page.choose("Ulna")
        page.press("#modes [data-tool='brush']")
        (x, y), (to_x, to_y) = page.place(30, 30), page.place(60, 30)

        def touch(kind: str, *places: tuple[int, int]) -> None:
            points = [{"x": x, "y": y, "id": n} for n, (x, y) in enumerate(places)]
            page.driver.execute_cdp_cmd("Input.dispatchTouchEvent", {"type": kind, "touchPoints": points})

        touch("touchStart", (x, y))
        touch("touchMove", (to_x, to_y))
        touch("touchEnd")
        page.saved()
        assert differing(before, page.planes(id)) == 1 << INDEX["Ulna"]
        view = page.one("#stage svg").get_dom_attribute("viewBox")
        drawn = page.planes(id)
        touch("touchStart", (x, y))
        touch("touchStart", (x, y), (to_x, to_y))
        touch("touchMove", (x - 30, y), (to_x + 30, to_y))
        touch("touchEnd")
        settle(page.driver)
        assert page.one("#stage svg").get_dom_attribute("viewBox") != view
        page.saved()
        np.testing.assert_array_equal(page.planes(id), drawn)
        page.press("#undo")
        page.saved()

    def test_the_window_is_pulled_and_then_drawn_by_the_server(self, page: Bench) -> None:
        page.open("손.dcm")
        page.press("#window summary")
        href = "return document.querySelector('#stage image').href.baseVal"
        filtered = "return document.querySelector('#stage image').hasAttribute('filter')"
        assert not page.driver.execute_script(filtered)
        page.one("#high").send_keys(Keys.ARROW_LEFT * 30)
        assert page.driver.execute_script(filtered)
        page.until(lambda: "low=0.00&high=0.70" in page.driver.execute_script(href))
        assert not page.driver.execute_script(filtered)
        drag(page.driver, [page.place(100, 100), page.place(140, 100)], shift=True)
        page.until(lambda: "high=0.70" not in page.driver.execute_script(href))
        page.press("#window-reset")
        page.until(lambda: "low=0.00&high=1.00" in page.driver.execute_script(href))


def test_keys_alone_open_correct_mark_and_close(page: Bench) -> None:
    id = {image["name"]: image["id"] for image in page.server.images()}["a hand.png"]
    before = page.planes(id)
    page.driver.execute_script("document.querySelector('.skip').focus()")
    page.keys(Keys.ENTER)
    for _ in range(12):
        page.keys(Keys.TAB)
        if page.driver.switch_to.active_element.get_attribute("class") == "plain name":
            break
    if page.driver.switch_to.active_element.text != "a hand.png":
        page.keys(Keys.ARROW_RIGHT)
    page.keys(Keys.ENTER)
    page.until(lambda: page.find("#viewer[open] #stage .outline"))
    page.keys("?")
    assert page.one("#help").is_displayed()
    page.keys(Keys.ESCAPE)
    assert not page.one("#help").is_displayed()
    page.keys("b")
    assert page.driver.switch_to.active_element.get_attribute("id") == "stage"
    assert page.driver.execute_script("return getComputedStyle(document.activeElement).outlineWidth") == "2px"
    bone = int(page.one("#bone").get_attribute("value") or -1)
    page.keys(".")
    assert int(page.one("#bone").get_attribute("value") or -1) == (bone + 1) % NUM_BONES
    page.keys("]", "]", " ", Keys.ARROW_DOWN * 12, Keys.ARROW_RIGHT * 4, " ")
    page.saved()
    assert differing(before, page.planes(id)) == 1 << (bone + 1) % NUM_BONES
    page.keys("d")
    page.saved()
    assert page.server.get(f"/api/images/{id}")["done"]
    page.keys(Keys.CONTROL, "z", Keys.NULL)
    page.saved()
    np.testing.assert_array_equal(page.planes(id), before)
    assert not page.server.get(f"/api/images/{id}")["done"]
    page.keys(Keys.ESCAPE)
    assert page.one("#modes [data-tool='look']").get_attribute("aria-checked") == "true"
    page.keys(Keys.ESCAPE)
    assert not page.find("#viewer[open]")
    assert page.driver.switch_to.active_element.text == "a hand.png"


def test_keys_work_after_a_button_has_done_all_it_can(page: Bench) -> None:
    def tool() -> str | None:
        return page.one("#modes [aria-checked='true']").get_attribute("data-tool")

    page.open("a hand.png")
    page.choose("Lunate")
    for button, act in (("#clear", Keys.ENTER), ("#undo", Keys.ENTER), ("#redo", ""), ("#undo", "")):
        page.one(button).send_keys(act) if act else page.press(button)
        page.saved()
        assert not page.one(button).is_enabled()
        page.keys("b")
        assert tool() == "brush", button
        page.keys("v")
    page.press("#viewer-title")
    page.keys("b")
    assert tool() == "brush"
    page.keys("v")
    page.press("#bones summary")
    page.press("#bones #all")
    name = page.one("#viewer-title").text
    is_first = page.find(".card")[0].get_attribute("data-name") == name
    page.keys(Keys.PAGE_DOWN if is_first else Keys.PAGE_UP)
    page.until(lambda: page.one("#viewer-title").text != name)
    page.driver.execute_script("document.querySelector('#done').focus()")  # as by Tab
    page.keys(Keys.PAGE_UP if is_first else Keys.PAGE_DOWN)
    page.until(lambda: page.one("#viewer-title").text == name)


def test_keys_of_one_character_can_be_turned_off_for_good(page: Bench) -> None:
    def tool() -> str | None:
        return page.one("#modes [aria-checked='true']").get_attribute("data-tool")

    page.open("a hand.png")
    page.press("#help-open")
    page.press("#characters input")
    page.keys(Keys.ESCAPE)
    page.driver.refresh()
    page.until(lambda: page.find("#viewer[open] #stage .outline"))
    bone = page.one("#bone").get_attribute("value")
    view = page.one("#stage svg").get_dom_attribute("viewBox")
    page.one("#stage").send_keys("b", ".", "+", "d", "?")
    assert (tool(), page.one("#bone").get_attribute("value")) == ("look", bone)
    assert page.one("#stage svg").get_dom_attribute("viewBox") == view
    assert not page.find("#help[open]")
    page.keys(Keys.SHIFT, Keys.ARROW_RIGHT, Keys.NULL)
    assert page.one("#stage svg").get_dom_attribute("viewBox") != view
    page.press("#help-open")
    page.press("#characters input")
    page.keys(Keys.ESCAPE)
    page.one("#stage").send_keys("b")
    assert tool() == "brush"


def test_back_returns_to_the_gallery_from_any_image(page: Bench) -> None:
    def shown() -> str:
        return page.one("#viewer-title").text if page.find("#viewer[open] #stage .outline") else ""

    first = page.find(".card")[0].get_attribute("data-name") or ""
    page.open(first)
    page.keys(Keys.PAGE_DOWN)
    page.until(lambda: shown() not in ("", first))
    second = shown()
    page.driver.back()
    page.until(lambda: not page.find("#viewer[open]"))
    assert page.driver.execute_script("return location.hash") == ""
    page.driver.forward()
    page.until(lambda: shown() == second)
    page.press("#close")
    page.until(lambda: page.driver.execute_script("return location.hash") == "")
    length = page.driver.execute_script("return history.length")
    for _ in range(3):
        page.open(first)
        page.press("#close")
    page.until(lambda: page.driver.execute_script("return location.hash") == "")
    assert page.driver.execute_script("return history.length") == length, "opening and closing leaves no trail"


def test_a_slow_step_back_to_the_gallery_leads_to_no_other_image(page: Bench) -> None:
    page.driver.execute_script("const go = history.back.bind(history); history.back = () => setTimeout(go, 1500)")
    page.open("a hand.png")
    page.press("#close")
    id = page.open("손.dcm")
    page.until(lambda: page.driver.execute_script("return history.state?.fromGallery"))
    time.sleep(1)
    assert page.one("#viewer-title").text == "손.dcm"
    assert page.driver.execute_script("return location.hash") == f"#{id}"


class TestTrouble:
    def test_an_address_without_its_image_says_so(self, page: Bench) -> None:
        page.load("#0123456789abcdef")
        page.until(lambda: page.one("#notice").text == "No image 0123456789abcdef is here. It may have been removed.")
        page.driver.execute_script("location.hash = 'gallery'")
        page.until(lambda: not page.one("#notice").is_displayed())

    def test_what_another_window_changes_is_shown_at_once_and_gone_on_from(self, page: Bench) -> None:
        id = page.open("a hand.png")
        before = page.planes(id)
        first = page.driver.current_window_handle
        page.driver.switch_to.new_window("window")
        second = page.driver.current_window_handle
        try:
            page.load(f"#{id}")
            page.until(lambda: page.find("#viewer[open] #stage .outline"))
            page.choose("Hamate")
            page.press("#clear")
            page.saved()
            page.driver.switch_to.window(first)
            page.until(lambda: "changed in another window" in page.said)
            assert not page.find(f"#stage .outline.bone-{INDEX['Hamate']}")
            page.until(lambda: "Hamate is missing" in page.one("#findings").text)
            page.choose("Ulna")
            page.press("#modes [data-tool='brush']")
            drag(page.driver, [page.place(30, 30), page.place(60, 30)])
            page.saved()
            assert differing(before, page.planes(id)) == 1 << INDEX["Hamate"] | 1 << INDEX["Ulna"]
            assert "changed" not in page.said, "its own strokes are no news"
            page.driver.switch_to.window(second)
            page.until(lambda: "changed in another window" in page.said)
            page.press("#undo")
            page.press("#undo")
            page.saved()
        finally:
            page.driver.switch_to.window(second)
            page.driver.close()
            page.driver.switch_to.window(first)
        page.until(lambda: page.find(f"#stage .outline.bone-{INDEX['Hamate']}"))
        np.testing.assert_array_equal(page.planes(id), before)

    def test_many_tabs_leave_the_one_that_is_looked_at_its_connections(self, page: Bench) -> None:
        """A browser opens six to a server."""
        first, others = page.driver.current_window_handle, []
        try:
            for _ in range(7):
                page.driver.switch_to.new_window("tab")
                others.append(page.driver.current_window_handle)
                page.load()
            page.driver.switch_to.window(first)
            page.open("a hand.png")
            page.press("#close")
        finally:
            for other in others:
                page.driver.switch_to.window(other)
                page.driver.close()
            page.driver.switch_to.window(first)

    def test_a_server_with_another_token_is_said_and_strokes_wait_for_it(self, page: Bench) -> None:
        refuse = (
            "window.fetchOfOld ??= window.fetch; window.fetch = async () => "
            "new Response(JSON.stringify({error: 'no token, or a wrong one'}), {status: 401})"
        )
        accept = "window.fetch = window.fetchOfOld"
        page.driver.execute_script(refuse)
        page.press(".card[data-name='a hand.png'] .name")
        page.until(lambda: page.one("#notice").text == "The image can't be opened: no token, or a wrong one")
        page.driver.execute_script(accept)
        id = page.open("a hand.png")
        before = page.planes(id)
        page.choose("Ulna")
        page.press("#modes [data-tool='brush']")
        page.driver.execute_script(refuse)
        drag(page.driver, [page.place(30, 30), page.place(60, 30)])
        page.until(lambda: "kept here and sent again" in page.said)
        page.driver.execute_script(accept)
        page.saved()
        assert differing(before, page.planes(id)) == 1 << INDEX["Ulna"]
        page.press("#undo")
        page.saved()
        np.testing.assert_array_equal(page.planes(id), before)

    def test_why_the_server_does_not_let_the_page_listen_is_said(self, page: Bench) -> None:
        """Such as a server that was started anew and has another token."""
        script = (
            "const done = arguments[0];"
            "import('/static/api.js').then(async ({refusalOf}) => {"
            "const fetched = window.fetch;"
            "const ok = await refusalOf('/api/events');"
            "const error = JSON.stringify({error: 'too many pages listen; close some'});"
            "window.fetch = async () => new Response(error, {status: 429});"
            "const full = await refusalOf('/api/events');"
            "window.fetch = async () => { throw new TypeError('gone') };"
            "const lost = await refusalOf('/api/events');"
            "window.fetch = fetched; done([ok, full, lost])})"
        )
        said = page.driver.execute_async_script(script)
        assert said == ["", "too many pages listen; close some", ""]

    def test_what_others_changed_unheard_is_loaded_anew_and_said(self, page: Bench) -> None:
        page.driver.execute_cdp_cmd("Network.enable", {})
        page.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": ["*/api/events"]})
        page.driver.refresh()
        page.until(lambda: page.find(".card[data-name='a hand.png']"))
        id = page.open("a hand.png")
        revision = page.server.get(f"/api/images/{id}")["revision"]
        page.server.do(f"/api/images/{id}/clear", revision=revision, bone=INDEX["Hamate"])
        page.choose("Ulna")
        page.press("#modes [data-tool='brush']")
        drag(page.driver, [page.place(30, 30), page.place(60, 30)])
        page.until(lambda: "changed elsewhere" in page.said)
        page.driver.execute_cdp_cmd("Network.setBlockedURLs", {"urls": []})
        assert not page.find(f"#stage .outline.bone-{INDEX['Hamate']}, .sent")
        page.press("#undo")
        page.saved()
        assert page.find(f"#stage .outline.bone-{INDEX['Hamate']}")
        assert [m for m in page.messages() if not re.search("409|api/events", m)] == []

    def test_a_stroke_without_a_connection_is_kept_and_sent_again(self, page: Bench) -> None:
        id = page.open("a hand.png")
        before = page.planes(id)
        page.choose("Ulna")
        page.press("#modes [data-tool='brush']")
        offline(page.driver, True)
        drag(page.driver, [page.place(30, 30), page.place(60, 30)])
        drag(page.driver, [page.place(30, 80), page.place(60, 80)])
        page.until(lambda: "connection is lost" in page.said)
        assert len(page.find("#stage .stroke")) == 2
        offline(page.driver, False)
        page.saved()
        after = page.planes(id)
        assert differing(before, after) == 1 << INDEX["Ulna"]
        assert mask(after, "Ulna")[30, 45]
        assert mask(after, "Ulna")[80, 45]
        assert "everything is saved" in page.said
        page.press("#undo")
        page.press("#undo")
        page.saved()
        np.testing.assert_array_equal(page.planes(id), before)
        assert [m for m in page.messages() if "ERR_INTERNET_DISCONNECTED" not in m] == []

    def test_news_that_overtake_the_state_count_and_a_state_that_does_not_come_is_asked_for_again(
        self, page: Bench
    ) -> None:
        hold(page.driver, "/api/state")
        listen_anew = """
            const held = window.fetch;
            window.fetch = async () => {
                window.fetch = held;
                throw new TypeError("no network");
            };
            import("/static/images.js").then(({ listen }) => listen((on) => (window.connected = on)));"""
        page.driver.execute_script(listen_anew)
        page.until(lambda: held(page.driver))
        mark_done(page, "a hand.png", True)
        page.until(lambda: page.find(".card[data-state='done']"))
        page.driver.execute_script("window.letGo()")
        page.until(lambda: page.driver.execute_script("return window.connected"))
        time.sleep(0.2)  # the shelf is put in order a little later
        assert [card.get_attribute("data-name") for card in page.find(".card[data-state='done']")] == ["a hand.png"]
        mark_done(page, "a hand.png", False)


def offline(driver: Chrome, on: bool) -> None:
    conditions = {"offline": on, "latency": 0, "downloadThroughput": -1, "uploadThroughput": -1}
    driver.execute_cdp_cmd("Network.enable", {})
    driver.execute_cdp_cmd("Network.emulateNetworkConditions", conditions)


def hold(driver: Chrome, address: str) -> None:
    """Keep answers to an address back, as a slow network does, until ``window.letGo`` is called."""
    script = """
        const [address, plain] = [arguments[0], window.fetch];
        window.asked = [];
        window.fetch = async (...all) => {
            const answer = await plain(...all);
            if (!all[0].startsWith(address)) return answer;
            window.asked.push(all[0]);
            await new Promise((resume) => (window.letGo = resume));
            return answer;
        };"""
    driver.execute_script(script, address)


def held(driver: Chrome) -> list[str]:
    """Addresses whose answers were kept back."""
    asked = driver.execute_script("return window.asked")
    assert isinstance(asked, list)
    return asked


def mark_done(page: Bench, name: str, on: bool) -> None:
    """Mark an image as done from elsewhere."""
    id = {image["name"]: image["id"] for image in page.server.images()}[name]
    revision = page.server.get(f"/api/images/{id}")["revision"]
    page.server.do(f"/api/images/{id}/done", revision=revision, on=on)


class TestHandedOn:
    def test_as_csv(self, page: Bench) -> None:
        hand_on(page, ["csv"])

    def test_what_happens_meanwhile_leaves_the_focus_and_one_export_at_a_time(self, page: Bench) -> None:
        done = page.one("#which option[value='done']")
        page.driver.execute_script("document.querySelector('#which').focus()")
        assert page.one("#forms-reason").text.startswith("No image is marked as done.")
        mark_done(page, "a hand.png", True)
        page.until(lambda: done.text == "Marked as done (1)")
        assert not page.one("#forms-reason").is_displayed()
        assert page.driver.switch_to.active_element.get_attribute("id") == "which"
        hold(page.driver, "/api/export/")
        page.press("#forms [data-form='csv']")
        page.until(lambda: held(page.driver))
        mark_done(page, "a hand.png", False)
        mark_done(page, "손.dcm", True)
        mark_done(page, "a hand.png", True)
        page.until(lambda: done.text == "Marked as done (2)")
        assert len(page.find("#forms [aria-disabled='true']")) == len(page.find("#forms button"))
        assert page.driver.switch_to.active_element.get_attribute("data-form") == "csv"
        page.keys(Keys.ENTER)
        page.press("#forms [data-form='coco']")
        page.driver.execute_script("window.letGo()")
        page.until(lambda: page.one("#exported").text == "Saved submission.csv.")
        assert held(page.driver) == ["/api/export/csv?done=1"]
        assert not page.find("#forms [aria-disabled='true']")
        for name in ("a hand.png", "손.dcm"):
            mark_done(page, name, False)

    def test_addresses_stay_short_and_images_that_a_form_leaves_out_are_counted(self, page: Bench) -> None:
        hold(page.driver, "/api/export/")
        page.press("#which option[value='ready']")
        page.press("#forms [data-form='dicom-seg']")
        page.until(lambda: held(page.driver) == ["/api/export/dicom-seg"])
        page.driver.execute_script("window.letGo()")
        page.until(lambda: "Images left out: 1" in page.one("#exported").text)
        assert "warning" in (page.one("#exported").get_attribute("class") or "")


@pytest.mark.slow
def test_masks_are_handed_on_in_every_form(page: Bench) -> None:
    forms = page.server.get("/api/state")["forms"]
    assert [button.get_attribute("data-form") for button in page.find("#forms button")] == forms
    hand_on(page, forms)


def hand_on(page: Bench, forms: list[str]) -> None:
    """Save all images in these forms, and compare with what the server has."""
    page.press("#which option[value='ready']")
    ids = ",".join(image["id"] for image in page.server.images())
    for form in forms:
        for old in page.downloads.iterdir():
            old.unlink()
        page.press(f"#forms [data-form='{form}']")
        page.until(lambda: page.one("#exported").text.startswith("Saved"), 120)
        page.until(lambda: [p for p in page.downloads.iterdir() if not p.name.endswith(".crdownload")])
        (saved,) = page.downloads.iterdir()
        expected = page.server.ask("GET", f"/api/export/{form}?ids={ids}").body
        assert contents(saved.read_bytes()) == contents(expected), form
        page.driver.execute_script("document.querySelector('#exported').textContent = ''")


def contents(file: bytes) -> dict[str, object]:
    """Files of an archive, or the one file; of DICOM objects all but identifiers and times, which are new each time."""
    if file[:2] != b"PK":
        return {"": file}
    with zipfile.ZipFile(io.BytesIO(file)) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    return {name: lasting(data) if name.endswith(".dcm") else data for name, data in files.items()}


def lasting(file: bytes) -> list[tuple[str, object]]:
    """Elements of a DICOM object without identifiers and times."""
    elements = dcmread(io.BytesIO(file)).iterall()
    return [(str(one.tag), one.value) for one in elements if one.VR not in {"UI", "DA", "TM", "DT", "SQ"}]


def findings_of_wrong_masks() -> list[dict[str, Any]]:
    """Findings on a hand whose bones are missing, in pieces, too large, too small, astray, swapped and overlapping."""
    planes = phantom(0).planes

    def changed(**masks: np.ndarray) -> np.ndarray:
        new = planes.copy()
        for bone, of_bone in masks.items():
            bit = np.int32(1 << INDEX[bone.replace("_", "-")])
            new = (new & ~bit) | np.where(of_bone, bit, np.int32(0)).astype(np.int32)
        return new

    def scaled(bone: str, pixels: int) -> np.ndarray:
        kernel = np.ones((2 * abs(pixels) + 1, 2 * abs(pixels) + 1), np.uint8)
        grown = (cv2.dilate if pixels > 0 else cv2.erode)(mask(planes, bone).astype(np.uint8), kernel)
        return grown.astype(bool)

    wrong = [
        changed(Capitate=np.zeros(planes.shape, bool), Hamate=scaled("Hamate", 9), Lunate=scaled("Lunate", -5)),
        changed(Scaphoid=mask(planes, "Triquetrum"), Triquetrum=mask(planes, "Scaphoid")),
        changed(Capitate=mask(planes, "Hamate") | np.roll(mask(planes, "Capitate"), -90, axis=0)),
        changed(finger_8=mask(planes, "finger-9"), finger_9=mask(planes, "finger-8")),
        changed(**{bone.name.replace("-", "_"): scaled(bone.name, 4) for bone in BONES[::2]}),
        np.zeros_like(planes),
    ]
    return [finding for each in wrong for finding in content.findings(plausibility(each))]


def reasons_of_measures() -> list[str]:
    """Every reason that a measure may have, 7 in each place where the text varies."""
    found = []
    for path in Path(measure.__file__).parent.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "NotMeasured":
                (text,) = node.args
                parts = text.values if isinstance(text, ast.JoinedStr) else [text]
                found.append("".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in parts))
    return found


_ERRORS = {"RequestError", "StoreError", "DamagedError", "StaleError", "MissingError", "ChildError", "FullError"}
_NOT_FOR_READERS = (
    "--work",
    *("box ", "mask ", "bone ", "radius ", "points ", "low ", "7: expected", "7 7: expected"),
    *("7: fine-tuning has no such option", "no such form"),
)
"""Starts of what the server says to a terminal, or to a program that asks for nonsense: the page never does."""


def errors_of_the_server() -> list[str]:
    """Every error that the page may be answered, and why an image can't be read, 7 where the text varies."""
    return errors_in(Path(service.__file__).parent, {*_ERRORS, "HTTPException"}) + errors_in(
        Path(images.__file__).parent, {"ValueError", "DicomError", "DicomIncompleteError"}
    )


def errors_in(folder: Path, kinds: set[str]) -> list[str]:
    found = []
    for path in folder.glob("*.py"):
        if path.name == "submission_images.py":  # the page knows of no submission
            continue
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.Call) and getattr(node.func, "id", "") in kinds and node.args:
                text = node.args[-1]
                parts = text.values if isinstance(text, ast.JoinedStr) else [text]
                said = "".join(str(part.value) if isinstance(part, ast.Constant) else "7" for part in parts)
                if set(said) - set("7: ") and not said.startswith(_NOT_FOR_READERS):
                    found.append(said)
    return found


class TestScreens:
    @pytest.mark.parametrize("width", [360, 768, 1920])
    def test_nothing_runs_out_of_the_screen(self, page: Bench, width: int) -> None:
        resize(page.driver, width, 740)
        page.load()
        assert page.driver.execute_script("return document.documentElement.scrollWidth") <= width
        page.open("a hand.png")
        assert page.one("#stage").size["width"] >= 0.5 * width
        assert page.one("#stage").size["height"] >= 270
        for selector in ("#close", "#bone", "#modes [data-tool='cut']", "#undo", "#ask", "#viewer-title"):
            script = "const r = document.querySelector(arguments[0]).getBoundingClientRect(); return r.toJSON()"
            place = page.driver.execute_script(script, selector)
            assert 0 <= place["left"] <= place["right"] <= width, selector
            assert 0 <= place["top"] <= place["bottom"] <= 740, selector

    def test_a_card_s_ring_of_focus_stays_below_the_bar(self, page: Bench) -> None:
        left = "return document.querySelector(arguments[0]).getBoundingClientRect().left"
        ring = 4  # its offset and its width
        assert page.driver.execute_script(left, "#tools") <= page.driver.execute_script(left, ".card") - ring

    def test_what_inference_notes_is_said_in_the_reader_s_words(self, page: Bench) -> None:
        said = "import('/static/editor.js').then((module) => arguments[1](arguments[0].map(module.noteText)))"
        notes = [f"{IN_THE_NEGATIVE}; two hands, the left one is segmented; `--hands both` segments both", ""]
        negative, none = page.driver.execute_async_script(said, notes)
        assert none == ""
        assert re.fullmatch(r"Bones are dark.*\. The image shows two hands: only the left one is segmented", negative)
        page.press("#language")
        assert not re.search("[A-Za-z]", page.driver.execute_async_script(said, notes)[0])

    def test_pairs_of_bones_are_written_readably(self, page: Bench) -> None:
        names = [*proportions(phantom(0).planes).of, "finger-9|finger-10 gap"]
        script = "import('/static/settings.js').then((module) => arguments[1](arguments[0].map(module.inEnglish)))"
        written = page.driver.execute_async_script(script, names)
        assert not [text for text in written if re.search(r"[|]|finger-\d", text)]
        assert f"{BONES[INDEX['finger-9']].english} and {BONES[INDEX['finger-10']].english}: gap" in written

    def test_dark_follows_the_system(self, page: Bench) -> None:
        def ground() -> float:
            colour = page.driver.execute_script("return getComputedStyle(document.body).backgroundColor")
            return float(np.mean([int(n) for n in re.findall(r"\d+", colour)[:3]]))

        assert ground() > 200
        prefer(page.driver, "dark")
        assert ground() < 50

    def test_korean_says_everything(self, page: Bench) -> None:
        strings: dict[str, Any] = page.driver.execute_async_script(
            "import('/static/strings.js').then((module) => arguments[0](module.STRINGS))"
        )
        assert strings["en"].keys() == strings["ko"].keys()
        for key in ("tools", "forms", "measures"):
            assert strings["en"][key].keys() == strings["ko"][key].keys()
        assert len(strings["en"]["keyList"]) == len(strings["ko"]["keyList"])
        assert strings["ko"]["parts"].keys() == plausibility(phantom(0).planes).parts.keys()
        page.press("#language")
        page.load()
        say = "import('/static/measures.js').then((module) => arguments[1](arguments[0].map(module.reasonText)))"
        reasons = page.driver.execute_async_script(say, reasons_of_measures())
        assert not [text for text in reasons if re.search("[A-Za-z]{3,}", text)]
        bent = "the wrist is bent by 21 degrees towards the {}; this measure needs a straight one, up to 12 degrees"
        towards = [bent.format("thumb"), bent.format("ulna")]
        thumb, ulna = page.driver.execute_async_script(say, towards)
        assert ("엄지" in thumb, "자뼈" in ulna) == (True, True)
        assert [re.findall(r"\d+", text) for text in (thumb, ulna)] == [["21", "12"]] * 2
        say = (
            "import('/static/serve_strings.js').then((module) => "
            "arguments[1](arguments[0].map((said) => module.inWords('errors', said))))"
        )
        errors = page.driver.execute_async_script(say, errors_of_the_server())
        assert len(errors) > 30
        assert not [
            text for text in errors if set(re.findall("[A-Za-z]{3,}", text)) - {"PNG", "JPEG", "BMP", "TIFF", "DICOM"}
        ]
        found = findings_of_wrong_masks()
        assert {finding["part"] for finding in found} >= strings["ko"]["parts"].keys() - {"neighbours"}
        say = "import('/static/findings.js').then((module) => arguments[1](arguments[0].map(module.findingText)))"
        for finding, text in zip(found, page.driver.execute_async_script(say, found), strict=True):
            assert not re.search("[A-Za-z]{3,}", text), text
            named = [BONES[bone].korean for bone in finding["bones"]]
            assert all(bone in text for bone in named), text
            numbers = re.findall(r"\d[\d.]*", re.sub(r"finger-\d+|: (finger|[A-Z]).* first", "", finding["text"]))
            assert sorted(numbers) == sorted(re.findall(r"\d[\d.]*", text)), (finding["text"], text)
        assert page.driver.execute_script("return getComputedStyle(document.body).wordBreak") == "keep-all"
        shown = page.one("body").text
        page.open("a hand.png")
        page.press("#window summary")
        page.press("#bones summary")
        page.press("#sizes summary")
        shown += page.one("#viewer").text
        assert all(bone.korean in shown for bone in BONES)
        known = {"English", "handseg", "monai", "work", "png", "dcm", "hand", "PNG", "JPEG", "TIFF", "DICOM", "CSV"}
        known |= {"LabelMe", "COCO", "SEG", "Shift", "MCP", "PIP"}
        assert set(re.findall(r"[A-Za-z]{3,}", shown)) <= known


def test_next_in_doubt_walks_over_all_images_and_begins_anew(page: Bench) -> None:
    third = page.work.with_name("third.png")
    cv2.imwrite(str(third), phantom(2).image)
    drop_files(page.driver, "#drop", [third])
    page.until(lambda: len(page.find(".card[data-state='ready']")) == 3, 120)
    names = [card.get_attribute("data-name") for card in page.find(".card")]
    page.open(names[0] or "")
    seen = [names[0]]
    for _ in range(4):
        page.keys("n")
        page.until(lambda: page.one("#viewer-title").text != seen[-1])
        seen.append(page.one("#viewer-title").text)
    assert seen == [*names, *names[:2]]
    page.press("#close")
    (id,) = (image["id"] for image in page.server.images() if image["name"] == "third.png")
    assert page.server.ask("DELETE", f"/api/images/{id}", headers={"X-Handseg": "1"}).status < 300
    page.until(lambda: len(page.find(".card")) == 2)


def test_training_is_offered_once_an_image_is_done(page: Bench) -> None:
    def offered() -> bool:
        return bool(page.driver.execute_script("return !document.querySelector('[data-act=trainStart]').disabled"))

    assert not offered()
    id = page.open("a hand.png")
    page.press("#done")
    page.saved()
    page.press("#close")
    page.until(offered)
    assert "Images marked as done: 1" in page.one("#training").text
    epochs = page.one("#training input")
    epochs.clear()
    epochs.send_keys("0")
    page.press("[data-act='trainStart']")
    page.until(lambda: "epochs 0: expected 1 or more" in page.one("#training").text)
    page.press("#language")
    page.press("[data-act='trainStart']")
    page.until(lambda: "1부터 1000까지의 정수" in page.one("#training").text)
    assert [message for message in page.messages() if "400" not in message] == []
    page.server.do(f"/api/images/{id}/done", revision=page.server.get(f"/api/images/{id}")["revision"], on=False)
    page.until(lambda: not offered())


def test_weights_that_could_not_be_compared_are_a_choice_and_those_given_come_back(page: Bench) -> None:
    run = page.work / "training" / "1"
    (run / "run").mkdir(parents=True)
    shutil.copy(page.weights, run / "run" / "model.pt")
    write_json(run / "plan.json", {"base": digest(page.weights)})
    write_json(run / "state.json", {"phase": "finished", "better": None})
    page.load()
    page.until(lambda: "Nobody has corrected a bone of the images held out" in page.one("#training").text)
    assert not page.find("#training .result")
    page.press("[data-act='trainTakeUncompared']")
    page.until(lambda: "The weights of fine-tuning run 1 are in use." in page.one("#training").text)
    assert page.server.get("/api/state")["model"]["source"] == "run"
    page.press("[data-act='trainReturn']")
    page.until(lambda: page.find("[data-act='trainTakeUncompared']"))
    assert page.server.get("/api/state")["model"]["source"] == "checkpoint"
    page.press("[data-act='trainKeep']")
    page.until(lambda: page.find("[data-act='trainStart']"))
    assert not page.find("[data-act='trainReturn']")


def test_the_result_of_a_run_is_shown_to_a_page_that_opened_before_the_network_was_loaded(page: Bench) -> None:
    run = page.work / "training" / "2"
    run.mkdir(parents=True)
    id = next(image["id"] for image in page.server.images() if image["name"] == "a hand.png")
    result = {"better": False, "dice_before": 0.9, "dice_after": 0.8, "held_out": 1, "counted": {id: 3}}
    write_json(run / "plan.json", {"base": digest(page.weights)})
    write_json(run / "state.json", {"phase": "finished", **result})
    page.restart()
    page.messages()  # of the page that was open then
    page.load()
    page.until(lambda: page.find("[data-act='trainKeep']"))
    assert "Only the bones that somebody has corrected count: 3, on a hand.png." in page.one("#training").text
    page.press("#language")
    assert "뼈 3개, 영상 a hand.png" in page.one("#training").text
    page.press("[data-act='trainKeep']")
    page.until(lambda: page.find("[data-act='trainStart']"))
    shutil.rmtree(run)


def test_a_run_that_is_to_stop_says_so_at_once(page: Bench) -> None:
    run = page.work / "training" / "3"
    run.mkdir(parents=True)
    write_json(run / "plan.json", {"base": digest(page.weights)})
    write_json(run / "state.json", {"phase": "training", "epochs": 5})
    with exclusive(run.parent / "lock", "a run"):
        page.load()
        page.press("[data-act='trainStop']")
        page.until(lambda: "stopping …" in page.one("#training").text)
        assert not page.one("[data-act='trainStop']").is_enabled()
    write_json(run / "state.json", {"phase": "stopped"})
    page.load()
    page.until(lambda: "Fine-tuning was stopped." in page.one("#training").text)
    shutil.rmtree(run)


@pytest.mark.slow
def test_training_is_started_followed_and_ended_on_the_page(page: Bench) -> None:
    third = page.work.with_name("third.png")
    cv2.imwrite(str(third), phantom(2).image)
    drop_files(page.driver, "#drop", [third])
    page.until(lambda: len(page.find(".card[data-state='ready']")) == 3, 120)
    for image in page.server.images():
        revision = page.server.get(f"/api/images/{image['id']}")["revision"]
        stroke = {"tool": "brush", "points": [[300, 300], [320, 320]], "radius": 20}
        page.server.do(f"/api/images/{image['id']}/edits", revision=revision, bone=0, **stroke)
    for name in ("a hand.png", "손.dcm", "third.png"):
        id = page.open(name)
        assert page.one("#done").text == "Mark as done", page.shown
        page.press("#done")
        page.saved()
        page.until(lambda id=id: page.server.get(f"/api/images/{id}")["done"])
        page.press("#close")
    page.until(lambda: "Images marked as done: 3" in page.one("#training").text)
    epochs = page.one("#training input")
    epochs.clear()
    epochs.send_keys("1")
    model = page.server.get("/api/state")["model"]["weights"]
    page.press("[data-act='trainStart']")
    page.until(lambda: page.find("[data-act='trainStop']"))
    page.until(lambda: page.find("#training progress"))
    page.until(lambda: page.find("#training .result"), 600)
    figures = [float(cell.text) for cell in page.find("#training .result td")]
    training = page.server.get("/api/state")["training"]
    assert training["state"] == "finished"
    assert figures == pytest.approx([training["before"], training["after"]], abs=1e-4)
    assert 0 <= training["before"] < 1, "a bone that was corrected is not what the weights drew"
    assert training["better"] == (training["after"] > training["before"])
    assert bool(page.find("[data-act='trainTake']")) == training["better"]
    if training["better"]:
        page.press("[data-act='trainTake']")
        page.until(lambda: page.server.get("/api/state")["training"]["state"] == "taken")
        assert page.server.get("/api/state")["model"]["weights"] != model
    else:
        assert page.server.post("/api/training/take", {}).status == 409
        page.press("[data-act='trainKeep']")
        page.until(lambda: page.server.get("/api/state")["training"] is None)
        assert page.server.get("/api/state")["model"]["weights"] == model
    page.until(lambda: page.find("[data-act='trainStart']"))
