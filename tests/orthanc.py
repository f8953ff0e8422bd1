"""A real PACS on loopback: Orthanc with its DICOMweb plugin, its own port and folder, and a password."""

from __future__ import annotations

import io
import json
import os
import shutil
import socket
import subprocess
import time
from pathlib import Path

import pytest
import requests
from pydicom import Dataset, dcmread

PROGRAM = shutil.which("Orthanc", path=f"{os.environ.get('PATH', '')}:/usr/sbin")
PLUGIN = Path("/usr/share/orthanc/plugins/libOrthancDicomWeb.so")
USER, PASSWORD = "reader", "open sesame 7"

needs_orthanc = pytest.mark.skipif(
    PROGRAM is None or not PLUGIN.exists(), reason="needs Orthanc of Debian's orthanc and orthanc-dicomweb"
)


class Orthanc:
    """Orthanc, started on entering; it may be killed and started again on the same port and folder."""

    def __init__(self, folder: Path) -> None:
        folder.mkdir(parents=True)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self._root = f"http://127.0.0.1:{self.port}"
        self.url = f"{self._root}/dicom-web"
        self._configuration, self._log = folder / "orthanc.json", folder / "log"
        content = {
            "StorageDirectory": str(folder / "storage"),
            "IndexDirectory": str(folder / "storage"),
            "HttpPort": self.port,
            "RemoteAccessAllowed": False,
            "AuthenticationEnabled": True,
            "RegisteredUsers": {USER: PASSWORD},
            "DicomServerEnabled": False,
            "Plugins": [str(PLUGIN)],
        }
        self._configuration.write_text(json.dumps(content))
        self._session = requests.Session()
        self._session.auth = (USER, PASSWORD)

    def start(self) -> None:
        assert PROGRAM is not None
        with self._log.open("ab") as log:
            self._process = subprocess.Popen([PROGRAM, str(self._configuration)], stdout=log, stderr=log)
        end = time.monotonic() + 60
        while True:
            try:
                if self._session.get(f"{self.url}/instances?limit=1", timeout=10).ok:
                    return
            except requests.ConnectionError:
                pass
            assert self._process.poll() is None, self._log.read_text()
            assert time.monotonic() < end, self._log.read_text()
            time.sleep(0.1)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> Orthanc:
        self.start()
        return self

    def __exit__(self, *args: object) -> None:
        self.kill()
        self._session.close()

    def add(self, dataset: Dataset) -> None:
        content = io.BytesIO()
        dataset.save_as(content, enforce_file_format=True)
        assert self._session.post(f"{self._root}/instances", content.getvalue()).ok

    def count(self) -> int:
        """Number of instances."""
        return int(self._session.get(f"{self._root}/statistics").json()["CountInstances"])

    def all(self) -> list[Dataset]:
        """All that it holds, by its own interface, which is not DICOMweb."""
        ids = self._session.get(f"{self._root}/instances").json()
        files = (self._session.get(f"{self._root}/instances/{one}/file").content for one in ids)
        return [dcmread(io.BytesIO(content)) for content in files]

    def segs(self) -> dict[str, list[Dataset]]:
        """SEGs by the UID of their source."""
        found: dict[str, list[Dataset]] = {}
        for dataset in self.all():
            if dataset.Modality == "SEG":
                (series,) = dataset.ReferencedSeriesSequence
                (instance,) = series.ReferencedInstanceSequence
                found.setdefault(str(instance.ReferencedSOPInstanceUID), []).append(dataset)
        return found
