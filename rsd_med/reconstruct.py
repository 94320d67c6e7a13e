"""Reconstruct a scan: ``python -m rsd_med.reconstruct RUN SCAN --method a_dps --out DIR``."""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rsd_med.base.command import program, run_command
from rsd_med.base.progress import Progress, part_of
from rsd_med.choices import AUTOMATIC, add_choices, add_run, choices_of
from rsd_med.reconstruction import PriorRun, Reconstructor

if TYPE_CHECKING:
    from rsd_med.inverse.checking import Verdict
    from rsd_med.inverse.volume_files import VolumeFile
WORTH_SAYING = 0.02
"""Part of the pixels with signal that may lie outside the coil maps' support without a word."""

DRAWS, PATTERN = 3, "random"
"""How often lines are hidden, and which lines are left out, where the command line does not say."""


def parser() -> argparse.ArgumentParser:
    """Return the command line's parser."""
    parser = argparse.ArgumentParser(
        prog=program("rsd_med.reconstruct"),
        description="Reconstruct raw k-space with the prior of a run or without one: image, uncertainty, and whether "
        "they explain the measurement. Computed, for research, not for diagnosis.",
    )
    add_run(parser)
    parser.add_argument(
        "scan",
        type=Path,
        metavar="SCAN",
        help="file or folder of raw data: fastMRI HDF5, ISMRMRD, BART, MATLAB, arrays",
    )
    parser.add_argument("--out", type=Path, required=True, metavar="DIR", help="folder to write to")
    parser.add_argument("--dicom", action="store_true", help="write DICOM secondary captures too")
    parser.add_argument("--hdf5", action="store_true", help="write 'reconstruction' for fastMRI's evaluation too")
    parser.add_argument("--bart", action="store_true", help="write image, coil maps and k-space as BART's .cfl too")
    parser.add_argument("--acquisition", metavar="NAME", help="of fastMRI's files only these, such as AXT2")
    parser.add_argument("--slices", type=int, metavar="N", help="only the central N slices of each volume")
    parser.add_argument(
        "--check",
        action="store_true",
        help="hide measured lines from the method, from L1-wavelet and from zero-filling, and say which predicts them "
        "best; part of --method auto",
    )
    parser.add_argument("--check-draws", type=int, metavar="N", help=f"how often (default {DRAWS})")
    test = parser.add_argument_group("retrospective undersampling of fully sampled scans, which gives figures")
    test.add_argument("--acceleration", type=float, metavar="R", help="keep one in R columns")
    test.add_argument("--acs-lines", type=int, metavar="N", help="central columns kept (default 32 %% of them)")
    test.add_argument(
        "--pattern",
        choices=("random", "equispaced", "equispaced_fraction"),
        help=f"default {PATTERN}; one mask for all slices of a volume",
    )
    test.add_argument(
        "--fastmri-masks",
        action="store_true",
        help="draw them as fastMRI's evaluation does, from the name of the file; the patterns are fastMRI's then",
    )
    add_choices(parser, automatic=True)
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
    choices = choices_of(options)
    choices.check(with_run=options.run != "-")

    import json
    from dataclasses import replace

    from tqdm import tqdm

    from rsd_med.base.devices import device_kind
    from rsd_med.base.files import write_text
    from rsd_med.inverse.scans import Undersampling
    from rsd_med.inverse.volume import reconstruct_volume

    device = device_kind(options.device, "--device")
    chosen = Reconstructor(choices, None if options.run == "-" else PriorRun(Path(options.run), device))
    for note in chosen.notes:
        print(note, file=sys.stderr)
    source = chosen.source(options.scan, options.acquisition)
    stacks = source.stacks()
    undersampling = Undersampling(options.acceleration, options.acs_lines, options.pattern or PATTERN, options.seed)
    automatic = options.method == AUTOMATIC
    volumes: list[dict[str, Any]] = []
    verdicts: list[Verdict] = []
    unexplained = 0
    with tqdm(total=1.0, disable=None, bar_format="{l_bar}{bar}| {elapsed} < {remaining}") as bar:
        for number, stack in enumerate(stacks):
            folder = options.out if len(stacks) == 1 else options.out / f"volume_{number:03d}"
            items = _central(stack, options.slices)
            name = source.file_name(stack[0])
            masks = replace(undersampling, volume=source.id(stack[0]), fastmri=name if options.fastmri_masks else None)
            prepare = partial(chosen.prepare, undersampling=masks)
            progress: Progress = partial(_show, bar, number, len(stacks))
            solver = chosen.solver
            if automatic or options.check:
                announce = partial(bar.write, file=sys.stderr)
                check = chosen.check(
                    automatic=automatic, draws=options.check_draws or DRAWS, device=device, announce=announce
                )
                verdicts.append(check(source, items, prepare, part_of(progress, 0, 2)))
                progress, solver = part_of(progress, 1, 2), verdicts[-1].candidate.solver
            result = reconstruct_volume(
                source,
                items,
                prepare,
                solver,
                folder,
                seed=options.seed,
                dicom=options.dicom,
                files=_files(options, folder, name, len(items)),
                description=f"rsd_med {solver.settings.kind}",
                device=device,
                progress=progress,
            )
            if verdicts:
                result.figures |= {"settings": solver.settings.model_dump(), "hidden_lines": verdicts[-1].record()}
            volumes.append(result.figures)
            unexplained += len(result.unexplained) if solver.settings.fits_data else 0
    metrics = {
        "method": AUTOMATIC if automatic else chosen.method,
        "settings": None if automatic else chosen.settings.model_dump(),
        "seed": options.seed,
        "prior": None
        if chosen.prior is None
        else {"size": chosen.prior.size, "other_sizes_taken": chosen.prior.any_size},
        "retrospective_acceleration": options.acceleration,
        "note": "computed, not for diagnosis",
        "volumes": volumes,
    }
    write_text(options.out / "metrics.json", json.dumps(metrics, indent=2) + "\n")
    methods = list(dict.fromkeys(one.candidate.name for one in verdicts)) if automatic else [chosen.method]
    _tell(methods, volumes, unexplained, options.out)
    for number, verdict in enumerate(verdicts):
        _tell_verdict(number, verdict)
    return 0


def _check(options: argparse.Namespace) -> None:
    from rsd_med.base.errors import ProtocolError

    for name, least in (("slices", 1), ("check_draws", 1), ("acs_lines", 0), ("acceleration", 1)):
        value = getattr(options, name)
        if value is not None and not least <= value < 1e9:
            raise ProtocolError(f"--{name.replace('_', '-')} must be at least {least}, not {value:g}.")
    if options.acceleration is None:
        for name in ("acs_lines", "pattern", "fastmri_masks"):
            if getattr(options, name) not in (None, False):
                raise ProtocolError(
                    f"--{name.replace('_', '-')} goes with --acceleration: without it the scan is taken as it was "
                    "measured."
                )
    if options.check_draws is not None and not options.check and options.method != AUTOMATIC:
        raise ProtocolError("--check-draws goes with --check or --method auto: without them no lines are hidden.")
    if options.out.exists() and not options.out.is_dir():
        raise ProtocolError(f"--out {options.out.name} is a file; name a folder.")


def _files(options: argparse.Namespace, folder: Path, name: str, slices: int) -> "list[VolumeFile]":
    """Return what is written for other programs; fastMRI's evaluation wants all volumes in one folder."""
    from rsd_med.inverse.volume_files import BartFiles, FastMRIFile

    hdf5: list[VolumeFile] = [FastMRIFile(options.out / "fastmri" / name, slices)] if options.hdf5 else []
    return hdf5 + ([BartFiles(folder / "bart")] if options.bart else [])


def _central(stack: range, count: int | None) -> range:
    if count is None or count >= len(stack):
        return stack
    first = (len(stack) - count) // 2
    return stack[first : first + count]


def _show(bar: Any, number: int, volumes: int, part: float) -> None:
    bar.update((number + part) / volumes - bar.n)


def _tell(methods: list[str], volumes: list[dict[str, Any]], unexplained: int, out: Path) -> None:
    slices = sum(volume["slices"] for volume in volumes)
    print(f"{slices} slices by {' and '.join(methods)}: {out}")
    for number, volume in enumerate(volumes):
        if "quality" in volume:
            quality = volume["quality"]
            line = f"volume {number}: PSNR {quality['psnr']:.2f} dB, SSIM {quality['ssim']:.4f}"
            if "uncertainty" in volume:
                line += f", 90 % interval covers {volume['uncertainty']['coverage_of_90_percent_interval']:.0%} inside"
            print(line)
        adaptations = [facts["adaptation"] for facts in volume.get("facts", []) if "adaptation" in facts]
        if adaptations:
            print(f"volume {number}: {_adapted(adaptations)}")
    _tell_maps(methods, volumes)
    if unexplained:
        causes = dict.fromkeys(volume["likely_cause"] for volume in volumes if volume["likely_cause"])
        print(
            f"warning: {unexplained} of {slices} results do not explain the measurement: do not trust them "
            f"(see 'residual' in metrics.json). Likely cause: {' '.join(causes)}",
            file=sys.stderr,
        )


def _adapted(adaptations: list[dict[str, Any]]) -> str:
    """Say what came of adaptation, slice by slice."""
    changed = [one for one in adaptations if one["steps"]]
    if not changed:
        return "--adapt changed nothing: in no slice did any step predict hidden lines better than the prior as it came"
    before, after = (sum(one[name] for one in changed) / len(changed) for name in ("before", "after"))
    return (
        f"the prior adapted in {len(changed)} of {len(adaptations)} slices: squared error of hidden lines there "
        f"{before:.3f} of their energy before, {after:.3f} after"
    )


def _tell_maps(methods: list[str], volumes: list[dict[str, Any]]) -> None:
    """Say where the coil maps leave signal dark, and where one map of each coil is not enough."""
    from rsd_med.calibration.coil_maps import NEEDED
    from rsd_med.inverse.kinds import SOLVERS

    maps = [volume["coil_maps"] for volume in volumes]
    outside = max((share for one in maps for share in one["outside"] if share is not None), default=0.0)
    if outside > WORTH_SAYING:
        print(
            f"note: the coil maps are zero at up to {outside:.0%} of the pixels with signal, which are dark in the "
            "image (support.nii.gz; --calibration maps.crop=0.8 takes in dimmer ones)."
        )
    pairs = [pair for one in maps for pair in zip(one["sets"], one["second_eigenvalue"], strict=True)]
    wrapped = [share for _, share in pairs if share is not None and share > NEEDED]
    if not wrapped:
        return
    where = (
        f"in {len(wrapped)} slices the field of view is smaller than the object: in up to {max(wrapped):.0%} of the "
        "signal two places fall on one pixel"
    )
    if any(sets == 1 for sets, share in pairs if share is not None and share > NEEDED):
        print(
            f"warning: {where}, and one map of each coil is wrong there; --calibration maps.sets=auto.", file=sys.stderr
        )
    elif not all(SOLVERS[method].takes_sets for method in methods):
        print(
            f"warning: {where}, and {' and '.join(methods)} takes one map of each coil, which is wrong there; "
            "l1_wavelet and a_dps take two.",
            file=sys.stderr,
        )
    else:
        print(f"note: {where}; two maps of each coil were taken.")


def _tell_verdict(number: int, verdict: "Verdict") -> None:
    """Print what the check on hidden lines says of a volume, and warnings where they are seen."""
    if verdict.table is None:
        print(f"note: volume {number}: nothing was checked: {verdict.reason}", file=sys.stderr)
        return
    print(f"volume {number}: {verdict.table.text()}")
    if verdict.warning is not None:
        print(f"warning: volume {number}: {verdict.warning}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(run_command(main))
