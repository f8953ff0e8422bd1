"""A real browser, Chromium without a window, for the tests of pages."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from selenium.webdriver import Chrome
from selenium.webdriver.chrome.options import Options
from selenium.webdriver.chrome.service import Service
from selenium.webdriver.common.actions.action_builder import ActionBuilder
from selenium.webdriver.common.by import By
from selenium.webdriver.common.keys import Keys

CHROMIUM, DRIVER = shutil.which("chromium"), shutil.which("chromedriver")
QUIET = (
    "headless",
    "no-sandbox",
    "disable-gpu",
    "disable-quic",
    "no-first-run",
    "disable-background-networking",
    "disable-component-update",
    "disable-sync",
)


@contextmanager
def chromium() -> Iterator[Chrome]:
    """Start Chromium with an empty profile, and end it; its logs hold what pages print and ask for."""
    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as profile:
        options = Options()
        options.binary_location = CHROMIUM or ""
        for argument in (*QUIET, f"user-data-dir={profile}", "lang=en"):
            options.add_argument(f"--{argument}")
        options.set_capability("goog:loggingPrefs", {"browser": "ALL", "performance": "ALL"})
        driver = Chrome(options=options, service=Service(DRIVER))
        try:
            yield driver
        finally:
            driver.quit()


def resize(driver: Chrome, width: int, height: int) -> None:
    metrics = {"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}
    driver.execute_cdp_cmd("Emulation.setDeviceMetricsOverride", metrics)


def prefer(driver: Chrome, scheme: str) -> None:
    """Let the system prefer ``light`` or ``dark``."""
    features = [{"name": "prefers-color-scheme", "value": scheme}]
    driver.execute_cdp_cmd("Emulation.setEmulatedMedia", {"features": features})


def move_to(driver: Chrome, x: float, y: float) -> None:
    """Move the pointer to a place of the window, and let the page draw."""
    action = ActionBuilder(driver)
    action.pointer_action.move_to_location(round(x), round(y))
    action.perform()
    settle(driver)


def drag(driver: Chrome, places: Sequence[tuple[int, int]], shift: bool = False) -> None:
    """Press the mouse at the first place of the window, move it along the others, and release it at the last."""
    action = ActionBuilder(driver, duration=60)
    if shift:
        action.key_action.key_down(Keys.SHIFT)
    action.pointer_action.move_to_location(*places[0]).pointer_down()
    for place in places[1:]:
        action.pointer_action.move_to_location(*place)
    action.pointer_action.pointer_up()
    if shift:
        for _ in range(len(places) + 1):
            action.key_action.pause(0)
        action.key_action.key_up(Keys.SHIFT)
    action.perform()
    settle(driver)


def drop_files(driver: Chrome, selector: str, files: Sequence[Path]) -> None:
    """Drop files on an element, as from another window."""
    place = driver.find_element(By.CSS_SELECTOR, selector).rect
    data = {"items": [], "files": [str(path) for path in files], "dragOperationsMask": 1}
    at = {"x": place["x"] + place["width"] / 2, "y": place["y"] + place["height"] / 2, "data": data}
    for kind in ("dragEnter", "dragOver", "drop"):
        driver.execute_cdp_cmd("Input.dispatchDragEvent", {"type": kind, **at})


def settle(driver: Chrome) -> None:
    """Wait until two frames are drawn."""
    driver.execute_async_script("requestAnimationFrame(() => requestAnimationFrame(arguments[0]))")
