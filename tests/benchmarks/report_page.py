"""Size and speed of a report of 288 radiographs in Chromium: ``python -m tests.benchmarks.report_page``.

With a page, ``report.html``, as argument that page is measured; with a picture, ``report.jpg``, one of a smaller report
is taken.
"""

from __future__ import annotations

import sys
import tempfile
import time
from pathlib import Path

import cv2
import numpy as np

from handseg_monai.bitplanes import boxes
from handseg_monai.data.labels.competition import labelled_items
from handseg_monai.data.layouts import read_truth
from handseg_monai.data.reading.images import image_size
from handseg_monai.phantom import write_dataset
from handseg_monai.report import write_report
from handseg_monai.rle import encode_planes, write_csv
from tests.browser import chromium, resize, settle

IMAGES, SIZE = 288, 2048
SCROLL = """
const [speed, done] = arguments;
const deltas = [], end = document.documentElement.scrollHeight - innerHeight;
let before = null;
function frame(now) {
  if (before !== null) {
    deltas.push(now - before);
    scrollBy({ top: (speed * (now - before)) / 1000, behavior: "instant" });
  }
  before = now;
  if (scrollY < end - 1) requestAnimationFrame(frame);
  else done({ deltas, drawn: document.querySelectorAll(".card svg").length });
}
scrollTo(0, 0);
requestAnimationFrame(frame);
"""


def frayed(planes: np.ndarray, strength: float, rng: np.random.Generator) -> np.ndarray:
    """Masks whose edges waver by ``strength`` pixels, as those of a network do."""
    result = np.zeros_like(planes)
    for bone, (rows, columns) in boxes(planes):
        mask = (planes[rows, columns] >> bone & 1).astype(np.uint8)
        depth = [
            cv2.distanceTransform(np.pad(side, 20, constant_values=k), cv2.DIST_L2, 5)
            for k, side in enumerate((mask, 1 - mask))
        ]
        waves = cv2.GaussianBlur(rng.standard_normal(depth[0].shape).astype(np.float32), (0, 0), 12)
        changed = depth[0] - depth[1] + strength * waves / waves.std() > 0
        result[rows, columns] |= changed[20:-20, 20:-20].astype(np.int32) << np.int32(bone)
    return result


def copies(root: Path, images: int) -> Path:
    """Make a dataset of twelve phantoms, under many names, and a submission of it."""
    write_dataset(root / "phantoms", subjects=6, size=SIZE, seed=7, workers=2)
    items = labelled_items(root / "phantoms" / "train")[0]
    rng = np.random.default_rng(0)
    strengths = rng.uniform(0.5, 5, len(items))
    texts = [
        encode_planes(frayed(read_truth(item["label"], image_size(item["image"])), strength, rng))
        for item, strength in zip(items, strengths, strict=True)
    ]
    rows = []
    for number in range(images):
        item, name = items[number % len(items)], f"image{number:03d}"
        for folder, kind in (("DCM", "image"), ("outputs_json", "label")):
            original = Path(item[kind])  # type: ignore[literal-required]
            path = root / "data" / "test" / folder / f"ID{number // 2:03d}" / f"{name}{original.suffix}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.hardlink_to(original)
        rows.append((f"{name}.png", texts[number % len(items)]))
    write_csv(root / "prediction.csv", rows)
    return root / "data"


def measure(page: Path) -> None:
    """Print how long a page takes to open, and its frames while it is scrolled from top to bottom."""
    with chromium() as driver:
        resize(driver, 1360, 900)
        driver.get(page.as_uri())
        settle(driver)
        timing = driver.execute_script("return performance.getEntriesByType('navigation')[0].domComplete")
        heap = driver.execute_cdp_cmd("Runtime.getHeapUsage", {})["usedSize"]
        print(f"{page.stat().st_size / 1e6:.1f} MB, open after {timing / 1000:.2f} s, heap {heap / 1e6:.0f} MB")
        print(f"{'pixels/s':>9} {'frames':>7} {'median ms':>10} {'95 %':>6} {'99 %':>6} {'longest':>8} {'drawn':>6}")
        for speed in (1000, 3000, 10000):
            driver.set_script_timeout(300)
            found = driver.execute_async_script(SCROLL, speed)
            deltas = np.array(found["deltas"])
            middle, high, higher = np.percentile(deltas, (50, 95, 99))
            print(
                f"{speed:>9} {len(deltas):>7} {middle:>10.1f} {high:>6.1f} {higher:>6.1f} {deltas.max():>8.1f} "
                f"{found['drawn']:>6}"
            )


def take_picture(page: Path, picture: Path) -> None:
    """Write what a page looks like at first."""
    with chromium() as driver:
        resize(driver, 1360, 1150)
        driver.get(page.as_uri())
        time.sleep(2)
        shot = cv2.imdecode(np.frombuffer(driver.get_screenshot_as_png(), np.uint8), cv2.IMREAD_COLOR)
    small = cv2.resize(shot, (1200, round(1200 * shot.shape[0] / shot.shape[1])), interpolation=cv2.INTER_AREA)
    cv2.imwrite(str(picture), small, [cv2.IMWRITE_JPEG_QUALITY, 85])


def main() -> None:
    """Make the page, and measure it or take its picture."""
    given = Path(sys.argv[1]).resolve() if len(sys.argv) > 1 else None
    if given is not None and given.suffix == ".html":
        measure(given)
        return
    with tempfile.TemporaryDirectory() as folder:
        page, prediction = Path(folder, "report.html"), Path(folder, "prediction.csv")
        data = copies(Path(folder), 12 if given else IMAGES)
        start = time.perf_counter()
        write_report(prediction, data, page, data)
        print(f"written in {time.perf_counter() - start:.0f} s")
        if given is None:
            measure(page)
        else:
            take_picture(page, given)


if __name__ == "__main__":
    main()
