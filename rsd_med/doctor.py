"""Command: check that this machine can train, one line for each check, with what to do where it cannot."""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rsd_med.base.command import BAD_USAGE, DONE, run_command

LEAST_MEMORY_GIB = 4.0
LEAST_DISK_GIB = 2.0


@dataclass(frozen=True)
class Finding:
    """What one check found.

    Attributes
    ----------
    good
        Whether training can do with it.
    what
        What was found, a few words.
    mend
        What to do where it is not good.
    """

    good: bool
    what: str
    mend: str = ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Parse the command line, run, return the exit code: 0 all well, 2 something to mend."""
    parser = argparse.ArgumentParser(
        prog="python -m rsd_med.doctor",
        description="Check that this machine can train: Python, torch and torchvision as a pair, device, precision, "
        "write permission, memory and disk. Exit code 0: all well; 2: something to mend.",
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs will be written (default: runs)"
    )
    options = parser.parse_args(arguments)
    return run_command(lambda: report(options.runs))


def report(runs: Path) -> int:
    """Print one line for each check and return the exit code."""
    torch = check_torch()
    findings = {"python": check_python(), "torch": torch}
    if torch.good:
        findings |= {"device": check_device(), "precision": check_precision()}
    findings |= {"runs folder": check_runs_folder(runs), "memory": check_memory(), "disk": check_disk(runs)}
    for name, finding in findings.items():
        mend = f"; {finding.mend}" if finding.mend else ""
        print(f"{'ok  ' if finding.good else 'MEND'}  {name}: {finding.what}{mend}")
    return DONE if all(finding.good for finding in findings.values()) else BAD_USAGE


def check_python() -> Finding:
    """Check that Python is new enough."""
    version = ".".join(map(str, sys.version_info[:3]))
    return Finding(sys.version_info >= (3, 11), version, "" if sys.version_info >= (3, 11) else "install 3.11 or newer")


def check_torch() -> Finding:
    """Check that torch and torchvision import together: wheels of different builds do not."""
    try:
        import torch
        import torchvision
    except (ImportError, RuntimeError, OSError) as error:
        reason = (str(error).splitlines() or [type(error).__name__])[0]
        mend = "install torch and torchvision together, from one source: make install"
        return Finding(False, f"torch and torchvision do not import as a pair ({reason})", mend)
    return Finding(True, f"torch {torch.__version__}, torchvision {torchvision.__version__}")


def check_device() -> Finding:
    """Name the device that training takes, and check that it computes."""
    import torch

    threads = f"CPU, {torch.get_num_threads()} threads"
    if not torch.cuda.is_available():
        return Finding(True, threads, "no GPU found: fine for the quickstart, slow for large protocols")
    try:
        torch.ones(8, device="cuda").sum().item()
    except RuntimeError as error:
        reason = str(error).splitlines()[0]
        return Finding(False, f"the GPU does not compute ({reason})", "check its driver, or set engine.device=cpu")
    memory = torch.cuda.get_device_properties(0).total_memory / 2**30
    return Finding(True, f"{torch.cuda.get_device_name(0)}, {memory:.0f} GiB; {threads}")


def check_precision() -> Finding:
    """Name the precisions that the device computes in."""
    import torch

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        with torch.autocast(device, torch.bfloat16):
            product = torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)
    except RuntimeError:
        return Finding(True, "float32", "no bfloat16 here: set diffusion.precision=float32")
    return Finding(True, "bfloat16 and float32" if product.dtype == torch.bfloat16 else "float32")


def check_runs_folder(runs: Path) -> Finding:
    """Check that a file can be written where runs will go, or in the nearest folder above that exists."""
    folder = _existing(runs)
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            file.write(b"x")
    except OSError as error:
        reason = (error.strerror or str(error)).lower()
        return Finding(False, f"{runs} cannot be written ({reason})", "choose another with --run-dir")
    return Finding(True, f"{runs} can be written")


def check_memory() -> Finding:
    """Check that there is enough main memory."""
    try:
        gib = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    except (AttributeError, ValueError, OSError):
        return Finding(True, "size not known on this system")
    mend = "" if gib >= LEAST_MEMORY_GIB else f"{LEAST_MEMORY_GIB:.0f} GiB are needed"
    return Finding(gib >= LEAST_MEMORY_GIB, f"{gib:.0f} GiB", mend)


def check_disk(runs: Path) -> Finding:
    """Check that there is enough free space for a run."""
    gib = shutil.disk_usage(_existing(runs)).free / 2**30
    mend = "" if gib >= LEAST_DISK_GIB else f"free some: {LEAST_DISK_GIB:.0f} GiB are needed for a run"
    return Finding(gib >= LEAST_DISK_GIB, f"{gib:.1f} GiB free for {runs}", mend)


def _existing(path: Path) -> Path:
    """Return the nearest folder above a path that exists."""
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


if __name__ == "__main__":
    sys.exit(main())
