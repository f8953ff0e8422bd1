"""The house: imports run one way, and commands that only read, judge or hand on never load torch."""

from __future__ import annotations

import ast
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

import handseg_monai
from handseg_monai.bitplanes import rasterise
from handseg_monai.bones import NAMES
from handseg_monai.data.labels.competition import labelled_items, read_polygons
from handseg_monai.rle import encode_planes, write_csv

ROOT = Path(handseg_monai.__file__).parent
NUMPY_FLOOR = [
    {"__init__", "bones", "files", "signals", "words"},
    {"compiled", "options", "outlines"},
    {"bitplanes", "rle"},
    {"drawing", "data"},
    {"phantom"},
    {"score", "export"},
    {"plausibility"},
    {"audit", "measure"},
    {"report"},
]
TORCH_FLOOR = [
    {"data.disk_cache", "data.records", "phantom.rand_phantom", "networks", "schedules", "transforms"},
    {"data.dataset", "losses", "inferers"},
    {"handlers", "follow"},
    {"checkpoints"},
    {"run"},
]
FACES: list[set[str]] = [{"serve", "archive", "pacs"}, {"commands", "notebook"}, {"cli"}, {"__main__"}]
FLOORS = [*NUMPY_FLOOR, *TORCH_FLOOR, *FACES]
LEVEL = {room: level for level, rooms in enumerate(FLOORS) for room in rooms}
HEAVY = {"torch", "monai", "ignite", "pandas", "albumentations", "scipy.stats"}


def room_of(module: str) -> str:
    """Room of a module's name below the package: the one file, or the folder."""
    return module if module in LEVEL else module.partition(".")[0] or "__init__"


def _is_module(name: str) -> bool:
    place = ROOT / name.replace(".", "/")
    return place.with_suffix(".py").exists() or (place / "__init__.py").exists()


def imports() -> Iterator[tuple[str, str]]:
    """Yield what each module imports of the package: importer and imported, inside functions too."""
    for path in ROOT.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        tree = ast.parse(path.read_text())
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "handseg_monai":
                base = (node.module or "").removeprefix("handseg_monai").strip(".")
                for name in node.names:
                    inner = f"{base}.{name.name}".strip(".")
                    yield module, inner if _is_module(inner) else base


def test_every_room_has_its_place() -> None:
    rooms = {path.stem for path in ROOT.glob("*.py")} | {path.parent.name for path in ROOT.glob("*/__init__.py")}
    # Installed, the bundle lies in the package.
    rooms -= {"bundle"}
    assert rooms == {room for room in LEVEL if "." not in room}


def test_imports_run_one_way() -> None:
    wrong = [
        f"{importer} -> {imported}"
        for importer, imported in imports()
        if room_of(importer) != room_of(imported) and LEVEL[room_of(imported)] >= LEVEL[room_of(importer)]
    ]
    assert wrong == []


def test_the_numpy_floor_imports_nothing_of_the_torch_floor() -> None:
    floor = set().union(*NUMPY_FLOOR)
    for path in ROOT.rglob("*.py"):
        module = ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__")
        if room_of(module or "__init__") not in floor:
            continue
        for node in ast.parse(path.read_text()).body:
            names = [node.module or ""] if isinstance(node, ast.ImportFrom) else []
            names += [alias.name for alias in node.names] if isinstance(node, ast.Import) else []
            for name in names:
                assert name not in HEAVY, f"{module} imports {name}"
                assert name.partition(".")[0] not in HEAVY, f"{module} imports {name}"


@pytest.fixture(scope="module")
def submission(drawn_dataset: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The truth of the drawn data set as a submission."""
    path = tmp_path_factory.mktemp("house") / "own.csv"
    items, _ = labelled_items(drawn_dataset / "train")
    planes = [rasterise(read_polygons(item["label"], (96, 72)), (96, 72)) for item in items]
    write_csv(path, [(i["name"], encode_planes(p)) for i, p in zip(items, planes, strict=True)])
    points = ["image,joint,x,y,distal_bone,proximal_bone"]
    points += [f"{item['name']},wrist,10,10,{NAMES[0]},{NAMES[1]}" for item in items]
    path.with_name("points.csv").write_text("\n".join(points) + "\n")
    return path


LIGHT = {
    "vote": "{own} {own} --out {out}.csv",
    "evaluate": "{own} --truth {data} --out {out}",
    "plausibility": "{own} --images {images}",
    "measure": "{own} --images {images} --out {out}.csv",
    "joints": "{own} --points {points} --images {images}",
    "export": "{own} --images {images} --to png --out {out}",
    "report": "{own} --images {images} --truth {data} --out {out}.html",
    "audit": "{data} --out {out}",
    "folds": "{data} --k 2 --out {out}.json",
    "convert": "submission {own} --images {images} --out {out}",
}
"""Commands of the NumPy floor, and arguments for each; the benchmark of start-up times the same."""


@pytest.mark.parametrize("command", LIGHT)
def test_light_commands_load_no_torch(command: str, drawn_dataset: Path, submission: Path, tmp_path: Path) -> None:
    places = {
        "own": submission,
        "points": submission.with_name("points.csv"),
        "data": drawn_dataset,
        "images": drawn_dataset / "train" / "DCM",
        "out": tmp_path / "out",
    }
    script = (
        "import sys, handseg_monai.cli as cli\n"
        "try:\n    cli.main()\n"
        "finally:\n    print('LOADED', *sorted(set(sys.modules) & set(" + repr(sorted(HEAVY)) + ")))\n"
    )
    arguments = [part.format(**places) for part in LIGHT[command].split()]
    result = subprocess.run([sys.executable, "-c", script, command, *arguments], capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-1000:]
    assert result.stdout.splitlines()[-1] == "LOADED"
