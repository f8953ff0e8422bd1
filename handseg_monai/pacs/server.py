"""A PACS by DICOMweb: search (QIDO-RS), fetch (WADO-RS) and store (STOW-RS), whatever it answers."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

from dicomweb_client.web import DICOMwebClient
from requests import HTTPError

from handseg_monai.pacs.address import Address
from handseg_monai.pacs.query import Instance, Query, instance_of, passed_over
from handseg_monai.pacs.session import Limits, PacsError, PacsGoneError, Session, content_type, shown_type
from handseg_monai.words import counted

if TYPE_CHECKING:
    from pydicom import Dataset

PAGE = 200
"""Instances that a page of a list has at most, as many as Azure allows; a server may give fewer."""
_ACCEPT = 'multipart/related; type="application/dicom"; transfer-syntax=*'
_FAILURES = {
    0x0110: "it failed at it",
    0x0122: "it does not store DICOM SEG; switch this kind on in the server",
    0x0124: "these credentials may not store; ask who runs it for the right",
}
_FAILURES_BY_BYTE = {
    0xA7: "it is out of resources; look for room on its disk",
    0xA9: "the SEG contradicts what it holds of the study",
    0xC0: "it can't understand the SEG",
}
"""By the upper byte."""


class Server:
    """A PACS.

    Parameters
    ----------
    address
        Where it is.
    limits
        What to put up with.
    """

    def __init__(self, address: Address, limits: Limits = Limits()) -> None:  # noqa: B008
        # Its messages, and those below it, quote what the server says, and queries, which may hold a PatientID.
        for name in ("dicomweb_client", "retrying", "urllib3"):
            logging.getLogger(name).setLevel(logging.CRITICAL)
        self._url, self._session = address.url, Session(address, limits)
        # Sent in one piece, whose length is stated: not each server takes chunks.
        self._client = DICOMwebClient(address.url, self._session, chunk_size=limits.instance)
        self._client.set_http_retry_params(retry=False)

    def __enter__(self) -> Server:
        return self

    def __exit__(self, *args: object) -> None:
        self._session.close()

    def search(self, query: Query) -> list[Instance]:
        """List the instances that a query asks for, each once, in the server's order.

        Raises
        ------
        PacsError
            The server answers nonsense, other instances than were asked for, or the same for each page.
        """
        found: dict[Instance, None] = {}
        for modality in dict.fromkeys(query.modalities):
            filters = query.filters(modality)
            seen = 0
            while query.limit is None or len(found) < query.limit:
                size = min(PAGE, query.limit - len(found)) if query.limit else PAGE
                items = self._items(None, filters, size, seen)
                before = len(found)
                for item in items:
                    if wrong := " and ".join(passed_over(item, filters)):
                        raise PacsError(
                            f"asked for a {wrong}, the server gives an instance of another one: it passes over what it "
                            "is asked for. Leave this option out, if you mean to segment all that the server gives"
                        )
                found.update(dict.fromkeys(map(instance_of, items)))
                seen += len(items)
                if not items or len(items) > size:  # this one gives all at once
                    break
                if len(found) == before:
                    raise PacsError(
                        f"the server gives the same {counted(len(items), 'instance')} for each page, so that it may "
                        f"keep others back; ask for no more than it gives at once (--limit {len(found)}), say by --date"
                    )
        return list(found)[: query.limit]

    def holds(self, instance: Instance) -> bool:
        """Whether an instance is there."""
        items = self._items(instance.study, {"SOPInstanceUID": instance.uid}, PAGE, 0)
        return any(instance_of(item).uid == instance.uid for item in items)

    def fetch(self, instance: Instance) -> bytes:
        """Return an instance as the file that the server holds.

        ``dicomweb-client`` would hand over what pydicom makes of it, which inflates a deflated file without limit.

        Raises
        ------
        PacsError
            The server has it not, may not give it, or answers something else.
        """
        url = f"{self._url}/studies/{instance.study}/series/{instance.series}/instances/{instance.uid}"
        response = self._session.get(url, headers={"Accept": _ACCEPT})
        kind, boundary = content_type(response)
        if kind == "application/dicom":  # breaks the standard, as some servers do
            return response.content
        if kind != "multipart/related" or not boundary:
            raise PacsError(f"the server sent {shown_type(kind)} instead of the instance; look at its log")
        _, *parts = (b"\r\n" + response.content).split(b"\r\n--" + boundary.encode("latin-1", "replace"))
        if not parts or not parts[-1].startswith(b"--"):
            raise PacsError("the instance was cut short on its way; run the same command again")
        if len(parts) != 2:
            raise PacsError(f"the server sent {counted(len(parts) - 1, 'instance')}; expected the one asked for")
        _, _, content = parts[0].partition(b"\r\n\r\n")
        return content

    def store(self, seg: Dataset) -> None:
        """Store an instance in its study.

        Raises
        ------
        PacsError
            The server has not stored it, and why.
        """
        instance = Instance(str(seg.StudyInstanceUID), str(seg.SeriesInstanceUID), str(seg.SOPInstanceUID))
        try:
            answer = self._client.store_instances([seg], instance.study)
            failed = list(answer.get("FailedSOPSequence") or ())
            stored = {str(item.get("ReferencedSOPInstanceUID")) for item in answer.get("ReferencedSOPSequence") or ()}
            if instance.uid in stored and not failed:
                return
            reason = _reason(failed)
        except PacsGoneError:
            raise
        except PacsError as error:
            reason = str(error)
        except HTTPError as error:
            reason = _reason(_failed_in(error.response.content if error.response is not None else b""))
        except Exception:  # whatever an answer makes of the parser
            reason = "its answer can't be understood; look into its log"
        # What was sent may be there all the same: sent before an answer was lost, or by another run.
        if not self.holds(instance):
            raise PacsError(f"the server has not stored the SEG: {reason}")

    def _items(self, study: str | None, filters: dict[str, str], limit: int, offset: int) -> list[dict[str, Any]]:
        try:
            items = self._client.search_for_instances(
                study, search_filters=filters, fields=list(filters), limit=limit, offset=offset
            )
        except PacsError:
            raise
        except HTTPError:
            raise PacsError("the server answers 409 (Conflict) to a search; look into its log") from None
        except Exception:  # whatever an answer makes of the parser
            raise PacsError(_NO_LIST) from None
        if not isinstance(items, list) or not all(isinstance(item, dict) for item in items):
            raise PacsError(_NO_LIST)
        if any(not any((i.study, i.series, i.uid)) for i in map(instance_of, items)):
            raise PacsError(_NO_LIST)
        return items


_NO_LIST = "the server's answer to a search is no list of instances in DICOM JSON; is the URL the root of its DICOMweb?"


def _failed_in(content: bytes) -> list[Dataset]:
    from pydicom import Dataset

    try:
        return list(Dataset.from_json(content.decode()).get("FailedSOPSequence") or ())
    except Exception:  # whatever an answer makes of the parser
        return []


def _reason(failed: Iterable[Dataset]) -> str:
    """Return why an instance was not stored: the standard's codes, never the server's words."""
    for item in failed:
        code = item.get("FailureReason")
        if isinstance(code, int) and 0 <= code <= 0xFFFF:
            words = _FAILURES.get(code) or _FAILURES_BY_BYTE.get(code >> 8) or "look into its log"
            return f"failure {code:04X}, {words}"
    return "it does not say why; look into its log"
