"""The command that serves the page."""

from __future__ import annotations

import importlib.util
from pathlib import Path
from typing import Annotated

import typer


def serve(
    folder: Annotated[
        Path | None, typer.Argument(metavar="[DIR]", help="Folder of radiographs to begin with, or one radiograph.")
    ] = None,
    *,
    work: Annotated[
        Path, typer.Option(help="Folder that keeps images, masks and corrections; new or of this command.")
    ],
    host: Annotated[
        str, typer.Option(help="Address to listen on. Others than 127.0.0.1 need a token, which is printed.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port to listen on; 0 takes a free one.", min=0, max=65535)] = 8029,
    public_origin: Annotated[
        str | None,
        typer.Option("--public-origin", help="Address of a proxy in front, https://HOST. It needs a token as well."),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Checkpoint. Default: runs/train/model.pt if it exists, else the shipped weights."),
    ] = None,
    max_upload: Annotated[float, typer.Option("--max_upload", help="Megabytes of a file at most.", min=0.001)] = 200,
    max_pixels: Annotated[
        int | None, typer.Option("--max_pixels", help="Pixels of an image at most. Default: 200 million.", min=1)
    ] = None,
    max_images: Annotated[int, typer.Option("--max_images", help="Images in WORK at most.", min=1)] = 2000,
    browser: Annotated[bool, typer.Option("--browser/--no-browser", help="Open the page in a browser.")] = True,
) -> None:
    """Open a page in the browser: drop radiographs, look at their masks, correct them and hand them on."""
    missing = [name for name in ("starlette", "uvicorn") if importlib.util.find_spec(name) is None]
    if missing:
        raise ValueError(f"{' and '.join(missing)} missing: pip install 'handseg-monai[serve]'")
    from handseg_monai.data.reading import MAX_PIXELS
    from handseg_monai.serve.server import serve as run
    from handseg_monai.serve.service import Limits

    limits = Limits(upload=int(max_upload * 1e6), pixels=max_pixels or MAX_PIXELS, images=max_images)
    run(
        work,
        folder,
        host=host,
        port=port,
        public_origin=public_origin,
        checkpoint=checkpoint,
        limits=limits,
        browser=browser,
    )
