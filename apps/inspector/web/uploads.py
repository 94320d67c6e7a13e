"""Uploads: streamed to the session's private folder under a name of our own, refused unless the content is a scan's.

What the browser says about a file (name, type) is never used: the first bytes decide, the suffix is ours, and the
content is only ever opened in the child process of ``compute.confined``.
"""

import asyncio
import contextlib
import shutil
from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, HTTPException, Request
from fastapi.responses import JSONResponse
from starlette.requests import ClientDisconnect

from rsd_med.base.errors import DataError
from rsd_med.data.matlab_file import is_recent
from rsd_med.data.recognition import is_dicom

from .session import Session, current_session, new_id
from .space import PART

HEAD_BYTES = 352
MOST_FILES = 1024
"""Files of one DICOM series."""
MOST_UPLOADS = 20

WHAT = (
    "Only scans are taken: HDF5 (fastMRI, ISMRMRD), MATLAB 7.3 (older ones: save with -v7.3), NIfTI (.nii, .nii.gz), "
    "DICOM, or NumPy arrays (.npy)."
)


def sniff(head: bytes) -> str | None:
    """Return the suffix that the first bytes of a file call for; None when they are no scan's."""
    if head.startswith(b"\x89HDF\r\n\x1a\n"):
        return ".h5"
    if is_recent(head):
        return ".mat"
    if head.startswith(b"\x1f\x8b"):
        return ".nii.gz"
    if head[344:348] in (b"n+1\0", b"ni1\0") or head[4:8] == b"n+2\0":
        return ".nii"
    if head.startswith(b"\x93NUMPY"):
        return ".npy"
    return ".dcm" if is_dicom(head) else None


def upload_routes() -> APIRouter:
    """Return ``POST /upload[?set=<id>]``: the body is one file; further files of a DICOM series name the first's id."""
    routes = APIRouter()

    @routes.post("/upload")
    async def upload(request: Request) -> JSONResponse:
        session = current_session(request)
        group = request.query_params.get("set")
        folder = _folder(session, group)
        path = folder / f".{new_id()}{PART}"
        try:
            with session.space.arrival(session.folder) as take:
                suffix = await _receive(request, path, take)
            if group is not None and suffix != ".dcm":
                raise HTTPException(415, "Several files at once make one DICOM series; send other scans one by one.")
            if suffix != ".dcm" and any(child.suffix != PART for child in folder.iterdir()):
                raise HTTPException(415, "Send scans of this kind one by one.")
            there = sum(child.suffix != PART for child in folder.iterdir())
            path.rename(folder / f"{there:04d}{suffix}")
        except BaseException as problem:
            path.unlink(missing_ok=True)
            if group is None:
                shutil.rmtree(folder, ignore_errors=True)
            if isinstance(problem, ClientDisconnect):
                raise HTTPException(400, "The file did not come whole.") from None  # nobody hears it
            if isinstance(problem, DataError):
                raise HTTPException(413, str(problem)) from None
            raise
        if group is None:
            group = new_id()
            with session.lock:
                session.uploads[group] = folder
        return JSONResponse({"id": group})

    return routes


def uploaded_path(session: Session, upload: str) -> Path:
    """Return what was uploaded under an id: the file, or the folder of a series.

    Raises
    ------
    DataError
        When the session has no such upload.
    """
    folder = session.uploads.get(upload)
    if folder is None or not folder.is_dir():
        raise DataError("That upload belongs to another session or is gone; send the file again.")
    files = sorted(folder.iterdir())
    return files[0] if len(files) == 1 else folder


def forget_upload(session: Session, upload: str) -> None:
    """Remove an upload."""
    with session.lock:
        folder = session.uploads.pop(upload, None)
    if folder is not None:
        shutil.rmtree(folder, ignore_errors=True)


def _folder(session: Session, group: str | None) -> Path:
    if group is None:
        while len(session.uploads) >= MOST_UPLOADS:
            forget_upload(session, next(iter(session.uploads)))
        try:
            folder = session.new_path()
        except DataError as error:
            raise HTTPException(413, str(error)) from error
        folder.mkdir(mode=0o700)
        return folder
    started = session.uploads.get(group)
    if started is None:
        raise HTTPException(404, "not found")
    if len(list(started.iterdir())) >= MOST_FILES:
        raise HTTPException(413, f"A series of more than {MOST_FILES} files is not taken.")
    return started


async def _receive(request: Request, path: Path, take: Callable[[int], None]) -> str:
    """Write the body to a file as it comes; return its suffix, decided by its first bytes."""
    suffix, head = None, b""
    with path.open("wb") as file:

        def keep(chunk: bytes) -> None:
            take(len(chunk))
            file.write(chunk)

        async for chunk in request.stream():
            if suffix is None:
                head += chunk[: HEAD_BYTES - len(head)]
                if len(head) >= HEAD_BYTES and (suffix := sniff(head)) is None:
                    # Said before the rest of a large file is on its way.
                    raise HTTPException(415, WHAT)
            await asyncio.to_thread(keep, chunk)
    suffix = suffix or sniff(head)
    if suffix is None:
        raise HTTPException(415, WHAT)
    with contextlib.suppress(OSError):
        path.chmod(0o600)
    return suffix
