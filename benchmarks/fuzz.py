"""Malformed input of every kind: no traceback, no hang, no flood of memory, no file read outside its folder.

``python -m benchmarks.fuzz [--quick] [--seed S]``: 20,000 protocols, HDF5, ISMRMRD, NIfTI, DICOM and NumPy files and
folders of them, damaged, lying or clumsy (see ``benchmarks/_malformed.py`` and ``_clumsy.py``), each opened as the
commands open it and its first and last item read. What is allowed is an image or one sentence; anything else is printed
with the number that makes it again.

Each batch runs in a forked child that may take 1 GiB more than it has at its start. Ten seconds of processor time for
one file are a hang. A folder beside the files is watched (inotify), and files lead there by links, external storage
and virtual data sets: it must never be opened.
"""

import argparse
import ctypes
import logging
import mmap
import os
import random
import resource
import shutil
import signal
import struct
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from benchmarks import _malformed as malformed
from benchmarks.common import ROOT, Figure, conclude

SHARES = {
    "protocol": 3000,
    "hdf5": 5000,
    "ismrmrd": 2500,
    "nifti": 4000,
    "dicom": 2500,
    "array": 1000,
    "folder": 2000,
}
READERS = {"hdf5": "fastmri_hdf5", "ismrmrd": "ismrmrd", "nifti": "nifti", "dicom": "dicom", "array": "arrays"}
BATCH = 500
MOST_MEMORY = 1 << 30
MOST_SECONDS = 10


class HangError(Exception):
    """A file took longer than it may."""


def read(path: Path, kind: str) -> None:
    """Open a file as the commands do, and read its first and last item."""
    if kind == "protocol":
        from rsd_med.protocol import dump_protocol, load_protocol

        dump_protocol(load_protocol(path))
        return
    from rsd_med.data.opening import open_scan

    # By its content first; damage to the first bytes must not keep the reader itself from being tried.
    try:
        source = open_scan(path)
    except Exception as error:
        if "recognised" not in str(error) or kind == "folder":
            raise
        source = open_scan(path, kind=READERS[kind])
    for index in {0, len(source) - 1} if len(source) else ():
        source.id(index)
        source.shape(index)
        source[index]
    source.stacks()


def attempt(path: Path, kind: str) -> str:
    """Return ``read``, ``refused``, or what is wrong with how a file was refused."""
    from rsd_med.base.errors import RsdMedError

    try:
        read(path, kind)
    except RsdMedError as error:
        message = str(error)
        if str(path.parent) in message and kind != "protocol":
            return f"tells the folder: {message[:200]}"
        return "refused" if message and "Traceback" not in message else f"no sentence: {message[:200]}"
    except HangError:
        return f"hangs: more than {MOST_SECONDS} s"
    except BaseException as error:
        return f"{type(error).__name__}: {' '.join(str(error).split())[:200]}"
    return "read"


class Watch:
    """Notes whether anything in a folder was opened (Linux; elsewhere it notes nothing)."""

    OPENED = 0x20

    def __init__(self, folder: Path) -> None:
        self.handle = -1
        with suppress(OSError, AttributeError):
            library = ctypes.CDLL(None, use_errno=True)
            self.handle = library.inotify_init1(os.O_NONBLOCK)
            if library.inotify_add_watch(self.handle, os.fsencode(folder), self.OPENED) < 0:
                os.close(self.handle)
                self.handle = -1

    def opened(self) -> bool:
        """Whether something was opened since the last time."""
        try:
            return self.handle >= 0 and len(os.read(self.handle, 65536)) > 0
        except BlockingIOError:
            return False


@contextmanager
def limits() -> Iterator[None]:
    """Let the child take 1 GiB more than it has, and each file ten seconds of processor time."""

    def hang(number: int, frame: object) -> None:
        raise HangError

    signal.signal(signal.SIGPROF, hang)
    held = int(Path("/proc/self/status").read_text().split("VmData:")[1].split()[0]) * 1024
    hard = resource.getrlimit(resource.RLIMIT_DATA)[1]
    resource.setrlimit(resource.RLIMIT_DATA, (held + MOST_MEMORY, hard))
    resource.setrlimit(resource.RLIMIT_CORE, (0, resource.getrlimit(resource.RLIMIT_CORE)[1]))
    yield
    signal.setitimer(signal.ITIMER_PROF, 0)


def run_batch(kind: str, first: int, count: int, seeds: list[bytes], folder: Path, seed: int) -> Counter[str]:
    """Try ``count`` files in a child; return how each ended. A child that dies is a finding, and another goes on."""
    outcomes: Counter[str] = Counter()
    done = mmap.mmap(-1, 8)
    while count > 0:
        reader, writer = os.pipe()
        child = os.fork()
        if child == 0:
            os.close(reader)
            code = 1
            try:
                _child(kind, first, count, seeds, folder, seed, writer, done)
                code = 0
            finally:
                os._exit(code)
        os.close(writer)
        told = _listen(reader, child, done)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        for line in told.splitlines():
            outcomes[line] += 1
        tried = struct.unpack("<q", done[:8])[0]
        if code == 0:
            break
        number = first + tried
        outcomes[f"finding: {kind} {number}: the process ended with {code}"] += 1
        first, count = number + 1, count - tried - 1
    return outcomes


def _child(
    kind: str, first: int, count: int, seeds: list[bytes], folder: Path, seed: int, writer: int, done: mmap.mmap
) -> None:
    elsewhere = folder / "elsewhere" / "secret.h5"
    watch = Watch(elsewhere.parent)
    place = folder / "root"
    with limits():
        for step in range(count):
            done[:8] = struct.pack("<q", step)
            number = first + step
            content = malformed.malform(kind, seeds, random.Random(f"{seed}/{kind}/{number}"), folder, elsewhere)
            path = place / f"file{malformed.SUFFIXES[kind]}"
            malformed.put(content, path)
            watch.opened()
            signal.setitimer(signal.ITIMER_PROF, MOST_SECONDS)
            outcome = attempt(path, kind)
            signal.setitimer(signal.ITIMER_PROF, 0)
            if watch.opened():
                outcome = "opened a file outside its folder"
            if outcome not in ("read", "refused"):
                outcome = f"finding: {kind} {number}: {outcome}"
            os.write(writer, (" ".join(outcome.split()) + "\n").encode("utf-8", "replace"))


def _listen(reader: int, child: int, done: mmap.mmap) -> str:
    """Collect what a child tells; kill it where nothing happens for two minutes (the machine may be busy)."""
    import select

    parts = []
    before, since = -1, time.monotonic()
    while True:
        ready, _, _ = select.select([reader], [], [], 5)
        if ready:
            part = os.read(reader, 65536)
            if not part:
                break
            parts.append(part)
        now = struct.unpack("<q", done[:8])[0]
        if now != before:
            before, since = now, time.monotonic()
        elif time.monotonic() - since > 120:
            os.kill(child, signal.SIGKILL)
            break
    os.close(reader)
    return b"".join(parts).decode("utf-8", "replace")


def campaign(shares: dict[str, int], seed: int, shared: Path | None, tell: bool = True) -> dict[str, Counter[str]]:
    """Try all files; return for each kind how many were read, refused, or a finding."""
    import warnings

    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)  # what readers have to say about a file is not what is asked here
    results: dict[str, Counter[str]] = {}
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as temporary:
        folder = Path(temporary)
        (folder / "root").mkdir()
        (folder / "elsewhere").mkdir()
        seeds = malformed.real_files(shared, folder)
        shutil.copyfile(folder / "seed.h5", folder / "elsewhere" / "secret.h5")
        for kind, count in shares.items():
            results[kind] = Counter()
            if not seeds[kind]:
                if tell:
                    print(f"{kind}: left out, there is no real file of it here", flush=True)
                continue
            _import_reader(folder, kind, seeds[kind][0])
            for first in range(0, count, BATCH):
                results[kind] += run_batch(kind, first, min(BATCH, count - first), seeds[kind], folder, seed)
            if tell:
                plain = {name: number for name, number in results[kind].items() if not name.startswith("finding")}
                print(f"{kind}: {plain}", flush=True)
                for name in results[kind]:
                    if name.startswith("finding"):
                        print(f"  {name}", flush=True)
    return results


def _import_reader(folder: Path, kind: str, content: bytes) -> None:
    """Read one good file here, so that no child has to import the reader."""
    path = folder / "root" / f"good{malformed.SUFFIXES[kind]}"
    malformed.put({b"volume.nii": malformed.nifti()} if kind == "folder" else content, path)
    outcome = attempt(path, kind)
    if outcome not in ("read", "refused"):
        raise SystemExit(f"the undamaged {kind} file: {outcome}")
    shutil.rmtree(path) if path.is_dir() else path.unlink()


def main() -> int:
    """Run and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.fuzz", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a hundredth of the files")
    parser.add_argument("--seed", type=int, default=0, help="what every file is drawn from")
    options = parser.parse_args()
    import torch

    torch.set_num_threads(1)
    base = Path(os.environ.get("RSD_MED_SHARED_DATA", ROOT.parent / "shared" / "data"))
    shares = {kind: count // 100 for kind, count in SHARES.items()} if options.quick else SHARES
    results = campaign(shares, options.seed, base if base.is_dir() else None)
    total = sum(results.values(), Counter())
    findings = [name for name in total if name.startswith("finding")]
    figures = [
        Figure("files tried", sum(total.values()), None if options.quick else 20_000, at_most=False),
        Figure("findings (traceback, hang, memory, foreign file)", len(findings), 0),
        *(Figure(f"{kind}: {name}", found[name]) for kind, found in results.items() for name in ("read", "refused")),
    ]
    details = {"seed": options.seed, "findings": findings, "real files": base.is_dir()}
    return conclude("fuzz-quick" if options.quick else "fuzz", figures, details)


if __name__ == "__main__":
    sys.exit(main())
