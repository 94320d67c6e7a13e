"""A run folder as training leaves it, with weights as they are before training: made in seconds."""

import json
from pathlib import Path

import torch

PROTOCOL = """
schema_version: 1
name: tiny
seed: 0
data: {kind: knee_phantom, num_images: 12, size: 16, coils: 2}
calibration: {noise: none}
corruption: {kind: multicoil_fourier, acceleration: 2, acs_lines: 4, further_lines: 1}
backbone: {kind: monai_unet, channels: [8, 8], attention: [false, false], norm_groups: 4}
teacher: {objective: {kind: ambient_fourier}, images: 32, batch_size: 4}
student: {images: 32, batch_size: 4}
evaluation:
  num_samples: 8
  monitor_images: 8
  samplers: [{kind: heun, steps: 3}]
  reference: {kind: knee_phantom, split: test, num_images: 4, size: 16, coils: 2}
"""


def make_tiny_run(folder: Path, stages: tuple[str, ...] = ("teacher", "student")) -> Path:
    from safetensors.torch import save_file

    from rsd_med.experiment import Experiment
    from rsd_med.operators.channels import to_channels
    from rsd_med.protocol import load_protocol
    from rsd_med.runs.grids import save_gallery, save_grid
    from rsd_med.runs.run_folder import RunFolder
    from rsd_med.runs.sampling_operators import save_sampling_operators

    folder.mkdir(parents=True)
    path = folder / "protocol.yaml"
    path.write_text(PROTOCOL, encoding="utf-8")
    experiment = Experiment(load_protocol(path), folder)
    run = RunFolder(folder)
    run.create(PROTOCOL, PROTOCOL, 0, folder)
    save_sampling_operators(run.sampling_operators, experiment.measurements)
    images = to_channels(experiment.measurements[:].image())
    save_gallery(run.samples / "gallery", "measurements", images)
    network = experiment.build_denoiser()
    for number, stage in enumerate(stages):
        target = run.checkpoints.folder / f"{32 * (number + 1):010d}"
        target.mkdir(parents=True)
        save_file(
            {name: value.contiguous() for name, value in network.state_dict().items()}, target / f"{stage}.safetensors"
        )
        _write_manifest(target, stage)
        for moment in (16, 32):
            save_grid(images, run.samples / f"{stage}_{moment:010d}.png", columns=4)
    for line in (
        {"stage": "teacher", "images": 16, "loss": 4.0, "seconds": 1.0},
        {"stage": "teacher", "images": 32, "loss": 2.0, "seconds": 1.0, "proximal_fd": 3.5},
        {"stage": "student", "images": 32, "proximal_fd": 3.0, "seconds": 1.0},
    ):
        run.append_metrics(line)
    figures = {"fd": 1.5, "kid": 0.25, "proximal_fd": 3.0, "seconds_per_image": 0.001}
    run.metrics.write_text(
        json.dumps({"student": figures, "teacher": {"heun": figures}, "features": "tiny", "command": "train tiny"})
    )
    run.model_card.write_text("# tiny\n", encoding="utf-8")
    run.set_status("done", command="train tiny")
    assert torch.get_num_threads() >= 1
    return folder


def _write_manifest(folder: Path, stage: str) -> None:
    import hashlib

    from rsd_med.runs.checkpoints import FORMAT

    path = folder / f"{stage}.safetensors"
    files = {path.name: {"bytes": path.stat().st_size, "sha256": hashlib.sha256(path.read_bytes()).hexdigest()}}
    manifest = {"format": FORMAT, "stage": stage, "images": 32, "finished": True, "files": files}
    (folder / "manifest.json").write_text(json.dumps(manifest))
