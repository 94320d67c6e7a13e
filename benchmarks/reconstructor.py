"""The reconstructor beside A-DPS, L1-wavelet and a supervised network, on subjects that none of them has met.

python -m benchmarks.reconstructor [--anatomy heads|mixed|brains] [--size 128|64] [--run-dir DIR] [--teacher-images N]
    [--images N] [--noise auto|none] [--oracle | --no-oracle] [--slices N]

The train split becomes eight-coil raw files at R = 4, each image twice, a mask for each slice and nothing else in
them. Scans differ in noise (σ from 0.0015 to 0.015 of white), phase and shading (`rsd_med.simulate --varied`). The
teacher learns from those, and so does the reconstructor; that of heads has each image once in each of three pixel
sizes instead, and learns from strips; of `mixed`, heads of two other sources and changed contrasts are among them.
L1-wavelet's λ is tuned on eight slices of the train split, at each acceleration apart. The test split, other subjects,
is simulated twice with the same coils and phases: with noise, for the methods, and without, for the truth. The
oracle is the same network from the same start, taught by fully sampled files for as many images. What was trained
before is not trained again.
"""

import argparse
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor

from benchmarks._mixed_heads import write_mixture
from benchmarks._pairs import write_pairs
from benchmarks._pixel_sizes import write_sizes
from benchmarks.common import Figure, conclude, shared_data, succeed
from rsd_med.base.randomness import generator_for
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.corruptions import Measurement, MultiCoilFourierSettings
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.inverse.a_dps import ADPSSettings
from rsd_med.inverse.base import Reconstruction, Solver
from rsd_med.inverse.l1_wavelet import L1WaveletSettings
from rsd_med.inverse.reconstructor import ReconstructorSettings
from rsd_med.inverse.uncertainty import coverage, rank_correlation
from rsd_med.inverse.zero_filled import ZeroFilledSettings
from rsd_med.metrics.energy_score import energy_score
from rsd_med.metrics.image_quality import psnr, ssim
from rsd_med.operators.fourier import fft2c, ifft2c
from rsd_med.operators.mri import MultiCoilFourier
from rsd_med.operators.noise import complex_or_real_noise

FOLDERS = {"brains": "brain_t1_axial_oasis", "heads": "brain_t1ce_axial_cheng", "mixed": "brain_t1ce_axial_cheng"}
"""Where teachers, tests and tuning come from; of `mixed` the reconstructor learns from heads of other sources, too."""

NOISE, COILS, TRAINED_AT = 0.015, 8, 4
WHITE, SPREAD_TIMES = 0.6, 5
"""Of the picture: what is white, as a part of the brightest pixel, and how many times the spread is shown."""

ACCELERATIONS = (4, 6, 8)
ROWS = 96
HIGH = 0.5
"""Of Nyquist: power beyond it is what a blurred image lacks."""

PROTOCOL = """\
schema_version: 1
name: {name}
data: {{kind: fastmri_hdf5, root: {scans}/train}}
calibration: {{noise: {noise}}}
corruption: {{kind: multicoil_fourier, mask: file, acceleration: 4, acs_lines: {acs}, further_lines: {further}}}
backbone: {{kind: patch_unet, channels: {channels}, attention: {attention}}}
teacher:
  objective: {{kind: ambient_fourier}}
  images: {teacher_images}
  batch_size: 16
  optimiser: {{kind: muon, warmup_images: 500, decay: cosine}}
  ema: {{half_life: 2000}}
  evaluate_samples: 64
student: {{images: 1}}
reconstructor: {{images: {images}, evaluate_every: {every}{own}}}
evaluation: {{num_samples: 16, monitor_images: 256}}
engine: {{log_every: 200, checkpoint_every: 1000}}
"""


class Slice:
    """A measurement, the truth, and all lines that a scanner would have measured.

    Parameters
    ----------
    measurement
        Undersampled and noisy, a batch of one.
    truth
        Complex image without noise ``(1, y, x)``.
    whole
        Fully sampled noisy k-space ``(1, coil, y, x)``, in the same scaled units.
    """

    def __init__(self, measurement: Measurement, truth: Tensor, whole: Tensor) -> None:
        self.measurement, self.truth, self.whole = measurement, truth, whole
        self.magnitude = truth.abs()
        self.inside = self.magnitude > 0.1 * self.magnitude.max()


def main() -> int:
    """Run the benchmark; return its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.reconstructor", description=__doc__.splitlines()[0])
    parser.add_argument("--anatomy", default="heads", choices=list(FOLDERS))
    parser.add_argument("--size", type=int, default=128, choices=[64, 128])
    parser.add_argument("--run-dir", type=Path)
    parser.add_argument("--teacher-images", type=int, default=9_000)
    parser.add_argument("--images", type=int, default=14_000)
    parser.add_argument("--noise", default="auto", choices=["auto", "none"], help="how training learns of σ")
    parser.add_argument("--oracle", action=argparse.BooleanOptionalAction, default=True)
    parser.add_argument("--slices", type=int, default=24, help="of the test split")
    options = parser.parse_args()
    name = f"{options.anatomy}-{options.size}"
    folder = (options.run_dir or Path("runs") / f"reconstructor-{name}").resolve()
    acs = options.size // 8
    _simulate(folder / "scans", options, acs)
    protocol = _train(folder, options, acs)

    from rsd_med.reconstruction import PriorRun

    run = PriorRun(folder / "run", "cpu")
    learned = {"a_dps": ADPSSettings().build(run.network("teacher"))}
    learned["reconstructor"] = ReconstructorSettings().build(run.network("reconstructor"))
    if options.oracle:
        learned["oracle"] = ReconstructorSettings().build(_oracle(folder, protocol, options.images))
    table: dict[str, dict[str, Any]] = {}
    tuned: dict[str, float] = {}
    for acceleration in ACCELERATIONS:
        central = acs if acceleration == TRAINED_AT else acs // 2
        tuned[f"R{acceleration}"] = best = _tuned(_slices(folder, "tune", acceleration, central))
        methods: dict[str, Solver] = {
            "zero_filled": ZeroFilledSettings().build(),
            "l1_wavelet": L1WaveletSettings(regularisation=best).build(),
            **learned,
        }
        test = _slices(folder, f"test{options.slices}", acceleration, central)
        table[f"R{acceleration}"] = rows = {}
        for method, solver in methods.items():
            rows[method] = _measure(solver, test, unknown_noise=options.noise == "none")
            print(f"R = {acceleration}  {method:14s}", _line(rows[method]), flush=True)
    slow = ADPSSettings(samples=8, guidance="likelihood", steps=300).build(run.network("teacher"))
    one = _slices(folder, f"test{options.slices}", TRAINED_AT, acs)[options.slices // 2 :][:1]
    gradient = _measure(slow, one, unknown_noise=False)
    print("A-DPS of 300 gradient steps, one slice:", _line(gradient), flush=True)
    _picture(folder, learned, tuned, f"test{options.slices}", acs)
    return conclude(
        f"reconstructor-{name}",
        _figures(table, gradient),
        {"table": table, "tuned": tuned, "gradient": gradient, "slices": options.slices},
    )


def _simulate(scans: Path, options: argparse.Namespace, acs: int) -> None:
    """Write raw files: undersampled for training, fully sampled for the oracle, in pairs for tuning and tests."""
    from rsd_med.simulate import main as simulate

    source = shared_data(FOLDERS[options.anatomy])
    shape = ["--size", str(options.size), "--coils", str(COILS), "--varied"]
    scans.mkdir(parents=True, exist_ok=True)
    images = str(scans / "train.npy")
    np.save(images, np.repeat(np.load(source / f"train_{options.size}.npz")["images"], 2, axis=0))
    for name, extra in (
        ("train", ["--acceleration", str(TRAINED_AT), "--acs-lines", str(acs), "--mask-per-slice"]),
        ("train_full", ["--fully-sampled"]),
    ):
        if not (scans / name).exists():
            succeed(simulate, [images, "--out", str(scans / name), *shape, *extra, "--sigma", str(NOISE)])
    if options.anatomy != "brains":
        large = source / "train_256.npz"
        if options.anatomy == "mixed":
            large = scans / "mixed.npz"
            write_mixture(large)
        own = ["--coils", str(COILS), "--varied", "--acceleration", str(TRAINED_AT), "--acs-lines", str(acs)]
        own += ["--mask-per-slice", "--sigma", str(NOISE)]
        write_sizes(scans / "sizes", large, own)
    write_pairs(scans, source, options.size, options.slices, shape, NOISE)


def _train(folder: Path, options: argparse.Namespace, acs: int) -> Path:
    """Train teacher and reconstructor where they are not trained yet; return the protocol."""
    from rsd_med.train import main as train

    deep = options.size > 64
    protocol = folder / "protocol.yaml"
    protocol.write_text(
        PROTOCOL.format(
            name=f"{options.anatomy}{options.size}",
            scans=folder / "scans",
            noise=options.noise,
            acs=acs,
            further=3 if options.size == 64 else 5,
            channels=[32, 64, 96, 128] if deep else [64, 96, 128],
            attention=[False, False, False, True] if deep else [False, False, True],
            teacher_images=options.teacher_images,
            images=options.images,
            every=max(1, options.images // 4),
            own=f", root: {folder / 'scans' / 'sizes'}, rows: {ROWS}" if options.anatomy != "brains" else "",
        )
    )
    for stage in ("teacher", "reconstructor"):
        succeed(train, [str(protocol), "--run-dir", str(folder / "run"), "--stage", stage])
    return protocol


def _oracle(folder: Path, protocol: Path, images: int) -> Any:
    """Train the same network on fully sampled files, or load what was trained before."""
    from safetensors.torch import load_file, save_file

    from rsd_med.experiment import Experiment
    from rsd_med.opened_run import newest_checkpoint, open_run
    from rsd_med.prior import amortised_of
    from rsd_med.protocol import load_protocol
    from rsd_med.runs.run_folder import RunFolder
    from rsd_med.training.batches import BatchOrder

    run = RunFolder(folder / "run")
    known = open_run(run)
    # All lines are measured; as many are shown as at R = 4 to 12, and all others are scored.
    taught = [f"data.root={folder / 'scans' / 'train_full'}", "corruption.acceleration=1", "corruption.mask=draw"]
    taught += ["reconstructor.root=null", "corruption.further_lines=0", "reconstructor.shown=[0.03, 0.2]"]
    own = load_protocol(protocol, taught)
    own = own.model_copy(update={"diffusion": own.diffusion.model_copy(update={"hidden_std": known.hidden_std})})
    experiment = Experiment(own, folder, stored_autotune=run.autotune)
    teacher = known.load_network(newest_checkpoint(run, "teacher"), "teacher")
    stage = experiment.reconstructor_stage(teacher)
    weights = folder / f"oracle_{images}.safetensors"
    if not weights.exists():
        order = BatchOrder(experiment.dataset.groups(), stage.batch_size, 0, "oracle")
        for step in range(-(-images // stage.batch_size)):
            batch = Measurement.cat([experiment.dataset[index] for index in order[step]])
            stage.step(batch, step * stage.batch_size, generator_for(0, "oracle", step))
        state = stage.ema.module.state_dict()
        save_file({name: value.contiguous() for name, value in state.items()}, weights)
    network = stage.ema.module
    network.load_state_dict(load_file(weights))
    return amortised_of(known, network.settled())


def _slices(folder: Path, split: str, acceleration: int, central: int) -> list[Slice]:
    noisy, clean = (FastMRIHDF5(folder / "scans" / f"{split}_{kind}") for kind in ("noisy", "clean"))
    corruption = MultiCoilFourierSettings(acceleration=acceleration, acs_lines=central).build()
    data = MeasurementDataset(noisy, corruption, 11, CalibrationSettings(noise="none"))
    slices = []
    for number in range(len(noisy)):
        measurement = data[number]
        noise = (noisy[number].kspace - clean[number].kspace).real.std()
        measurement = replace(measurement, sigma=noise / measurement.scale)
        operator, scale = measurement.operator, measurement.scale
        assert isinstance(operator, MultiCoilFourier)
        truth = (operator.maps[0].conj() * ifft2c(clean[number].kspace)).sum(0, keepdim=True) / scale
        slices.append(Slice(measurement, truth, noisy[number].kspace[None] / scale))
    return slices


def _tuned(slices: Sequence[Slice]) -> float:
    """Return the λ of L1-wavelet with the best mean PSNR."""

    def score(weight: float) -> float:
        solver = L1WaveletSettings(regularisation=weight).build()
        return float(np.mean([psnr(one.magnitude, _solve(solver, one.measurement).magnitude) for one in slices]))

    return max((4e-4, 8e-4, 1.6e-3, 3e-3, 6e-3, 1.2e-2), key=score)


def _solve(solver: Solver, measurement: Measurement) -> Reconstruction:
    return solver(measurement, generator_for(0, "benchmark", measurement.ids[0]))


def _measure(solver: Solver, slices: Sequence[Slice], *, unknown_noise: bool) -> dict[str, float]:
    """Return figures averaged over slices, each with its own peak."""
    rows = []
    for one in slices:
        measurement = one.measurement
        if unknown_noise and solver.settings.needs == "reconstructor":
            measurement = replace(measurement, sigma=0 * measurement.sigma)  # as in its training
        result = _solve(solver, measurement)
        row = {
            "psnr": psnr(one.magnitude, result.magnitude),
            "ssim": ssim(one.magnitude, result.magnitude),
            "seconds": result.seconds,
        }
        if result.std is not None and result.interval is not None:
            error = (result.magnitude - one.magnitude).abs()
            row |= {
                "psnr_of_one": psnr(one.magnitude, result.samples[0].abs()),
                "sharpness": _high(result.samples[0].abs()) / _high(one.magnitude),
                "coverage": coverage(result.interval, one.magnitude, one.inside),
                "rank": rank_correlation(result.std, error, one.inside),
                "energy_score": _hidden_score(result.samples, one),
            }
        rows.append(row)
    return {name: float(np.mean([row[name] for row in rows])) for name in rows[0]}


def _high(image: Tensor) -> float:
    """Return the power beyond `HIGH` of Nyquist."""
    power = fft2c(image.to(torch.complex64)).abs().square()[0]
    y, x = (torch.linspace(-1, 1, size) for size in power.shape)
    return float(power[(y[:, None] ** 2 + x**2).sqrt() > HIGH].sum())


def _hidden_score(samples: Tensor, one: Slice) -> float:
    """Return the energy score of the lines that were not measured."""
    operator = one.measurement.operator
    assert isinstance(operator, MultiCoilFourier)
    hidden = operator.with_mask(~operator.mask)
    data = one.whole.masked_fill(operator.mask, 0)
    each = hidden[torch.zeros(len(samples), dtype=torch.long)]
    draws = each(samples)
    draws = draws + complex_or_real_noise(draws, one.measurement.sigma.expand(len(draws)), generator_for(0, "score"))
    return float(
        energy_score(draws.masked_fill(operator.mask, 0)[None], data, hidden, ("entries", "pixels", "patches"))
    )


def _figures(table: dict[str, dict[str, Any]], gradient: dict[str, float]) -> list[Figure]:
    figures = []
    for name, rows in table.items():
        own, dps, l1 = rows["reconstructor"], rows["a_dps"], rows["l1_wavelet"]
        figures += [
            Figure(f"{name}: reconstructor - A-DPS, PSNR in dB", own["psnr"] - dps["psnr"], 0.3, at_most=False),
            Figure(f"{name}: reconstructor - L1-wavelet, PSNR in dB", own["psnr"] - l1["psnr"], 3.0, at_most=False),
            Figure(f"{name}: reconstructor - A-DPS, SSIM", own["ssim"] - dps["ssim"], 0.0, at_most=False),
            Figure(f"{name}: power of one draw beyond half of Nyquist / truth's", own["sharpness"]),
            Figure(f"{name}: coverage of the 90 % interval inside, at least", own["coverage"], 0.87, at_most=False),
            Figure(f"{name}: coverage of the 90 % interval inside, at most", own["coverage"], 0.93),
            Figure(f"{name}: rank correlation of spread with error inside", own["rank"], 0.4, at_most=False),
            Figure(f"{name}: energy score on hidden lines / A-DPS's", own["energy_score"] / dps["energy_score"], 1.0),
        ]
        if "oracle" in rows:
            figures.append(
                Figure(f"{name}: oracle - reconstructor, PSNR in dB", rows["oracle"]["psnr"] - own["psnr"], 1.0)
            )
    rows = table[f"R{TRAINED_AT}"]
    fast = rows["reconstructor"]["seconds"]
    return [
        *figures,
        Figure("time of A-DPS / reconstructor, 8 draws", rows["a_dps"]["seconds"] / fast, 50.0, at_most=False),
        Figure("time of A-DPS of 300 gradient steps / reconstructor", gradient["seconds"] / fast, 500.0, at_most=False),
    ]


def _line(row: dict[str, float]) -> str:
    return "  ".join(f"{name} {value:.4g}" for name, value in row.items())


def _picture(folder: Path, learned: dict[str, Solver], tuned: dict[str, float], split: str, acs: int) -> None:
    """Save a slice at R = 4 and 8, beside the run: zero-filled, L1-wavelet, the learned methods, spread, truth."""
    from PIL import Image

    rows = []
    for acceleration, lines in ((TRAINED_AT, acs), (2 * TRAINED_AT, acs // 2)):
        slices = _slices(folder, split, acceleration, lines)
        one = slices[len(slices) // 2]
        l1 = L1WaveletSettings(regularisation=tuned[f"R{acceleration}"]).build()
        solvers = {"zero_filled": ZeroFilledSettings().build(), "l1_wavelet": l1} | learned
        results = {name: _solve(solver, one.measurement) for name, solver in solvers.items()}
        spread = results["reconstructor"].std
        assert spread is not None
        panels = [*(result.magnitude for result in results.values()), SPREAD_TIMES * spread, one.magnitude]
        white = WHITE * one.magnitude.max()
        rows.append(torch.cat([panel[0] / white for panel in panels], dim=1))
    pixels = (torch.cat(rows) * 255).clamp(0, 255).to(torch.uint8).numpy()
    Image.fromarray(pixels).resize((2 * pixels.shape[1], 2 * pixels.shape[0])).save(folder / "reconstructor.png")


if __name__ == "__main__":
    sys.exit(main())
