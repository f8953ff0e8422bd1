"""The addresses of the server, and what each answers."""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import math
import re
from collections.abc import Awaitable, Callable, Iterator, Mapping
from dataclasses import asdict
from importlib.resources import files
from importlib.resources.abc import Traversable
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import numpy as np
from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from handseg_monai import __version__
from handseg_monai.data.reading.dicom import DICOM_SUFFIXES, begins_unmarked, has_mark
from handseg_monai.data.reading.images import UnreadableImageError
from handseg_monai.data.reading.samples import is_picture, kind_not_read
from handseg_monai.drawing import grey8, shrink, webp
from handseg_monai.report import content
from handseg_monai.serve import bodies
from handseg_monai.serve.child import ChildError, FaultError
from handseg_monai.serve.exports import NAMES_OF_FORMS, export
from handseg_monai.serve.service import FullError, Service
from handseg_monai.serve.state import (
    MISTAKE,
    DamagedError,
    MissingError,
    RequestError,
    StaleError,
    StoreError,
    in_words,
)

logger = logging.getLogger(__name__)

_QUALITY = 85
"""Of WebP."""
_PICTURES = 2
"""Drawn at one time: each takes memory several times that of its radiograph."""
_TYPES = {
    ".html": "text/html; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".svg": "image/svg+xml",
    ".png": "image/png",
}
_ID = re.compile(r"[0-9a-f]{16}")
_SIDES = (16, 4096)
_START = 132
"""Bytes that tell a file's kind."""
_MOST_ASKED = 8
"""Bones that are asked for at once; each waits for the network and holds a thread."""
_MOST_UPLOADS = 64
"""Files that come in at once; more are asked to come again."""
_STATUS: tuple[tuple[type[Exception], int], ...] = (
    (MissingError, 404),
    (StaleError, 409),
    (DamagedError, 500),
    (StoreError, 409),
    (FullError, 429),
    (UnreadableImageError, 422),
    (FaultError, 422),
    (RequestError, 422),
    (ChildError, 503),
)
"""Status of an answer by the error that it tells, the first that fits; any other error is a mistake of the server."""
_FULL = (errno.ENOSPC, errno.EDQUOT)


class Routes:
    """The application of a service; ``guarded`` says whether it takes a token."""

    def __init__(self, service: Service, guarded: bool = False) -> None:
        self.service, self.guarded = service, guarded
        self._uploads = 0
        self._exports = 0
        self._asked = 0
        self._drawing = asyncio.Semaphore(_PICTURES)
        image = "/api/images/{id}"
        routes = [
            Route("/", self.page),
            Route("/static/{name}", self.static),
            Route("/api/state", self.state),
            Route("/api/events", self.events),
            Route("/api/export/{form}", self.export),
            Route("/api/training", self.train, methods=["POST"]),
            Route("/api/training", self.stop_training, methods=["DELETE"]),
            Route("/api/training/take", self.take_weights, methods=["POST"]),
            Route("/api/training/return", self.return_weights, methods=["POST"]),
            Route("/api/images", self.upload, methods=["POST"]),
            Route(image, self.image),
            Route(image, self.remove, methods=["DELETE"]),
            Route(f"{image}/picture", self.picture),
            *(Route(f"{image}/{name}", act, methods=["POST"]) for name, act in self._acts().items()),
        ]
        self.app = Starlette(routes=routes, exception_handlers={HTTPException: _refused, Exception: _failed})

    def _acts(self) -> dict[str, Callable[[Request], Awaitable[Response]]]:
        """What changes an image, by the last part of its address."""
        do = self.service.corrections
        bone, unknown, done = bodies.OfBone, bodies.Unknown, bodies.Done
        return {
            "edits": self._change(
                bodies.Edit,
                lambda id, asked, judged: do.edit(
                    id, asked.revision, asked.bone, asked.tool, np.array(asked.points, float), asked.radius, judged
                ),
            ),
            "clear": self._change(bone, lambda id, asked, judged: do.clear(id, asked.revision, asked.bone, judged)),
            "ask": self.ask_again,
            "unknown": self._change(
                unknown, lambda id, asked, judged: do.mark_unknown(id, asked.revision, asked.bone, asked.on, judged)
            ),
            "done": self._change(done, lambda id, asked, judged: do.mark_done(id, asked.revision, asked.on, judged)),
            "undo": self._change(bodies.Revised, lambda id, asked, judged: do.undo(id, asked.revision, judged)),
            "redo": self._change(bodies.Revised, lambda id, asked, judged: do.redo(id, asked.revision, judged)),
        }

    async def ask_again(self, request: Request) -> Response:
        """Let the network look at a bone again."""
        if self._asked >= _MOST_ASKED:
            raise HTTPException(429, "the network is busy with other bones; ask again in a moment")
        self._asked += 1
        ask = self.service.corrections.ask
        try:
            return await self._change(bodies.OfBone, lambda id, of, judged: ask(id, of.revision, of.bone, judged))(
                request
            )
        finally:
            self._asked -= 1

    async def page(self, request: Request) -> Response:
        """The page."""
        return _file("index.html")

    async def static(self, request: Request) -> Response:
        """A file of the page."""
        return _file(request.path_params["name"])

    async def state(self, request: Request) -> Response:
        """All that the page shows at first."""
        service = self.service
        return JSONResponse(
            {
                "version": __version__,
                "model": service.model,
                "images": await run_in_threadpool(service.views.overviews),
                "guarded": self.guarded,
                "bones": content.bones(),
                "groups": content.groups(),
                "references": content.references(),
                "forms": NAMES_OF_FORMS,
                "limits": asdict(service.limits),
                "training": None if service.training is None else await run_in_threadpool(service.training.shown),
            }
        )

    async def events(self, request: Request) -> Response:
        """What happens, as it happens."""
        if self.service.events.full:
            raise HTTPException(429, "too many pages listen; close some")
        headers = {"X-Accel-Buffering": "no"}  # nginx in front would keep events back
        return StreamingResponse(self.service.events.listen(), media_type="text/event-stream", headers=headers)

    async def train(self, request: Request) -> Response:
        """Fine-tune on what is done."""
        asked = await bodies.form(request, bodies.Epochs)
        return JSONResponse(await self._done(lambda: self.service.require_training().start(asked.epochs)))

    async def stop_training(self, request: Request) -> Response:
        """Stop fine-tuning, or with ``keep=1`` show its result no longer and keep the weights from before."""
        keep = request.query_params.get("keep") == "1"

        def stop() -> Mapping[str, Any] | None:
            training = self.service.require_training()
            return training.dismiss() if keep else training.stop()

        return JSONResponse(await self._done(stop))

    async def take_weights(self, request: Request) -> Response:
        """Take the weights of fine-tuning."""
        asked = await bodies.form(request, bodies.Take)
        return JSONResponse(await self._done(self.service.take_weights, asked.uncompared))

    async def return_weights(self, request: Request) -> Response:
        """Go back to the weights that the server was given."""
        await bodies.form(request, bodies.Nothing)
        return JSONResponse(await self._done(self.service.return_weights))

    async def upload(self, request: Request) -> Response:
        """Take an image."""
        name = unquote(request.headers.get("x-name", ""), errors="replace").strip() or "image"
        if self._uploads >= _MOST_UPLOADS:
            raise HTTPException(429, "too many files at once; send this one again")
        self._uploads += 1
        try:
            path = await run_in_threadpool(self.service.store.new_file)
            try:
                await bodies.save(request, path, self.service.limits.upload)
                _require_kind(path, name)
                id, is_new = await self._done(self.service.add, name, path)
            finally:
                path.unlink(missing_ok=True)
        finally:
            self._uploads -= 1
        return JSONResponse({"id": id}, 201 if is_new else 200)

    async def image(self, request: Request) -> Response:
        """All that is shown of an image."""
        return JSONResponse(await self._done(self.service.view, _id(request), _is_judged(request)))

    async def remove(self, request: Request) -> Response:
        """Remove an image."""
        await self._done(self.service.remove, _id(request))
        return JSONResponse({})

    async def picture(self, request: Request) -> Response:
        """The radiograph between two shares of its grey range."""
        id = _id(request)
        low, high = _number(request, "low", 0.0, 0, 1), _number(request, "high", 1.0, 0, 1)
        side = int(_number(request, "side", 1024, *_SIDES))
        if low >= high:
            raise HTTPException(400, f"low {low:g} and high {high:g}: expected low below high")
        tag = f'"{id}-{low:.4g}-{high:.4g}-{side}"'
        headers = {"ETag": tag, "Cache-Control": "private, max-age=3600"}
        if request.headers.get("if-none-match") == tag:
            return Response(status_code=304, headers=headers)

        def draw() -> bytes:
            if error := self.service.store.entry(id).error:  # reading it may take all the time that it is given
                raise StoreError(error)
            return webp(grey8(shrink(self.service.views.radiograph(id).image, side), low, high), _QUALITY)

        async with self._drawing:
            return Response(await self._done(draw), media_type="image/webp", headers=headers)

    def _change(
        self, kind: type[bodies.T], change: Callable[[str, bodies.T, bool], Mapping[str, Any]]
    ) -> Callable[[Request], Awaitable[Response]]:
        """Make what answers a change of an image, whose body is of a kind."""

        async def answer(request: Request) -> Response:
            id = _id(request)
            asked = await bodies.form(request, kind)
            return JSONResponse(await self._done(change, id, asked, _is_judged(request)))

        return answer

    async def export(self, request: Request) -> Response:
        """The masks of some images, of those that are done, or of all, in another form: a file or a zip."""
        form, wanted = request.path_params["form"], request.query_params.get("ids")
        if form not in NAMES_OF_FORMS:
            raise HTTPException(404, f"no such form; there are {', '.join(NAMES_OF_FORMS)}")
        done = request.query_params.get("done") == "1"
        ids = await self._done(self._chosen, None if wanted is None else wanted.split(","), done)
        if self._exports:
            raise HTTPException(429, "another export is under way; try again once it is there")
        self._exports += 1
        try:
            made = await self._done(export, self.service.store, form, ids)
        finally:
            self._exports -= 1
        file, size = made.path.open("rb"), made.path.stat().st_size
        await run_in_threadpool(made.remove)  # what is open can still be read, and nothing stays if nobody reads on
        plain = "".join(c if c.isascii() else "_" for c in made.name)
        headers = {
            "X-Left-Out": str(len(made.left_out)),
            "Content-Length": str(size),
            "Content-Disposition": f"attachment; filename=\"{plain}\"; filename*=utf-8''{quote(made.name)}",
        }

        def parts() -> Iterator[bytes]:
            with file:
                while part := file.read(1 << 16):
                    yield part

        return StreamingResponse(parts(), media_type="application/octet-stream", headers=headers)

    def _chosen(self, wanted: list[str] | None, done: bool) -> list[str]:
        store = self.service.store
        entries = [store.entry(id) for id in (store.ids() if wanted is None else dict.fromkeys(wanted))]
        ids = [entry.id for entry in entries if wanted is not None or entry.state == "ready"]
        return [id for id in ids if not done or (store.entry(id).state == "ready" and store.marks(id).done)]

    async def _done(self, function: Callable[..., Any], *arguments: Any) -> Any:
        """Call a function in a thread; what it can't do is said with the status that fits."""
        try:
            return await run_in_threadpool(function, *arguments)
        except Exception as error:
            for kind, status in _STATUS:
                if isinstance(error, kind):
                    raise HTTPException(status, str(error)) from error
            logger.exception("%s", function)
            full = isinstance(error, OSError) and error.errno in _FULL
            raise HTTPException(507 if full else 500, in_words(error) if full else MISTAKE) from error


def _id(request: Request) -> str:
    id = request.path_params["id"]
    if not _ID.fullmatch(id):
        raise HTTPException(404, "no such image")
    return str(id)


def _require_kind(path: Path, name: str) -> None:
    try:
        require_picture(path, name)
    except RequestError as error:
        raise HTTPException(415, str(error)) from error


def require_picture(path: Path, name: str) -> None:
    """Raise :class:`RequestError` where a file of this name is of no kind that is read, by its first bytes."""
    with path.open("rb") as file:
        start = file.read(_START)
    is_dicom = has_mark(start) or begins_unmarked(start) or name.lower().endswith(DICOM_SUFFIXES)
    if not is_dicom and not is_picture(start):
        kind = kind_not_read(start)
        raise RequestError(f"{kind or 'not a picture'}; expected PNG, JPEG, BMP, TIFF or DICOM")


def _is_judged(request: Request) -> bool:
    """Whether findings and measures are wanted, which take longer than outlines."""
    return request.query_params.get("only") != "outlines"


def _number(request: Request, name: str, default: float, least: float, most: float) -> float:
    text = request.query_params.get(name)
    try:
        value = default if text is None else float(text)
    except ValueError:
        value = math.nan
    if not least <= value <= most:
        raise HTTPException(400, f"{name}: expected a number from {least:g} to {most:g}")
    return value


def _file(name: str) -> Response:
    """A file of the page; those of the report serve the page too."""
    for room in ("serve", "report"):
        folder = files("handseg_monai") / room / "page"
        named: dict[str, Traversable] = {path.name: path for path in folder.iterdir()} if folder.is_dir() else {}
        suffix = name[name.rfind(".") :] if "." in name else ""
        if name in named and suffix in _TYPES:
            content = named[name].read_bytes()
            headers = {"Cache-Control": "no-cache", "ETag": f'"{hashlib.sha256(content).hexdigest()[:16]}"'}
            return Response(content, media_type=_TYPES[suffix], headers=headers)
    raise HTTPException(404, "no such address")


async def _refused(request: Request, error: Exception) -> Response:
    assert isinstance(error, HTTPException)
    words = {404: "no such address", 405: "this address has no such method"}
    text = words[error.status_code] if error.detail in ("Not Found", "Method Not Allowed") else error.detail
    return JSONResponse({"error": text}, error.status_code, headers=error.headers)


async def _failed(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": MISTAKE}, 500)
