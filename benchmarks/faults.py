"""The fault campaign: runs killed, starved, lied to and cut off, and what is left of them.

``python -m benchmarks.faults [--quick]``. Everything is drawn from seeds, so a campaign can be repeated. What a kill of
the process cannot show is a loss of power: for that stand the flushes of files and folders, in their order.
"""

import argparse
import hashlib
import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from benchmarks import _victims as victims
from benchmarks.common import Figure, conclude

KILLS = 200
DAMAGES = 1000
CHANGING_CALLS = ("replace", "fsync", "chmod", "mkdir", "rmdir", "unlink")
"""The calls of the system by which a checkpoint comes into being or goes."""


def outcome(run: Path) -> dict[str, str]:
    """Return the hashes of the weights with which each stage ended, and of its optimisers and counters."""
    import torch

    from rsd_med.runs.checkpoints import CheckpointStore

    found = {}
    store = CheckpointStore(run / "checkpoints")
    for stage in ("teacher", "student"):
        checkpoint, warnings = store.newest(stage)
        if checkpoint is None or not checkpoint.finished or warnings:
            return {"incomplete": " ".join(warnings) or stage}
        for path in sorted(checkpoint.folder.glob("*.safetensors")):
            found[f"{stage}/{path.name}"] = hashlib.sha256(path.read_bytes()).hexdigest()
        digest = hashlib.sha256()
        state = checkpoint.load_state()
        for name, optimiser in sorted(state["optimisers"].items()):
            for number, moments in sorted(optimiser["state"].items()):
                for key, value in sorted(moments.items()):
                    digest.update(f"{name} {number} {key}".encode())
                    digest.update(torch.as_tensor(value).numpy().tobytes())
        found[f"{stage}/state"] = digest.hexdigest() + repr(sorted(state["extra"].items()))
    metrics = json.loads((run / "metrics.json").read_text())
    found["metrics"] = repr(metrics["student"]["proximal_fd"])
    return found


def progress(run: Path) -> tuple[int, list[str]]:
    """Return how many images the newest good checkpoint has seen over both stages, and what was said of others."""
    from rsd_med.runs.checkpoints import CheckpointStore

    checkpoint, warnings = CheckpointStore(run / "checkpoints").newest()
    return (0 if checkpoint is None else int(checkpoint.folder.name)), warnings


def die_at(count: int) -> Callable[[], None]:
    """Make a hook that lets the process end, without a word, at its ``count``-th call that changes a checkpoint."""

    def hook() -> None:
        left = [count]
        for name in CHANGING_CALLS:
            original = getattr(os, name)

            def counted(*args: Any, original: Any = original, **keywords: Any) -> Any:
                if any("checkpoints" in str(arg) or isinstance(arg, int) for arg in args):
                    left[0] -= 1
                    if left[0] < 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                return original(*args, **keywords)

            setattr(os, name, counted)

    return hook


class Campaign:
    """One campaign in one temporary folder.

    Parameters
    ----------
    folder
        Where runs go.
    seed
        Every moment and place is drawn from it.
    """

    def __init__(self, folder: Path, seed: int) -> None:
        self.folder = folder
        self.draw = random.Random(seed)
        self.protocol = victims.write_protocol(folder)
        self.problems: list[str] = []
        self.seconds = 0.0
        self.expected: dict[str, str] = {}
        self.deadline = float("inf")

    def late(self) -> bool:
        """Say whether the time is over; what was done until then is reported."""
        return time.monotonic() > self.deadline

    def uninterrupted(self) -> None:
        """Carry out one run in peace: what all others must come to."""
        run = self.folder / "straight"
        began = time.monotonic()
        code = victims.begin(self.protocol, run).wait()
        self.seconds = time.monotonic() - began
        self.expected = outcome(run)
        if code != 0 or "incomplete" in self.expected:
            raise SystemExit(f"the uninterrupted run ended with {code}: {run.with_name('straight.errors').read_text()}")

    def note(self, what: str, run: Path) -> None:
        """Remember a problem with the last words of its run."""
        errors = run.with_name(f"{run.name}.errors")
        words = errors.read_text(errors="replace").strip().splitlines()[-3:] if errors.exists() else []
        self.problems.append(f"{what}: {' / '.join(words)}")
        print(f"  problem: {self.problems[-1]}", flush=True)

    def ends_well(self, run: Path, what: str, expected: dict[str, str] | None = None) -> bool:
        """Carry a run to its end and compare every byte of what it learned."""
        code = victims.begin(self.protocol, run).wait()
        found = outcome(run) if code == 0 else {"exit code": str(code)}
        if found != (self.expected if expected is None else expected):
            self.note(f"{what} did not end as the uninterrupted run ({code})", run)
            return False
        return True

    def kills(self, count: int) -> dict[str, float]:
        """Kill runs at random moments, every second one at a call by which a checkpoint is written or removed."""
        lost = wrong = within_a_write = backwards = 0
        number = done = 0
        while done < count and not self.late():
            run = self.folder / f"killed{number}"
            number += 1
            seen = 0
            while done < count and not self.late():
                if done % 2:
                    life = victims.begin(self.protocol, run, hook=die_at(self.draw.randrange(40)))
                else:
                    life = victims.begin(self.protocol, run)
                    life.live(self.draw.uniform(0.05, 0.5) * self.seconds)
                    life.send(signal.SIGKILL)
                code = life.wait()
                if code == 0:
                    self.seconds *= 0.9  # the machine may be less busy than it was when the first run was timed
                    break
                if code != -signal.SIGKILL:
                    self.note(f"kill {done}: ended with {code} by itself", run)
                    lost += 1
                    break
                done += 1
                within_a_write += any((run / "checkpoints").glob(".writing-*"))
                now, warnings = progress(run)
                if warnings or now < seen:
                    backwards += 1
                    self.note(f"kill {done}: {seen} images before, {now} now, {warnings}", run)
                seen = now
                if done % 20 == 0:
                    print(f"  {done} kills, {number} runs", flush=True)
            if not self.ends_well(run, f"run {number}"):
                lost += not (run / "metrics.json").exists()
                wrong += (run / "metrics.json").exists()
            shutil.rmtree(run, ignore_errors=True)
        return {
            "kill -9": done,
            "runs killed": number,
            "lost runs": lost,
            "runs with wrong bytes": wrong,
            "checkpoints damaged or lost by a kill": backwards,
            "kills that left a checkpoint half-written aside": within_a_write,
        }

    def damages(self, count: int) -> dict[str, float]:
        """Flip a bit or cut the end of a random file of a checkpoint; each must be found, and the one before used."""
        from rsd_med.runs.checkpoints import CheckpointStore

        source = self.folder / "straight" / "checkpoints"
        place = self.folder / "damaged"
        shutil.copytree(source, place)
        store = CheckpointStore(place)
        newest, _ = store.newest()
        if newest is None:
            raise SystemExit("there is no checkpoint to damage")
        before = sorted(path.name for path in place.iterdir())[-2]
        files = sorted(newest.folder.iterdir())
        detected = 0
        for number in range(count):
            path = self.draw.choice(files)
            content = path.read_bytes()
            where = self.draw.randrange(len(content))
            damaged = bytearray(content)
            if number % 2:
                del damaged[where:]
            else:
                damaged[where] ^= 1 << self.draw.randrange(8)
            path.write_bytes(damaged)
            used, warnings = store.newest()
            found = used is not None and used.folder.name == before and len(warnings) == 1
            detected += found
            if not found:
                self.problems.append(f"damage {number} to {path.name} at {where} was not found")
            path.write_bytes(content)
        return {"damages": count, "damages detected": detected}

    def signals(self, count: int) -> dict[str, float]:
        """Ask runs of one process to stop at random moments; each leaves with 75 and is resumed to the same bytes."""
        resumable = 0
        number = 0
        while number < count and not self.late():
            run = self.folder / f"asked{number}"
            number += 1
            life = victims.begin(self.protocol, run)
            life.live(self.draw.uniform(0.05, self.seconds))
            life.send(self.draw.choice([signal.SIGTERM, signal.SIGINT, signal.SIGUSR1]))
            code = life.wait()
            tidy = code in (0, 75) and "Traceback" not in life.said() and not progress(run)[1]
            if not tidy:
                self.note(f"signal {number}: left with {code}", run)
            resumable += tidy and self.ends_well(run, f"run asked to stop {number}")
            shutil.rmtree(run, ignore_errors=True)
        return {"signals to one process": number, "resumable, one process": resumable}

    def torchrun_signals(self, count: int) -> dict[str, float]:
        """SIGTERM to torchrun's agent of two ranks, again and again on one run."""
        straight, run = self.folder / "ranks-straight", self.folder / "ranks"
        began = time.monotonic()
        if victims.begin_ranks(self.protocol, straight).wait() != 0:
            self.note("two ranks in peace", straight)
            return {"SIGTERM under torchrun": count, "resumable under torchrun": 0}
        seconds = time.monotonic() - began
        expected = outcome(straight)
        resumable = number = 0
        while number < count and not self.late():
            number += 1
            seen, _ = progress(run)
            if (run / "metrics.json").exists():
                if outcome(run) != expected:
                    self.note("two ranks ended otherwise than in peace", run)
                    resumable -= 1
                shutil.rmtree(run)
                seen = 0
            life = victims.begin_ranks(self.protocol, run)
            life.live(self.draw.uniform(0.1, 0.8) * seconds)
            life.send(signal.SIGTERM)
            life.wait()
            now, warnings = progress(run)
            good = now >= seen and not warnings and "Traceback" not in _without_torchrun(life.said())
            if not good:
                self.note(f"SIGTERM {number} under torchrun: {seen} images before, {now} now, {warnings}", run)
            resumable += good
        if victims.begin_ranks(self.protocol, run).wait() != 0 or outcome(run) != expected:
            self.note("two ranks, stopped again and again, did not end as in peace", run)
            resumable = 0
        return {"SIGTERM under torchrun": number, "resumable under torchrun": resumable}

    def dead_reader(self) -> dict[str, float]:
        """Kill the process that reads data ahead: the run says so, and goes on from its last checkpoint."""
        run = self.folder / "unread"
        settings = ("--set", "engine.workers=1", "--set", "student.images=400")
        life = victims.begin(self.protocol, run, *settings)
        life.wait_until(lambda: progress(run)[0] > 48)
        for child in Path(f"/proc/{life.process}/task/{life.process}/children").read_text().split():
            if "spawn_main" in Path(f"/proc/{child}/cmdline").read_text():
                os.kill(int(child), signal.SIGKILL)
        code, said = life.wait(), life.said()
        seen, warnings = progress(run)
        good = code == 75 and "reads data" in said and "Traceback" not in said and seen > 0 and not warnings
        good = good and victims.begin(self.protocol, run, *settings).wait() == 0
        if not good:
            self.note(f"dead reader: left with {code}, {seen} images kept", run)
        return {"dead reader: exit 75, goes on": float(good)}

    def dead_rank(self) -> dict[str, float]:
        """Kill one of two ranks: the other leaves, and the run goes on from its last checkpoint."""
        run = self.folder / "orphaned"

        def die_later() -> None:
            if os.environ["RANK"] == "1":
                from rsd_med.training import loader

                original = loader.load_batch
                left = [9]

                def dying(*args: Any) -> Any:
                    left[0] -= 1
                    if left[0] == 0:
                        os.kill(os.getpid(), signal.SIGKILL)
                    return original(*args)

                vars(loader)["load_batch"] = dying

        life = victims.begin_ranks(self.protocol, run, hook=die_later)
        code = life.wait()
        seen, warnings = progress(run)
        good = code == 1 and seen > 0 and not warnings
        good = good and victims.begin_ranks(self.protocol, run).wait() == 0
        good = good and outcome(run) == outcome(self.folder / "ranks-straight")
        if not good:
            self.note(f"dead rank: torchrun left with {code}, {seen} images kept", run)
        return {"dead rank: resumed to the same bytes": float(good)}

    def not_a_number(self) -> dict[str, float]:
        """One batch of NaN is skipped and counted; when every batch is NaN the run stops with 4 and names items."""

        def spoil(from_batch: int, to_batch: int) -> Callable[[], None]:
            def hook() -> None:
                from rsd_med.training import loader

                original = loader.load_batch
                number = [0]

                def spoilt(*args: Any) -> Any:
                    batch = original(*args)
                    number[0] += 1
                    if from_batch <= number[0] < to_batch:
                        batch.data.mul_(float("nan"))
                    return batch

                vars(loader)["load_batch"] = spoilt

            return hook

        # Without a cache: what is spoilt is the copy of one batch.
        once, always = self.folder / "nan-once", self.folder / "nan-always"
        first = victims.begin(self.protocol, once, "--set", "engine.cache_gib=0", hook=spoil(5, 6))
        code = first.wait()
        lines = [json.loads(line) for line in (once / "metrics.jsonl").read_text().splitlines()]
        skipped = sum(line.get("skipped", 0) for line in lines)
        one = code == 0 and skipped == 1 and "incomplete" not in outcome(once)
        second = victims.begin(
            self.protocol, always, "--set", "engine.cache_gib=0", "--set", "teacher.images=96", hook=spoil(5, 10**9)
        )
        code = second.wait()
        seen, warnings = progress(always)
        many = code == 4 and seen > 0 and not warnings and "knee" in second.said() and "Traceback" not in second.said()
        if not one:
            self.note(f"one batch of NaN: {skipped} skipped", once)
        if not many:
            self.note(f"nothing but NaN: left with {code}, {seen} images kept", always)
        return {"NaN in one batch: skipped": float(one), "NaN in all: exit 4, checkpoint kept": float(many)}

    def full_disk(self) -> dict[str, float]:
        """Let the disk of the run fill up; with space again it ends as if nothing had been."""
        good = kept = 0
        needed = sum(path.stat().st_blocks * 512 for path in (self.folder / "straight").rglob("*")) // 1024
        parts = (0.3, 0.45, 0.6, 0.75, 0.9)
        for part in parts:
            with mounted(self.folder / f"disk{part}", f"size={int(part * needed)}k") as room:
                if room is None:
                    return {}
                run, errors = room / "run", self.folder / "disk.errors"
                life = victims.fork(partial(victims.carry_out, self.protocol, run), errors)
                code, said = life.wait(), life.said()
                seen, warnings = progress(run)
                kept = max(kept, seen)
                subprocess.run(["mount", "-o", "remount,size=64m", str(room)], check=True)
                well = code == 75 and "space" in said and "Traceback" not in said and not warnings
                if not well:
                    self.problems.append(f"full disk: left with {code}, {seen} images kept, said {said[-300:]}")
                good += well and self.ends_well(run, "a run whose disk was full")
        return {"full disks": len(parts), "full disks: 75, resumed to the same bytes": good, "images kept": kept}

    def vanished_file(self) -> dict[str, float]:
        """Take a data file away in mid-run; put back, the run ends as if nothing had been."""
        import h5py
        import numpy as np

        data = self.folder / "scans"
        data.mkdir()
        draw = np.random.default_rng(0)
        for name in ("first", "second"):
            with h5py.File(data / f"{name}.h5", "w") as file:
                values = draw.standard_normal((8, 2, 16, 16, 2), dtype=np.float32)
                file["kspace"] = values.view(np.complex64)[..., 0]
        folder = self.folder / "files"
        folder.mkdir()
        protocol = victims.write_protocol(folder, f"{{kind: fastmri_hdf5, root: {data}}}", cache_gib=0)
        straight, run = folder / "straight", folder / "run"
        victims.begin(protocol, straight).wait()
        life = victims.begin(protocol, run)
        life.wait_until(lambda: progress(run)[0] >= 16)
        os.rename(data / "second.h5", data / "second.away")
        code = life.wait()
        seen, warnings = progress(run)
        os.rename(data / "second.away", data / "second.h5")
        said = life.said()
        good = code == 3 and "second.h5" in said and "Traceback" not in said and seen >= 16 and not warnings
        good = good and victims.begin(protocol, run).wait() == 0 and outcome(run) == outcome(straight)
        if not good:
            self.note(f"vanished file: left with {code}, {seen} images kept", run)
        return {"vanished file: exit 3, resumed to the same bytes": float(good)}

    def two_runs(self) -> dict[str, float]:
        """Start a second run on a folder in use; then kill the first and start again."""
        run = self.folder / "shared"
        first = victims.begin(self.protocol, run)
        first.wait_until(lambda: progress(run)[0] > 0)
        os.kill(first.process, signal.SIGSTOP)
        second = victims.fork(lambda: victims.carry_out(self.protocol, run), self.folder / "second.errors")
        code = second.wait()
        os.kill(first.process, signal.SIGKILL)
        first.wait()
        said = second.said()
        good = code == 2 and str(first.process) in said and "Traceback" not in said
        good = good and self.ends_well(run, "a folder two runs wanted")
        if not good:
            self.problems.append(f"two runs on one folder: the second left with {code}: {said[-300:]}")
        return {"two runs on one folder: the second refused, the first unharmed": float(good)}

    def read_only(self) -> dict[str, float]:
        """Run where nothing can be written."""
        with mounted(self.folder / "locked", "ro") as room:
            if room is None:
                return {}
            errors = self.folder / "locked.errors"
            life = victims.fork(lambda: victims.carry_out(self.protocol, room / "run"), errors)
            code, said = life.wait(), life.said()
        good = code == 2 and "read-only" in said and "Traceback" not in said
        if not good:
            self.problems.append(f"read-only folder: left with {code}: {said[-300:]}")
        return {"read-only folder: exit 2, one sentence": float(good)}

    def clock(self) -> dict[str, float]:
        """Set the clock on the wall back and forth, by days, whenever it is asked."""
        run = self.folder / "clock"

        def jump() -> None:
            now, draw = time.time, random.Random(0)
            time.time = lambda: now() + draw.uniform(-1e6, 1e6)

        code = victims.begin(self.protocol, run, hook=jump).wait()
        lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
        sane = all(0 <= line.get("seconds", 0) < 3600 for line in lines)
        good = code == 0 and sane and outcome(run) == self.expected
        if not good:
            self.note(f"jumping clock: left with {code}", run)
        return {"jumping clock: same bytes, durations sane": float(good)}


@contextmanager
def mounted(place: Path, options: str) -> Iterator[Path | None]:
    """Yield a small file system in memory, or None where none can be mounted."""
    place.mkdir()
    command = ["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(place)]
    if subprocess.run(command, capture_output=True).returncode:
        print("  no small file system can be mounted here (not root): left out", flush=True)
        yield None
        return
    try:
        yield place
    finally:
        subprocess.run(["umount", str(place)], check=False)


def _without_torchrun(text: str) -> str:
    """Leave out what torchrun itself prints when it is asked to stop: tracebacks of its own SignalException.

    The signal may reach its agent anywhere, so they are known by how they end and not by where they come from. Some of
    them it logs, each line after the place in its own code.
    """
    text = re.sub(r"(?m)^[EWI]\d{4} .*?torch/distributed/\S+\].*\n?", "", text)
    own = r"Traceback \(most recent call last\):\n(?:[ \t].*\n|\n)*torch\.distributed\.\S*SignalException:.*"
    return re.sub(own, "", text)


@contextmanager
def quiet_torchrun() -> Iterator[None]:
    """Keep torchrun's agent from reporting what the campaign does to it."""
    os.environ["TORCH_CPP_LOG_LEVEL"] = "ERROR"
    yield


def main() -> int:
    """Run the campaign and report."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.faults", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="a few faults of each kind, of one process")
    parser.add_argument("--only", action="append", default=[], help="one part of the campaign, by name (repeatable)")
    parser.add_argument("--kills", type=int, default=KILLS, help=f"kill -9 this often (default: {KILLS})")
    parser.add_argument("--damages", type=int, default=DAMAGES, help=f"damage files this often (default: {DAMAGES:,})")
    parser.add_argument("--seed", type=int, default=0, help="where every moment and place is drawn from")
    parser.add_argument("--minutes", type=float, default=60, help="begin nothing new after this time")
    options = parser.parse_args()
    quick = options.quick
    began = time.monotonic()
    victims.prepare()
    # In memory where that is possible: a kill does not empty the page cache, so waiting for a disk would show nothing.
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(dir=memory) as temporary, quiet_torchrun():
        campaign = Campaign(Path(temporary), options.seed)
        campaign.deadline = began + 60 * options.minutes
        campaign.uninterrupted()
        parts: dict[str, Callable[[], dict[str, float]]] = {
            "damages": lambda: campaign.damages(40 if quick else options.damages),
            "two_runs": campaign.two_runs,
            "vanished_file": campaign.vanished_file,
            "full_disk": campaign.full_disk,
            "read_only": campaign.read_only,
            "not_a_number": campaign.not_a_number,
            "clock": campaign.clock,
            "signals": lambda: campaign.signals(2 if quick else 6),
        }
        if not quick:
            parts["torchrun_signals"] = lambda: campaign.torchrun_signals(20)
            parts["dead_rank"] = campaign.dead_rank
            parts["dead_reader"] = campaign.dead_reader
        parts["kills"] = lambda: campaign.kills(4 if quick else options.kills)
        found: dict[str, float] = {}
        for name, part in parts.items():
            if not options.only or name in options.only:
                print(f"{name} …", flush=True)
                found |= part()
    figures = [_figure(name, value, found) for name, value in found.items()]
    details = {"seed": options.seed, "problems": campaign.problems, "seconds": time.monotonic() - began}
    partial = bool(options.only) or options.kills < KILLS or options.damages < DAMAGES
    return conclude("faults-quick" if quick else "faults-part" if partial else "faults", figures, details)


def _figure(name: str, value: float, found: dict[str, float]) -> Figure:
    """Say what each count must be."""
    none = {"lost runs", "runs with wrong bytes", "checkpoints damaged or lost by a kill"}
    all_of = {
        "damages detected": "damages",
        "resumable, one process": "signals to one process",
        "full disks: 75, resumed to the same bytes": "full disks",
        "resumable under torchrun": "SIGTERM under torchrun",
    }
    if name in none:
        return Figure(name, value, 0)
    if name in all_of:
        return Figure(name, value, found[all_of[name]], at_most=False)
    if name == "kill -9" and value > 4:
        return Figure(name, value, KILLS, at_most=False)
    return Figure(name, value, 1, at_most=False) if ": " in name and "images" not in name else Figure(name, value)


if __name__ == "__main__":
    sys.exit(main())
