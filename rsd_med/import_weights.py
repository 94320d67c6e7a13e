"""Take over weights that others have trained: ``python -m rsd_med.import_weights FILE PROTOCOL --run-dir DIR``."""

import argparse
import sys
from pathlib import Path

from rsd_med.base.command import program, run_command


def parse(arguments: list[str] | None = None) -> argparse.Namespace:
    """Parse the command line."""
    parser = argparse.ArgumentParser(
        prog=program("rsd_med.import_weights"),
        description="Make a run of a DDPM++ checkpoint of EDM, SiD, Ambient Diffusion (images, MRI) or ambient-laws. "
        "The file is read as tensors: nothing in it is run. rsd_med.train --teacher DIR then distils its teacher.",
        epilog="Exit codes: 0 done, 2 bad protocol or usage, 3 bad file.",
    )
    parser.add_argument("file", type=Path, metavar="FILE", help="network-snapshot-*.pkl, a state dict, or safetensors")
    parser.add_argument(
        "protocol", type=Path, metavar="PROTOCOL", help="the experiment that the weights belong to: a file, or a name"
    )
    parser.add_argument("--run-dir", type=Path, required=True, metavar="DIR", help="run folder to make")
    parser.add_argument(
        "--set", action="append", default=[], metavar="a.b=c", help="override one value of the protocol (repeatable)"
    )
    parser.add_argument(
        "--as",
        dest="stage",
        choices=["teacher", "student"],
        default="teacher",
        help="what the network is: a diffusion model, or a one-step generator such as SiD's (default: teacher)",
    )
    parser.add_argument("--network", metavar="NAME", help="which in the file (default: ema, G_ema, net or model)")
    parser.add_argument("--images", type=int, default=0, metavar="N", help="images it was trained on, for the record")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    """Run the command; return its exit code."""
    options = parse(arguments)

    from rsd_med.base.errors import ProtocolError
    from rsd_med.imported_run import open_weights, write_run
    from rsd_med.protocol import find_protocol, load_protocol, read_text

    if options.images < 0:
        raise ProtocolError("--images must be at least 0.")
    if options.run_dir.exists() and any(options.run_dir.iterdir()):
        raise ProtocolError(f"--run-dir {options.run_dir} is not empty; name a new folder.")
    path, base_dir = find_protocol(options.protocol)
    text = read_text(path)
    weights = open_weights(options.file, load_protocol(path, options.set, text), options.network)
    if not weights.names_preconditioning:
        print("The file does not say which preconditioning the network has; EDM's is assumed.", file=sys.stderr)
    write_run(options.run_dir, weights, text, base_dir, options.stage, options.images)
    count = sum(tensor.numel() for tensor in weights.tensors.values())
    print(
        f"{count:,} weights of the {options.stage}: {options.run_dir}. Whoever published them says what they may be "
        "used for (NVIDIA's not for commerce), and that binds what is made of them."
    )
    return 0


if __name__ == "__main__":
    sys.exit(run_command(main))
