"""What a training step costs beyond its bare network passes, and what the fastest settings are worth.

python -m benchmarks.step [--case demo|cifar10|smoke]… [--steps N] [--device auto|cpu|cuda]

Real steps run through the engine's own loop (data, corruption, losses, averages, optimisers, log), and after each one
the bare passes of the same networks on tensors of the same shapes are timed: teacher 1 forward + 1 backward; SiD
generator forward, fake forward + backward, generator forward + backward, teacher and fake forward + backward to their
inputs. On a CPU the seconds are those of the process: what other programs take does not count. The price of
checkpoints is measured apart and spread over their interval.
"""

import argparse
import statistics
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.utils.flop_counter import FlopCounterMode

from benchmarks.common import Figure, conclude
from rsd_med.base.draws import Draws
from rsd_med.base.randomness import generator_for
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.experiment import Experiment
from rsd_med.operators.channels import to_channels
from rsd_med.protocol import load_protocol
from rsd_med.runs.run_folder import RunFolder
from rsd_med.runs.run_logger import RunLogger
from rsd_med.training.autotune import Trial, fastest, save_autotune
from rsd_med.training.batches import BatchOrder, load_batch
from rsd_med.training.loop import Loop
from rsd_med.training.signals import StopRequest
from rsd_med.training.stage import Stage
from rsd_med.training.student_stage import StudentStage
from rsd_med.training.teacher_stage import TeacherStage

BOUND = {"teacher": 0.05, "student": 0.08}

KNEES = """\
schema_version: 1
name: step
data: {kind: knee_phantom, num_images: 256, size: SIZE, weighting: t1, coils: 4}
calibration: {noise: none}
corruption: {kind: multicoil_fourier, acceleration: R, acs_lines: 4, further_lines: 2}
backbone: BACKBONE
teacher:
  objective: {kind: ambient_fourier}
  images: 100000
  batch_size: BATCH
  optimiser: {learning_rate: 2e-3, warmup_images: 2000, decay: cosine}
student: {images: 100000, batch_size: BATCH}
evaluation: {monitor_images: 200}
"""
COLOURS = """\
schema_version: 1
name: step
data: {kind: arrays, root: ROOT/colours.npy, range: [-1, 1]}
corruption: {kind: noise, sigma: 0.2}
backbone: BACKBONE
teacher:
  objective: {kind: ambient_tweedie}
  images: 100000
  batch_size: BATCH
  optimiser: {learning_rate: 1e-4, max_gradient_norm: null}
student:
  images: 100000
  batch_size: BATCH
  generator: {learning_rate: 1e-5, max_gradient_norm: null}
  fake: {learning_rate: 1e-5, max_gradient_norm: null}
evaluation: {monitor_images: 64}
"""
FEW_KNEES = KNEES.replace("num_images: 256", "num_images: 32")
SMALL = "{kind: monai_unet, channels: [16, 32, 48], attention: [false, false, true]}"
CIFAR = "{kind: ddpmpp}"
# Protocol, batch on a CPU, batch on a GPU, steps on a CPU.
CASES: dict[str, tuple[str, int, int, int]] = {
    "demo": (KNEES.replace("SIZE", "32").replace("R, ", "4, ").replace("BACKBONE", SMALL), 32, 512, 40),
    "cifar10": (COLOURS.replace("BACKBONE", CIFAR), 8, 256, 3),
    "smoke": (FEW_KNEES.replace("SIZE", "16").replace("R, ", "2, ").replace("BACKBONE", SMALL), 8, 8, 3),
}


def experiment(case: str, folder: Path, device: str, *overrides: str) -> Experiment:
    """Build the experiment of a case, its data in ``folder``; computed as ``choose`` has found, where it was asked."""
    import numpy as np

    text, cpu_batch, gpu_batch, _ = CASES[case]
    cuda = device == "cuda" or (device == "auto" and torch.cuda.is_available())
    colours = folder / "colours.npy"
    if not colours.exists():
        images = torch.rand(256, 3, 32, 32, generator=torch.Generator().manual_seed(0)) * 2 - 1
        np.save(colours, images.numpy())
    path = folder / f"{case}.yaml"
    if not path.exists():  # written once, by `choose`: ranks read it side by side
        path.write_text(text.replace("ROOT", str(folder)).replace("BATCH", str(gpu_batch if cuda else cpu_batch)))
    protocol = load_protocol(path, [f"engine.device={device}", *overrides])
    return Experiment(protocol, folder, stored_autotune=folder / f"{case}-autotune.json")


def choose(case: str, folder: Path, device: str) -> list[Trial]:
    """Let the engine find how to compute a case's networks, as it does before the first step of a run."""
    built = experiment(case, folder, device)
    trials = built.time_compute_options()
    save_autotune(folder / f"{case}-autotune.json", built.device, fastest(trials), trials)
    return trials


class BarePasses:
    """The network passes of a step and nothing else."""

    def __init__(self, experiment: Experiment, stage: Stage) -> None:
        shape = to_channels(experiment.measurements[:1].image()).shape[1:]
        channels = shape[0] + experiment.objective.context_channels
        generator = self.generator = Draws(experiment.device).manual_seed(0)
        count, device = stage.batch_size, experiment.device
        self.seen = torch.randn(count, channels, *shape[1:], generator=generator, device=device)
        self.label = torch.randn(count, generator=generator, device=device)
        self.up = torch.randn(count, *shape, generator=generator, device=device)
        self.stage = stage

    def __call__(self) -> None:
        """Run every pass of one step."""
        if isinstance(self.stage, TeacherStage):
            self.train(self.stage.denoiser)
            return
        assert isinstance(self.stage, StudentStage)
        with torch.no_grad():
            self.forward(self.stage.generator, self.seen)
        self.train(self.stage.fake)
        self.train(self.stage.generator)
        for denoiser in (self.stage.teacher, self.stage.fake):
            wanted = [parameter.requires_grad for parameter in denoiser.parameters()]
            denoiser.requires_grad_(False)
            seen = self.seen.detach().requires_grad_(True)
            torch.autograd.backward(self.forward(denoiser, seen), self.up)
            for parameter, trained in zip(denoiser.parameters(), wanted, strict=True):
                parameter.requires_grad_(trained)

    def forward(self, denoiser: Denoiser, seen: Tensor) -> Tensor:
        """Run the network alone."""
        return denoiser.run_network(seen, self.label)

    def train(self, denoiser: Denoiser) -> None:
        """Run one forward and one backward pass to the weights."""
        learning = denoiser.learning(self.generator)
        torch.autograd.backward(self.forward(learning, self.seen), self.up)
        denoiser.zero_grad(set_to_none=True)


class Clock:
    """Seconds of this process (CPU) or of the device (GPU), and on the wall."""

    def __init__(self, device: torch.device) -> None:
        self.cuda = device.type == "cuda"

    def __call__(self) -> tuple[float, float]:
        """Return both, now."""
        if self.cuda:
            torch.cuda.synchronize()
            now = time.perf_counter()
            return now, now
        return time.process_time(), time.perf_counter()


class Interleaving(RunLogger):
    """A run_logger that runs the bare passes after each real step, and times both."""

    def __init__(self, run: RunFolder, bare: Callable[[], None], clock: Clock) -> None:
        super().__init__(run, quiet=True)
        self.bare, self.clock = bare, clock
        self.began = clock()
        self.real_seconds: list[tuple[float, float]] = []
        self.bare_seconds: list[tuple[float, float]] = []

    def progress(self, images: int) -> None:
        """Note the end of a real step, take a bare one."""
        super().progress(images)
        ended = self.clock()
        if self.bare_seconds:
            self.real_seconds.append((ended[0] - self.began[0], ended[1] - self.began[1]))
        self.bare()
        self.began = self.clock()
        self.bare_seconds.append((self.began[0] - ended[0], self.began[1] - ended[1]))


def median(pairs: list[tuple[float, float]], column: int, skip: int = 1) -> float:
    """Return the median of one column, without the first steps, which set up kernels and memory."""
    return statistics.median(pair[column] for pair in pairs[skip:])


def measure(built: Experiment, stage: Stage, steps: int) -> dict[str, float]:
    """Take ``steps`` real and bare steps in turn; return what they cost."""
    clock = Clock(built.device)
    bare = BarePasses(built, stage)
    bare()
    with FlopCounterMode(display=False) as counter:
        bare()
    stage.images = (steps + 2) * stage.batch_size
    stage.evaluate_every = None
    stage.evaluate = lambda images: ({}, torch.zeros(0))  # type: ignore[method-assign]
    for index in range(len(built.dataset)):
        built.dataset[index]
    with tempfile.TemporaryDirectory() as folder:
        run = RunFolder(Path(folder) / "run")
        run.create("", "", 0, Path(folder))
        with Interleaving(run, bare, clock) as run_logger, StopRequest() as stop:
            loop = Loop(
                built.dataset,
                built.protocol.engine,
                run,
                run_logger,
                0,
                built.device,
                stop,
                lambda *_: {},
            )
            loop.drive(stage, 0)
        began = clock()
        run.checkpoints.save(stage, 0, 1, finished=False)
        ended = clock()
    share = stage.batch_size / built.protocol.engine.checkpoint_every
    checkpoint = (ended[0] - began[0]) * share
    real, floor = median(run_logger.real_seconds, 0) + checkpoint, median(run_logger.bare_seconds, 0)
    wall = median(run_logger.real_seconds, 1)
    return {
        "overhead": real / floor - 1,
        "overhead_wall": wall / median(run_logger.bare_seconds, 1) - 1,
        "checkpoint_share": checkpoint / floor,
        "step_seconds": real,
        "bare_seconds": floor,
        "images_per_second": stage.batch_size / real,
        "flops_per_image": counter.get_total_flops() / stage.batch_size,
        "flops_per_second": counter.get_total_flops() / real,
        "batch_size": float(stage.batch_size),
    }


PLAIN = ("diffusion.precision=float32", "engine.memory_format=contiguous", "engine.compile=false")


def compare_settings(case: str, folder: Path, device: str, steps: int) -> dict[str, Any]:
    """Train the teacher plainly and as the engine has chosen, step by step in turn, on the same draws.

    The loss of a batch is heavy-tailed (w(σ) grows like 1/σ²): means over a few steps are those of their smallest
    levels, and vary by more than a factor of two among themselves. Whether both ways learn the same is therefore asked
    of all steps together and of the trained networks on fresh draws, the same for both, as well as of the worst tenth.
    """
    sides = {}
    losses: dict[str, list[float]] = {"plain": [], "chosen": []}
    seconds: dict[str, list[tuple[float, float]]] = {"plain": [], "chosen": []}
    for name, overrides in (("plain", PLAIN), ("chosen", ())):
        built = experiment(case, folder, device, *overrides)
        stage = built.teacher_stage()
        sides[name] = (built, stage, BatchOrder(built.dataset.groups(), stage.batch_size, 0, "teacher/order"))
    clock = Clock(built.device)
    for number in range(steps):
        for name, (built, stage, order) in sides.items():
            batch = load_batch(built.dataset, order[number], built.device)
            generator = generator_for(0, "teacher/step", number, device=built.device)
            began = clock()
            told = stage.step(batch, number * stage.batch_size, generator)
            ended = clock()
            losses[name].append(float(told["loss"]))
            seconds[name].append((ended[0] - began[0], ended[1] - began[1]))
    fresh = {
        name: statistics.fmean(validation_losses(built, stage.denoiser, order, max(steps // 10, 1)))
        for name, (built, stage, order) in sides.items()
    }
    tenths = max(steps // 10, 1)
    windows = {
        name: [statistics.fmean(curve[at : at + tenths]) for at in range(0, steps, tenths)]
        for name, curve in losses.items()
    }
    means = {name: statistics.fmean(curve) for name, curve in losses.items()}
    return {
        "faster": median(seconds["plain"], 0) / median(seconds["chosen"], 0),
        "apart": abs(means["chosen"] / means["plain"] - 1),
        "apart_on_fresh_draws": abs(fresh["chosen"] / fresh["plain"] - 1),
        "apart_in_tenths": max(abs(a / b - 1) for a, b in zip(windows["chosen"], windows["plain"], strict=True)),
        "loss": windows,
        "loss_on_fresh_draws": fresh,
        "steps": steps,
        "chosen": str(sides["chosen"][0].compute_options),
    }


@torch.no_grad()
def validation_losses(built: Experiment, denoiser: Denoiser, order: BatchOrder, batches: int) -> list[float]:
    """Return the losses of batches with corruption, noise and levels that training has not met."""
    found = []
    for number in range(batches):
        batch = load_batch(built.dataset, order[number], built.device)
        generator = generator_for(0, "validation", number, device=built.device)
        found.append(float(built.objective(denoiser, batch, generator).mean()))
    return found


def matmul_rate(device: torch.device, dtype: torch.dtype, side: int) -> float:
    """Return the best FLOP/s of square matrix products: what utilisation is measured against."""
    clock = Clock(device)
    a = torch.randn(side, side, device=device, dtype=dtype)
    seconds = []
    for _ in range(8):
        began = clock()
        a @ a
        seconds.append(clock()[0] - began[0])
    return 2 * side**3 / min(seconds[1:])


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.step", description=__doc__.splitlines()[0])
    parser.add_argument("--case", action="append", choices=list(CASES))
    parser.add_argument("--steps", type=int, help="real steps of each stage (default: by the case)")
    parser.add_argument("--device", default="auto", choices=["auto", "cpu", "cuda"])
    parser.add_argument(
        "--curve", type=int, default=100, help="steps on which plain float32 is compared with what is chosen (0: none)"
    )
    options = parser.parse_args()
    figures: list[Figure] = []
    details: dict[str, Any] = {}
    with tempfile.TemporaryDirectory() as folder:
        for case in options.case or ["demo", "cifar10"]:
            trials = choose(case, Path(folder), options.device)
            built = experiment(case, Path(folder), options.device)
            print(f"{case}: {built.compute_options}", file=sys.stderr, flush=True)
            steps = options.steps or (CASES[case][3] if built.device.type == "cpu" else 50)
            teacher = built.teacher_stage()
            autocast = built.compute_options.autocast
            rate = matmul_rate(built.device, autocast or torch.float32, 8192 if built.device.type == "cuda" else 1024)
            for stage in (teacher, built.student_stage(teacher.ema.module)):
                found = measure(built, stage, steps)
                found["utilisation"] = found["flops_per_second"] / rate
                name = f"{case} {stage.name}"
                details[name] = found | {"steps": steps, "matmul_flops_per_second": rate}
                bound = None if case == "smoke" else BOUND[stage.name]
                figures += [
                    Figure(f"{name}: overhead over the bare passes", found["overhead"], bound),
                    Figure(f"{name}: images/s", found["images_per_second"]),
                    Figure(f"{name}: share of the matrix product's rate", found["utilisation"]),
                ]
                print("\n".join(figure.line() for figure in figures[-3:]), file=sys.stderr, flush=True)
            details[f"{case} trials"] = {str(trial.compute_options): trial.seconds for trial in trials}
            if options.curve and case in ("demo", "smoke"):
                found = compare_settings(case, Path(folder), options.device, options.curve)
                details[f"{case} settings"] = found
                bound = None if case == "smoke" else 1.5
                figures += [
                    Figure(
                        f"{case} teacher: {built.compute_options} over plain float32",
                        found["faster"],
                        bound,
                        at_most=False,
                    ),
                    Figure(f"{case} teacher: loss curves apart, share", found["apart"], 0.02),
                    Figure(f"{case} teacher: losses on fresh draws apart, share", found["apart_on_fresh_draws"], 0.02),
                    Figure(
                        f"{case} teacher: loss curves apart in the worst tenth, share", found["apart_in_tenths"], 0.02
                    ),
                ]
    return conclude("step", figures, {"details": details})


if __name__ == "__main__":
    sys.exit(main())
