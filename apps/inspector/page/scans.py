"""Which scan a user means: a held-out example, or an upload, read once however often it is asked for."""

from pathlib import Path
from typing import Any

from rsd_med.base.errors import DataError

from ..compute.parsing import read_item
from ..web.artefacts import Item
from ..web.session import Session
from ..web.uploads import uploaded_path
from .desk import one_of, whole

AS_MEASURED = "As measured"
ACCELERATIONS = (AS_MEASURED, "2", "4", "6", "8")
EXAMPLE_NAMES = tuple(f"Held-out example {number + 1}" for number in range(8))
UPLOADED = "Uploaded scan"
MOST_ITEMS = 4
"""Slices that stay as they were read, in a session."""


def chosen_upload(session: Session, upload: Any, number: Any) -> tuple[Path, int | None]:
    """Return what was uploaded, and which of its slices is meant (None: the middle one), from what a browser sent.

    Raises
    ------
    DataError
        When there is no such upload, or the slice is no number.
    """
    if not isinstance(upload, str) or not upload:
        raise DataError("Send a scan first.")
    return uploaded_path(session, upload), None if number in (None, "") else whole(number, 0, 100_000, "The slice")


def is_upload(scan: Any) -> bool:
    """Whether an upload is meant, and no example; DataError for anything that is neither."""
    return bool(one_of(scan, (*EXAMPLE_NAMES, UPLOADED), "The scan") == UPLOADED)


def read_scan_item(session: Session, scan: Any, upload: Any, number: Any) -> int | Item:
    """Return the scan that is meant: an example's number, or what the child process has read of an upload.

    Raises
    ------
    DataError
        When there is no such scan, or it cannot be read.
    """
    if not is_upload(scan):
        return EXAMPLE_NAMES.index(scan)
    path, index = chosen_upload(session, upload, number)
    # Further files of a series may follow its first.
    key = upload, index, len(list(path.iterdir())) if path.is_dir() else 1
    with session.reading:
        if key not in session.items:
            out = session.new_path(".npz")
            session.items[key] = Item(out, read_item(path, out, index))
        session.items.move_to_end(key)
        while len(session.items) > MOST_ITEMS:
            session.items.popitem(last=False)[1].path.unlink(missing_ok=True)
        return session.items[key]


def chosen_acceleration(value: Any, scan: int | Item) -> float | None:
    """Return by how much a scan is to be undersampled; None: as it was measured."""
    acceleration = one_of(value, ACCELERATIONS, "The acceleration")
    if isinstance(scan, Item) and scan.facts["kind"] == "scan" and scan.facts["acceleration"] > 1.02:
        return None  # undersampled already: as it was measured, whatever the switch says
    return None if acceleration == AS_MEASURED else float(acceleration)
