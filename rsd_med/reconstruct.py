"""Reconstruct a scan: ``python -m rsd_med.reconstruct RUN SCAN --method a_dps --out DIR``."""

import argparse
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from rsd_med.base.command import program, run_command
from rsd_med.inverse.kinds import SOLVERS

if TYPE_CHECKING:
    from rsd_med.calibration.settings import CalibrationSettings
    from rsd_med.data.scan import Scan
    from rsd_med.inverse.base import SolverSettings
    from rsd_med.inverse.prior import Prior
    from rsd_med.protocol import Protocol


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog=program("rsd_med.reconstruct"),
        description="Reconstruct raw k-space with the prior of a run or without one: image, uncertainty, and whether "
        "they explain the measurement. Computed, for research, not for diagnosis.",
    )
    parser.add_argument("run", metavar="RUN", help="run folder that rsd_med.train has filled; - for none")
    parser.add_argument(
        "scan", type=Path, metavar="SCAN", help="file or folder of raw data: fastMRI HDF5, ISMRMRD, arrays"
    )
    parser.add_argument(
        "--method",
        choices=list(SOLVERS),
        help="default: a_dps with a run, l1_wavelet without; what each needs: docs/reconstruction.md",
    )
    parser.add_argument("--samples", type=int, metavar="N", help="posterior samples (default: the method's, 8)")
    parser.add_argument(
        "--set", dest="options", action="append", default=[], metavar="NAME=VALUE", help="an option of the method"
    )
    parser.add_argument("--seed", type=int, default=0, help="the same seed gives the same result (default 0)")
    parser.add_argument(
        "--device",
        choices=("auto", "cpu", "cuda"),
        default="auto",
        help="default %(default)s: the GPU if there is one",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--dicom", action="store_true", help="write DICOM secondary captures too")
    parser.add_argument("--slices", type=int, metavar="N", help="only the central N slices of each volume")
    parser.add_argument(
        "--crop-kspace", action="store_true", help="reconstruct at the prior's matrix: keep the centre of k-space"
    )
    parser.add_argument(
        "--any-size",
        action="store_true",
        help="apply the prior at the scan's own matrix, whatever that of its training images: out of its domain",
    )
    test = parser.add_argument_group("retrospective undersampling of fully sampled scans, which gives figures")
    test.add_argument("--acceleration", type=float, metavar="R", help="keep one in R columns")
    test.add_argument("--acs-lines", type=int, metavar="N", help="central columns kept (default 32 %% of them)")
    test.add_argument("--pattern", choices=("random", "equispaced"), default="random", help="default %(default)s")
    raw = parser.add_argument_group("calibration (default: the run's, so that the prior meets what it was trained on)")
    raw.add_argument("--coils", type=int, metavar="N", help="compress to N virtual coils")
    raw.add_argument("--noise", choices=("auto", "scan", "edges", "background", "none"), help="where σ comes from")
    return parser


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code.

    Raises
    ------
    ProtocolError
        If the options do not go together.
    DataError
        If scan or run cannot be used.
    """
    options = parser().parse_args(arguments)
    _check(options)

    import json

    from tqdm import tqdm

    from rsd_med.base.devices import device_kind
    from rsd_med.base.files import write_text
    from rsd_med.data.opening import open_scan
    from rsd_med.inverse.scans import Undersampling, prepare
    from rsd_med.inverse.volume import reconstruct_volume

    method = options.method or ("l1_wavelet" if options.run == "-" else "a_dps")
    settings = _settings(method, options)
    device = device_kind(options.device, "--device")
    protocol, prior = (None, None)
    if options.run != "-":
        protocol, prior = _load_run(Path(options.run), settings, options.any_size, device)
    solver = settings.build(prior)
    source = open_scan(options.scan)
    stacks = [_central(stack, options.slices) for stack in source.stacks()]
    undersampling = Undersampling(options.acceleration, options.acs_lines, options.pattern, options.seed)
    calibration = _calibration(protocol, options)
    lines = None if protocol is None else protocol.acs_lines
    size = prior.size if prior is not None and options.crop_kspace else None
    volumes: list[dict[str, Any]] = []
    unexplained = 0
    with tqdm(total=1.0, disable=None, bar_format="{l_bar}{bar}| {elapsed} < {remaining}") as bar:
        for number, stack in enumerate(stacks):
            folder = options.out if len(stacks) == 1 else options.out / f"volume_{number:03d}"
            result = reconstruct_volume(
                source,
                stack,
                lambda scan: prepare(
                    scan, undersampling, calibration, size=size, acs_lines=_scale_lines(lines, prior, scan)
                ),
                solver,
                folder,
                seed=options.seed,
                dicom=options.dicom,
                description=f"rsd_med {method}",
                device=device,
                progress=lambda part, done=number: _show(bar, (done + part) / len(stacks)),  # type: ignore[misc]
            )
            volumes.append(result.figures)
            unexplained += len(result.unexplained)
    metrics = {
        "method": method,
        "settings": settings.model_dump(),
        "seed": options.seed,
        "prior": None if prior is None else {"size": prior.size, "other_sizes_taken": prior.any_size},
        "retrospective_acceleration": options.acceleration,
        "note": "computed, not for diagnosis",
        "volumes": volumes,
    }
    write_text(options.out / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    _tell(method, volumes, unexplained if settings.fits_data else 0, options.out)
    return 0


def _check(options: argparse.Namespace) -> None:
    from rsd_med.base.errors import ProtocolError

    method = None if options.method is None else SOLVERS[options.method]
    for name, least in (
        ("samples", 1),
        ("slices", 1),
        ("coils", 1),
        ("acs_lines", 0),
        ("seed", 0),
        ("acceleration", 1),
    ):
        value = getattr(options, name)
        if value is not None and not least <= value < 1e9:
            raise ProtocolError(f"--{name.replace('_', '-')} must be at least {least}, not {value:g}.")
    if options.acceleration is None and options.acs_lines is not None:
        raise ProtocolError("--acs-lines goes with --acceleration: without it the scan is taken as it was measured.")
    if options.run == "-" and method is not None and method.needs:
        raise ProtocolError(f"--method {options.method} needs a prior: give a run folder in place of -.")
    if options.run == "-" and options.crop_kspace:
        raise ProtocolError("--crop-kspace brings a scan to the prior's size: it needs a run in place of -.")
    if options.run == "-" and options.any_size:
        raise ProtocolError("--any-size is about a prior: it needs a run in place of -.")
    if options.any_size and options.crop_kspace:
        raise ProtocolError("--any-size keeps the scan's matrix and --crop-kspace takes the prior's; choose one.")
    if options.samples is not None and method is not None and not method.gives_samples():
        raise ProtocolError(f"--method {options.method} gives one image; leave --samples out.")
    if options.out.exists() and not options.out.is_dir():
        raise ProtocolError(f"--out {options.out.name} is a file; name a folder.")


def _settings(method: str, options: argparse.Namespace) -> "SolverSettings":
    """Build the method's settings from ``--samples`` and ``--set``."""
    from pydantic import ValidationError

    from rsd_med.base.errors import ProtocolError

    settings, values = SOLVERS[method], dict[str, object]()
    for text in options.options:
        name, separator, value = text.partition("=")
        if not separator:
            raise ProtocolError(f"--set {text}: write NAME=VALUE.")
        values[name] = value
    if options.samples is not None and settings.gives_samples():
        values["samples"] = options.samples
    try:
        return settings.model_validate(values)
    except ValidationError as error:
        first = error.errors()[0]
        name = ".".join(map(str, first["loc"]))
        known = ", ".join(name for name in settings.model_fields if name != "kind") or "none"
        raise ProtocolError(f"--set {name}: {first['msg']}; the options of {method} are: {known}.") from error


def _load_run(
    folder: Path, method: "SolverSettings", any_size: bool, device: Literal["cpu", "cuda"]
) -> "tuple[Protocol, Prior | None]":
    """Load a run's protocol, which says how its scans were prepared, and the network where a method needs one."""
    from dataclasses import replace

    from rsd_med.opened_run import newest_checkpoint, open_run
    from rsd_med.prior import prior_of
    from rsd_med.runs.run_folder import RunFolder

    run = RunFolder(folder)
    experiment = open_run(run, device=device)
    if method.needs is None:
        return experiment.protocol, None
    network = experiment.load_network(newest_checkpoint(run, method.needs), method.needs)
    return experiment.protocol, replace(prior_of(experiment, network, method.needs), any_size=any_size)


def _calibration(protocol: "Protocol | None", options: argparse.Namespace) -> "CalibrationSettings":
    """Return the run's calibration, with the options that were given in place of its own; say where these differ."""
    from rsd_med.calibration.settings import CalibrationSettings

    settings = CalibrationSettings() if protocol is None else protocol.calibration
    given = {"noise": options.noise, "virtual_coils": options.coils}
    changed = {name: value for name, value in given.items() if value not in (None, getattr(settings, name))}
    if protocol is not None:
        for name, value in changed.items():
            print(
                f"note: the run was trained with calibration.{name}: {getattr(settings, name) or 'null'}; this scan is "
                f"prepared with {value}, so that the prior meets other images than it knows.",
                file=sys.stderr,
            )
    return settings.model_copy(update=changed)


def _scale_lines(lines: int | None, prior: "Prior | None", scan: "Scan") -> int | None:
    """Return the central lines that give a scan its scale: of another width, the same share as in training."""
    if lines is None or prior is None or not prior.any_size:
        return lines
    return round(lines * scan.matrix[1] / prior.size[1])


def _central(stack: range, count: int | None) -> range:
    if count is None or count >= len(stack):
        return stack
    first = (len(stack) - count) // 2
    return stack[first : first + count]


def _show(bar: Any, done: float) -> None:
    bar.update(done - bar.n)


def _tell(method: str, volumes: list[dict[str, Any]], unexplained: int, out: Path) -> None:
    slices = sum(volume["slices"] for volume in volumes)
    print(f"{slices} slices by {method}: {out}")
    for number, volume in enumerate(volumes):
        if "quality" in volume:
            quality = volume["quality"]
            line = f"volume {number}: PSNR {quality['psnr']:.2f} dB, SSIM {quality['ssim']:.4f}"
            if "uncertainty" in volume:
                line += f", 90 % interval covers {volume['uncertainty']['coverage_of_90_percent_interval']:.0%} inside"
            print(line)
    if unexplained:
        print(
            f"warning: {unexplained} of {slices} results do not explain the measurement: do not trust them "
            "(see 'residual' in metrics.json).",
            file=sys.stderr,
        )


if __name__ == "__main__":
    sys.exit(run_command(main))
