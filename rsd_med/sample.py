"""Draw images from a trained run: ``python -m rsd_med.sample RUN --num N --out DIR``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING

from rsd_med.base.command import program, run_command
from rsd_med.diffusion.kinds import SAMPLERS

if TYPE_CHECKING:
    from rsd_med.runs.checkpoints import Checkpoint
    from rsd_med.runs.run_folder import RunFolder


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog=program("rsd_med.sample"), description="Draw images from the student or the teacher of a run."
    )
    parser.add_argument("run", type=Path, metavar="RUN", help="run folder that rsd_med.train has filled")
    parser.add_argument("--num", type=int, required=True, metavar="N", help="how many images")
    parser.add_argument("--from", dest="model", choices=["student", "teacher"], default="student", help="which model")
    parser.add_argument(
        "--sampler",
        choices=list(SAMPLERS),
        default=SAMPLERS.default,
        help="the teacher's sampler (default: heun); guided compares masks, for teachers that see images through them",
    )
    parser.add_argument("--steps", type=int, default=18, help="noise levels of the teacher's sampler (default: 18)")
    parser.add_argument("--seed", type=int, default=0, help="image k of a seed does not depend on --num (default: 0)")
    parser.add_argument(
        "--format",
        choices=["npy", "png", "nifti", "hdf5"],
        default="npy",
        help="npy: samples.npy, float32 (N, C, H, W) in the scaled units of training, C = 2 is (real, imaginary); "
        "png: one picture each at the fixed window; nifti: samples.nii.gz, magnitude, orientation unknown; "
        "hdf5: samples.h5 with the complex or real images",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(arguments)

    from rsd_med.base.errors import ProtocolError
    from rsd_med.base.progress import tell_on_stderr, telling
    from rsd_med.evaluation.generation import draw_images, student_draw, teacher_draw
    from rsd_med.opened_run import newest_checkpoint, open_run
    from rsd_med.operators.channels import to_channels
    from rsd_med.runs.export import require_room, require_unused, write_images
    from rsd_med.runs.run_folder import RunFolder

    if options.num < 1 or options.steps < 1 or options.seed < 0:
        raise ProtocolError("--num and --steps must be at least 1, and --seed at least 0.")
    require_unused(options.out)
    run = RunFolder(options.run)
    experiment = open_run(run)
    checkpoint = newest_checkpoint(run, options.model)
    network = experiment.load_network(checkpoint, options.model)
    require_room(options.num, to_channels(experiment.sampling_operators[:1].image()).shape[1:])
    if options.model == "student":
        draw = student_draw(network, experiment.protocol.student.few_steps)
    else:
        sampler = SAMPLERS[options.sampler].model_validate({"steps": options.steps})
        draw = teacher_draw(network, sampler, experiment.objective.corruption.sigma)
    with telling(tell_on_stderr):
        images = draw_images(draw, experiment.objective, experiment.sampling_operators, options.num, options.seed)
    path = write_images(images, options.out, options.format)
    print(f"{options.num:,} images of the {options.model} ({_trained(run, checkpoint)}): {path}")
    return 0


def _trained(run: "RunFolder", checkpoint: "Checkpoint") -> str:
    """Say how long a model was trained, and where the student was chosen."""
    distances = {
        int(line["images"]): line["proximal_fd"]
        for line in run.read_metrics_lines()
        if line.get("stage") == "student" and "proximal_fd" in line and line["images"] <= checkpoint.images
    }
    if checkpoint.stage != "student" or not distances:
        return f"trained on {checkpoint.images:,} images"
    return f"chosen after {min(distances, key=distances.__getitem__):,} of {checkpoint.images:,} images of training"


if __name__ == "__main__":
    sys.exit(run_command(main))
