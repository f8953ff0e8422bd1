"""The command that segments the radiographs of a PACS."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated, Literal

import typer


def pacs(
    url: Annotated[str, typer.Argument(metavar="URL", help="Root of the DICOMweb service, https://HOST/dicom-web.")],
    modality: Annotated[list[str] | None, typer.Option(help="Modality; repeatable. Default: CR and DX.")] = None,
    body_part: Annotated[
        str | None,
        typer.Option("--body-part", "--body_part", help="Body Part Examined, such as HAND; * for any signs."),
    ] = None,
    date: Annotated[
        str | None, typer.Option(help="Date of the study, 20240131, or from and to, 20240101-20240131.")
    ] = None,
    accession: Annotated[str | None, typer.Option(help="Accession Number.")] = None,
    patient: Annotated[str | None, typer.Option(help="Patient ID.")] = None,
    limit: Annotated[int | None, typer.Option(help="Radiographs to ask for at most.", min=1)] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint. Default: runs/train/model.pt if it exists, else the shipped weights."),
    ] = None,
    threshold: Annotated[
        str, typer.Option(help="Threshold of all bones, or the JSON file that handseg thresholds writes.")
    ] = "0.5",
    hands: Annotated[
        Literal["one", "both"], typer.Option(help="Where an image shows both hands: segment one or both.")
    ] = "one",
    any_body_part: Annotated[
        bool,
        typer.Option("--any-body-part", "--any_body_part", help="Accept headers of other parts of the body too."),
    ] = False,
    out: Annotated[
        Path | None, typer.Option(help="Folder for copies of radiographs and SEGs, and for the table pacs.csv.")
    ] = None,
    dry_run: Annotated[bool, typer.Option("--dry-run", "--dry_run", help="Only list what there is to do.")] = False,
    allow_http: Annotated[
        bool,
        typer.Option("--allow-http", "--allow_http", help="Send credentials unencrypted, over your own network."),
    ] = False,
) -> None:
    """Segment radiographs of a PACS by DICOMweb, and store a DICOM SEG beside each; credentials: see docs/pacs.md."""
    missing = [name for name in ("pydicom", "highdicom", "dicomweb_client") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"{' and '.join(missing)} missing: pip install 'handseg-monai[dicom]'")
    from handseg_monai.files import require_out
    from handseg_monai.pacs.address import Address
    from handseg_monai.pacs.query import Query
    from handseg_monai.pacs.rows import listed, listed_doubts, tally
    from handseg_monai.pacs.server import Server

    query = Query(modality or ("CR", "DX"), body_part, date, accession, patient, limit)
    address = Address.of(url, allow_http)
    if out is not None:
        require_out(out, folder=True)
    with Server(address) as server:
        found = server.search(query)
        from handseg_monai.pacs.segment import Segmenter, segment_pacs

        segmenter = Segmenter(None if checkpoint is None else str(checkpoint), _number(threshold), hands, any_body_part)
        rows = segment_pacs(server, found, segmenter, out, dry_run)
    if dry_run and rows:
        print(listed(rows))
    print(tally(rows) if rows else "the server has no such radiograph")
    if doubted := [row for row in rows if row.is_doubted]:
        print(f"{len(doubted)} of them not plausible; the SEG is stored, look at it:\n{listed_doubts(doubted)}")
    if out is not None:
        print(out / "pacs.csv")
    if refused := [row for row in rows if row.result == "refused"]:
        raise ChildProcessError(f"{len(refused)} of {len(rows)} radiographs refused:\n{listed(refused)}")


def _number(threshold: str) -> float | str:
    try:
        return float(threshold)
    except ValueError:
        return threshold
