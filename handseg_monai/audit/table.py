"""What an audit leaves: a printed summary, a table, pictures, and the list of images to leave out."""

from __future__ import annotations

import csv
import itertools
from collections import Counter
from pathlib import Path

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from handseg_monai.audit.audit import FIT, Audit
from handseg_monai.audit.findings import NOTES, Fault
from handseg_monai.audit.pictures import audit_sheet
from handseg_monai.data.exclude import write_exclude
from handseg_monai.data.labels.flat import FLAT_SOURCE
from handseg_monai.drawing import save
from handseg_monai.files import atomic_open, atomic_path

_SHOWN = 20


def write_audit(result: Audit, out: str | Path) -> list[Path]:
    """Write an audit into a folder, each file atomically.

    Parameters
    ----------
    result
        The audit.
    out
        Folder for ``audit.csv`` (a row for each finding), ``exclude.txt`` (images to leave out of training) and
        ``worst.png`` (the worst images; none where nothing was found). Older ones are replaced, but for an
        ``exclude.txt`` that says otherwise: it becomes ``exclude.1.txt``, ``exclude.2.txt`` and so on.

    Returns
    -------
    paths
        Of the files.
    """
    out = Path(out)
    subjects = {radiograph.name: radiograph.subject for radiograph in result.radiographs}
    with atomic_open(out / "audit.csv") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("image", "subject", "fault", "bones", "excluded", "other_image", "finding"))
        for f in result.findings:
            row = (f.image, subjects.get(f.image, ""), f.fault, " ".join(f.bones), int(f.exclude), f.other, f.text)
            writer.writerow(row)
    paths = [out / "audit.csv", *_replace_exclude(out / "exclude.txt", result)]
    pictures = out / "worst.png"
    if result.findings:
        save(pictures, audit_sheet(result.radiographs, result.findings))
        paths.append(pictures)
    else:
        pictures.unlink(missing_ok=True)
    return paths


def _replace_exclude(path: Path, result: Audit) -> list[Path]:
    """Write the list of images to leave out; one that says otherwise, edited perhaps, is kept beside it."""
    if not path.is_file():
        write_exclude(path, result.excluded.items())
        return [path]
    earlier = path.read_bytes()
    numbered = (path.with_name(f"{path.stem}.{n}{path.suffix}") for n in itertools.count(1))
    kept = next(free for free in numbered if not free.exists())
    with atomic_path(kept) as part:
        part.write_bytes(earlier)
    write_exclude(path, result.excluded.items())
    if path.read_bytes() != earlier:
        return [path, kept]
    kept.unlink()
    return [path]


def print_audit(result: Audit) -> None:
    """Print how many images have each fault, and the worst of them."""
    counts = Counter(fault for _, fault in {(f.image, f.fault) for f in result.findings})
    table = Table()
    table.add_column("fault")
    table.add_column("images", justify="right")
    table.add_column("first of them", overflow="fold")
    for fault in Fault:
        if counts[fault]:
            first = next(f for f in result.findings if f.fault is fault)
            table.add_row(f"{fault}{' (note)' if fault in NOTES else ''}", str(counts[fault]), escape(first.image))
    if counts:
        Console().print(table)
    for finding in result.findings[:_SHOWN]:
        print(f"{finding.image}: {finding.text}")
    if len(result.findings) > _SHOWN:
        print(f"… and {len(result.findings) - _SHOWN} more in audit.csv")
    if result.agreement is not None and result.agreement < FIT:
        print(
            "most labels do not lie on the bones: outlines and edges agree by "
            f"{result.agreement:.2f} of 1 in the median image, 0.7 to 0.9 is usual; do they belong to these images?"
        )
    if result.flat:
        print(FLAT_SOURCE)
    ranges = "the dataset's own ranges" if result.own_ranges else "the ranges of phantoms"
    names, files = {r.name for r in result.radiographs}, {r.path for r in result.radiographs}
    found = {finding.image for finding in result.findings}
    alone = f"unpaired files: {len(found - names)}; " if found - names else ""
    both = f"hands of {len(files)} " if len(files) < len(names) else ""
    print(
        f"{len(found & names)} of {len(names)} {both}images with findings, {len(result.excluded.keys() & names)} to "
        f"leave out; {alone}hands judged by {ranges}"
    )
