"""Command: check that this machine can train, one line for each check, with what to do where it cannot.

With a protocol it also says whether memory and disk are enough for it.
"""

import argparse
import os
import shutil
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rsd_med.base.command import BAD_USAGE, DONE, program, run_command

if TYPE_CHECKING:
    from rsd_med.protocol import Protocol

LEAST_MEMORY_GIB = 4.0
LEAST_DISK_GIB = 2.0
OLDEST_TORCH = (2, 10)
"""Older ones can be made to write outside their memory by a file that is only read (CVE-2026-24747)."""

CONTROL_GROUP = Path("/sys/fs/cgroup")

PROCESS_GIB = 1.5
"""Python with torch, MONAI and their like, before any data."""


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
        prog=program("rsd_med.doctor"),
        description="Check that this machine can train: Python, torch and torchvision as a pair, device, precision, "
        "threads, write permission, memory and disk. Exit code 0: all well; 2: something to mend.",
    )
    parser.add_argument(
        "protocol", type=Path, nargs="?", metavar="PROTOCOL", help="also: enough memory and disk for this?"
    )
    parser.add_argument(
        "--runs", type=Path, default=Path("runs"), metavar="DIR", help="where runs will be written (default: runs)"
    )
    parser.add_argument(
        "--device-memory",
        type=float,
        metavar="GIB",
        help="with PROTOCOL: does it fit on a GPU of so many GiB, such as 80? (default: the one here)",
    )
    options = parser.parse_args(arguments)
    return run_command(lambda: report(options.runs, options.protocol, options.device_memory))


def report(runs: Path, protocol: Path | None = None, device_gib: float | None = None) -> int:
    """Print one line for each check and return the exit code."""
    torch = check_torch()
    findings = {"python": check_python(), "torch": torch}
    if torch.good:
        findings |= {"device": check_device(), "precision": check_precision(), "threads": check_threads()}
    findings |= {"runs folder": check_runs_folder(runs), "memory": check_memory(), "disk": check_disk(runs)}
    if protocol is not None and torch.good:
        from rsd_med.protocol import find_protocol, load_protocol

        path, base_dir = find_protocol(protocol)
        loaded = load_protocol(path)
        if device_gib is None:
            device_gib = gpu_gib()
        if device_gib is not None and loaded.engine.device != "cpu":
            findings[f"GPU for {loaded.name}"] = check_gpu_for(loaded, base_dir, device_gib)
        findings |= {
            f"memory for {loaded.name}": check_memory_for(loaded),
            f"disk for {loaded.name}": check_disk_for(loaded, runs),
        }
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
    versions = f"torch {torch.__version__}, torchvision {torchvision.__version__}"
    if tuple(int(part) for part in torch.__version__.split(".")[:2]) < OLDEST_TORCH:
        return Finding(False, versions, "2.10 closes a hole in reading checkpoints: make install")
    return Finding(True, versions)


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
    if device == "cuda" and not torch.cuda.is_bf16_supported(including_emulation=False):
        return Finding(
            True, "float32; this GPU has no bfloat16 of its own", "set diffusion.precision=float32, emulation is slow"
        )
    try:
        with torch.autocast(device, torch.bfloat16):
            product = torch.ones(8, 8, device=device) @ torch.ones(8, 8, device=device)
    except RuntimeError:
        return Finding(True, "float32", "no bfloat16 here: set diffusion.precision=float32")
    return Finding(True, "bfloat16 and float32" if product.dtype == torch.bfloat16 else "float32")


def check_threads() -> Finding:
    """Check that torch starts no more threads than this process has cores."""
    import torch

    threads, cores = torch.get_num_threads(), usable_cores()
    if threads > cores:
        mend = f"they wait for each other: export OMP_NUM_THREADS={cores}"
        return Finding(False, f"{threads} threads on {cores} cores", mend)
    mend = f"to use them all: export OMP_NUM_THREADS={cores}" if threads < cores // 2 else ""
    return Finding(True, f"{threads} of {cores} cores", mend)


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
    gib = usable_memory_gib()
    if gib is None:
        return Finding(True, "size not known on this system")
    mend = "" if gib >= LEAST_MEMORY_GIB else f"{LEAST_MEMORY_GIB:.0f} GiB are needed"
    return Finding(gib >= LEAST_MEMORY_GIB, f"{gib:.0f} GiB", mend)


def check_disk(runs: Path) -> Finding:
    """Check that there is enough free space for a run."""
    gib = shutil.disk_usage(_existing(runs)).free / 2**30
    mend = "" if gib >= LEAST_DISK_GIB else f"free some: {LEAST_DISK_GIB:.0f} GiB are needed for a run"
    return Finding(gib >= LEAST_DISK_GIB, f"{gib:.1f} GiB free for {runs}", mend)


def gpu_gib() -> float | None:
    """Return the memory of the GPU that training takes, in GiB; None without one."""
    import torch

    return torch.cuda.get_device_properties(0).total_memory / 2**30 if torch.cuda.is_available() else None


def check_gpu_for(protocol: "Protocol", base_dir: Path, device_gib: float) -> Finding:
    """Count whether both stages of a protocol fit on a card, and the days that it takes for them."""
    from rsd_med.base.errors import RsdMedError
    from rsd_med.costs import describe, shape_of
    from rsd_med.experiment import Experiment

    try:
        shape = shape_of(Experiment(protocol, base_dir))
    except RsdMedError as error:
        return Finding(True, f"not counted, since that takes one image of the data ({error})")
    good, sentences = describe(protocol, shape, 1, device_gib)
    return Finding(good, "; ".join(sentences))


def check_memory_for(protocol: "Protocol") -> Finding:
    """Check that there is main memory for the networks and the kept data of a protocol.

    The student is the largest stage: the teacher, generator and fake score with gradients and two moments of Adam
    each, the average and the student chosen so far. While a checkpoint is written beside the steps, main memory also
    holds the copy of eight of them. On a CPU activations come on top.
    """
    import torch

    networks, copies = 11 * _network_gib(protocol), 8 * _network_gib(protocol)
    data = protocol.engine.cache_gib
    on_gpu = torch.cuda.is_available() and protocol.engine.device != "cpu"
    needed = PROCESS_GIB + data + copies + (0 if on_gpu else networks)
    held = usable_memory_gib()
    estimate = f"about {needed:.1f} GiB ({data:g} of them for data){'' if on_gpu else ', and more for activations'}"
    if held is None or needed < 0.9 * held:
        return Finding(True, estimate)
    smaller = "make the backbone smaller (channels or features)"
    mend = "lower engine.cache_gib" if needed - data < 0.9 * held else smaller
    return Finding(False, f"{estimate}; there are {held:.1f}", mend)


def check_disk_for(protocol: "Protocol", runs: Path) -> Finding:
    """Check that there is room for the checkpoints that a run keeps at once, and for the one being written."""
    size = _network_gib(protocol)
    # A teacher's checkpoint holds two networks and two moments, a student's four of each.
    needed = 4 * size + (protocol.engine.keep_checkpoints + 2) * 8 * size + 0.5
    free = shutil.disk_usage(_existing(runs)).free / 2**30
    estimate = f"about {needed:.1f} GiB for checkpoints and samples, {free:.1f} free"
    mend = "" if needed < free else "free some, choose another --run-dir, or lower engine.keep_checkpoints"
    return Finding(needed < free, estimate, mend)


def usable_cores() -> int:
    """Return how many cores this process may use: of the machine, its affinity and its control group."""
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    quota, _, period = _control_group("cpu.max").partition(" ")
    if quota.isdigit() and period.isdigit() and int(period) > 0:
        cores = min(cores, max(1, round(int(quota) / int(period))))
    return cores


def usable_memory_gib() -> float | None:
    """Return the memory this process may use, of the machine and its control group, in GiB; None if unknown."""
    try:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (AttributeError, ValueError, OSError):
        return None
    limit = _control_group("memory.max")
    return min(memory, int(limit) if limit.isdigit() else memory) / 2**30


def _control_group(name: str) -> str:
    """Read a limit that a container sets; empty without one."""
    try:
        return (CONTROL_GROUP / name).read_text(encoding="ascii").strip()
    except OSError:
        return ""


def _network_gib(protocol: "Protocol") -> float:
    """Return the size of one network's weights, without allocating it."""
    import torch

    with torch.device("meta"):
        network = protocol.backbone.build(3, 2)
    return sum(parameter.numel() for parameter in network.parameters()) * 4 / 2**30


def _existing(path: Path) -> Path:
    """Return the nearest folder above a path that exists."""
    folder = path.absolute()
    while not folder.exists():
        folder = folder.parent
    return folder


if __name__ == "__main__":
    sys.exit(main())
