"""Runs to be killed: forked from a process that has everything imported, since imports take longer than the run."""

import os
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

PROTOCOL = """
schema_version: 1
name: victim
seed: 3
data: {data}
calibration: {{noise: none}}
corruption: {{kind: multicoil_fourier, acceleration: 2, acs_lines: 2, further_lines: 2}}
backbone: {{kind: monai_unet, channels: [8, 8], attention: [false, false]}}
teacher:
  objective: {{kind: ambient_fourier}}
  images: 48
  batch_size: 4
  optimiser: {{learning_rate: 1e-3}}
  evaluate_samples: 8
student: {{images: 32, batch_size: 4, evaluate_samples: 8, evaluate_every: 16}}
evaluation: {{num_samples: 8, monitor_images: 16, samplers: [{{kind: heun, steps: 2}}]}}
engine: {{log_every: 8, checkpoint_every: 8, device: cpu, cache_gib: {cache_gib}}}
"""
KNEES = "{kind: knee_phantom, num_images: 16, size: 16, coils: 2, supersample: 1}"
Hook = Callable[[], None]


def prepare() -> None:
    """Import what a run imports, start no thread, and make the network small."""
    import scipy.linalg  # noqa: F401
    import torch
    import torch.distributed.launcher.api
    import torchmetrics  # noqa: F401
    import torchvision  # noqa: F401
    import tqdm  # noqa: F401
    from torch.utils.tensorboard import SummaryWriter  # noqa: F401

    import rsd_med.dry_run
    import rsd_med.train
    import rsd_med.workflow  # noqa: F401

    torch.set_num_threads(1)
    _use_a_small_network()


def _use_a_small_network() -> None:
    """Let the U-Net of the protocol be three convolutions: faults do not ask what a network computes, only its time."""
    import torch
    from torch import nn

    from rsd_med.diffusion.backbones import MonaiUNetSettings

    class Small(nn.Module):
        def __init__(self, inputs: int, outputs: int) -> None:
            super().__init__()
            self.first = nn.Conv2d(inputs, 8, 3, padding=1)
            self.label = nn.Linear(1, 8)
            self.last = nn.Conv2d(8, outputs, 3, padding=1)

        def forward(self, x: torch.Tensor, label: torch.Tensor) -> torch.Tensor:
            hidden = self.first(x) + self.label(label[:, None])[:, :, None, None]
            return self.last(nn.functional.silu(hidden))

    def build(self: MonaiUNetSettings, inputs: int, outputs: int) -> nn.Module:
        return Small(inputs, outputs)

    MonaiUNetSettings.build = build  # type: ignore[method-assign, assignment]


def write_protocol(folder: Path, data: str = KNEES, cache_gib: float = 1.0) -> Path:
    """Write the protocol of a run of about three seconds, with a checkpoint every second step."""
    path = folder / "victim.yaml"
    path.write_text(PROTOCOL.format(data=data, cache_gib=cache_gib))
    return path


@dataclass
class Life:
    """One process carrying out ``rsd_med.train``.

    Attributes
    ----------
    process
        Its number.
    errors
        Where it writes what it has to say.
    """

    process: int
    errors: Path
    code: int | None = None

    def wait(self, seconds: float = 600) -> int:
        """Return the exit code, minus the signal's number where one ended it; kills what hangs."""
        deadline = time.monotonic() + seconds
        while self.code is None:
            found, status = os.waitpid(self.process, os.WNOHANG)
            if found:
                self.code = os.waitstatus_to_exitcode(status)
            elif time.monotonic() > deadline:
                os.kill(self.process, signal.SIGKILL)
            else:
                time.sleep(0.002)
        return self.code

    def wait_until(self, happened: Callable[[], bool], seconds: float = 120) -> bool:
        """Wait until something is so; False where the process ended first."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if happened():
                return True
            found, status = os.waitpid(self.process, os.WNOHANG)
            if found:
                self.code = os.waitstatus_to_exitcode(status)
                return happened()
            time.sleep(0.002)
        return False

    def live(self, seconds: float) -> None:
        """Let the process live for so long, or until it ends by itself."""
        moment = time.monotonic() + seconds
        self.wait_until(lambda: time.monotonic() > moment, seconds + 60)

    def send(self, number: signal.Signals) -> None:
        """Send a signal, unless the process has ended."""
        if self.code is None:
            os.kill(self.process, number)

    def said(self) -> str:
        """Return its messages."""
        return self.errors.read_text(encoding="utf-8", errors="replace")


def begin(protocol: Path, run: Path, *arguments: str, hook: Hook | None = None) -> Life:
    """Start a run in a forked process; ``hook`` is called in it first."""
    errors = run.with_name(f"{run.name}.errors")
    return fork(lambda: carry_out(protocol, run, *arguments, hook=hook), errors)


def begin_ranks(protocol: Path, run: Path, ranks: int = 2, hook: Hook | None = None) -> Life:
    """Start a run of several ranks under torchrun's own agent, which forks them instead of starting Python anew."""

    def launch() -> int:
        from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
        from torch.distributed.launcher.api import LaunchConfig, elastic_launch

        os.environ["OMP_NUM_THREADS"] = "1"
        config = LaunchConfig(
            min_nodes=1,
            max_nodes=1,
            nproc_per_node=ranks,
            run_id=str(os.getpid()),
            rdzv_backend="c10d",
            rdzv_endpoint="localhost:0",
            max_restarts=0,
            monitor_interval=0.1,
            start_method="fork",
        )

        def work() -> None:
            code = carry_out(protocol, run, hook=hook)
            if code:
                os._exit(code)  # else the agent waits for what the function returns

        try:
            elastic_launch(config, work)()
        except ChildFailedError:
            return 1
        return 0

    return fork(launch, run.with_name(f"{run.name}.errors"))


def carry_out(protocol: Path, run: Path, *arguments: str, hook: Hook | None = None) -> int:
    """Do what ``python -m rsd_med.train`` does; return its exit code."""
    from rsd_med.base.command import run_command
    from rsd_med.train import main

    if hook is not None:
        hook()
    code = run_command(lambda: main([str(protocol), "--run-dir", str(run), "--quiet", *arguments]))
    sys.stdout.flush()
    sys.stderr.flush()
    return code


def fork(work: Callable[[], int], errors: Path) -> Life:
    """Run ``work`` in a child whose messages go to a file."""
    sys.stdout.flush()
    sys.stderr.flush()
    process = os.fork()
    if process == 0:
        code = 70
        try:
            handle = os.open(errors, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
            os.dup2(handle, 2)
            os.dup2(handle, 1)
            # Whatever stood in their place in this process, a test's capture say, is not of this child.
            sys.stdout, sys.stderr = os.fdopen(1, "w", closefd=False), os.fdopen(2, "w", closefd=False)
            code = work()
        except BaseException:
            import traceback

            traceback.print_exc()
            sys.stderr.flush()
        finally:
            os._exit(code)
    return Life(process, errors)
