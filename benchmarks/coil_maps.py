"""ESPIRiT's coil maps against sigpy's, in one run: ``python -m benchmarks.coil_maps``.

A simulated knee, 15 coils, 320 × 320, is given to both in turn, and the fastest runs are compared: on a busy machine,
whatever else runs slows both. Agreement is measured there and on a real brain of 8 channels, where the eigenvalue is
trusted. The bounds are for two cores; set OMP_NUM_THREADS=2 NUMBA_NUM_THREADS=2 on a larger machine.
"""

import sys
import time
from collections.abc import Callable

import numpy as np
import torch
from torch import Tensor

from benchmarks.common import Figure, conclude, shared_data
from rsd_med.calibration.espirit import espirit_eigenmaps
from rsd_med.calibration.scale import dc_window
from rsd_med.calibration.walsh import walsh_maps
from rsd_med.data.knee_phantom import KneePhantomSettings

Maps = tuple[Tensor, Tensor]

COILS, SIZE, CENTRE, CROP = 15, 320, 24, 0.95
REPEATS = 2
SIGPY_ITERATIONS = 30  # sigpy's default is 100, which takes longer still


def main() -> int:
    """Measure, print, record."""
    calibration = _knee()
    shape = (SIZE, SIZE)
    torch_times, sigpy_times, walsh_times = [], [], []
    for _ in range(REPEATS):
        seconds, ours = _timed(lambda: _ours(calibration, shape))
        torch_times.append(seconds)
        seconds, theirs = _timed(lambda: _sigpy(calibration, shape, SIGPY_ITERATIONS))
        sigpy_times.append(seconds)
        seconds, _ = _timed(lambda: (walsh_maps(calibration, shape), calibration))
        walsh_times.append(seconds)
        print(
            f"torch {torch_times[-1]:.2f} s, sigpy {sigpy_times[-1]:.2f} s, Walsh {walsh_times[-1]:.2f} s", flush=True
        )
    figures = [
        Figure("speedup over sigpy, 15 coils at 320 x 320", min(sigpy_times) / min(torch_times), 5, at_most=False),
        *_agreement("knee", ours, theirs),
    ]
    brain = _brain()
    if brain is None:
        print("skipped: no mri_kspace_real here, agreement is measured on the simulated knee alone")
    else:
        calibration, shape = brain
        figures += _agreement("brain", _ours(calibration, shape), _sigpy(calibration, shape, 100))
    details = {
        "seconds": {"torch": torch_times, "sigpy": sigpy_times, "walsh": walsh_times},
        "settings": {"calibration": CENTRE, "kernel": 6, "threshold": 0.02, "crop": CROP},
        "threads": torch.get_num_threads(),
        "data": f"simulated knee, {COILS} coils, {SIZE} x {SIZE}, seed 0; real brain of 8 channels, 230 x 180",
    }
    return conclude("coil_maps", figures, details)


def _knee() -> Tensor:
    settings = KneePhantomSettings(num_images=1, size=SIZE, coils=COILS, sigma=0.005, supersample=1)
    return _centre(settings.build(seed=0)[0].kspace)


def _brain() -> tuple[Tensor, tuple[int, int]] | None:
    import h5py

    try:
        folder = shared_data("mri_kspace_real")
    except SystemExit:
        return None
    with h5py.File(folder / "brain_8ch_full.h5") as file:
        kspace = torch.from_numpy(file["kspace"][()])
    return _centre(kspace), (kspace.shape[1], kspace.shape[2])


def _centre(kspace: Tensor) -> Tensor:
    rows, columns = kspace.shape[-2:]
    return kspace[..., dc_window(rows, CENTRE), dc_window(columns, CENTRE)].contiguous()


def _ours(calibration: Tensor, shape: tuple[int, int]) -> Maps:
    eigen = espirit_eigenmaps(calibration, shape)
    return eigen.vectors[0], eigen.values[0]


def _sigpy(calibration: Tensor, shape: tuple[int, int], iterations: int) -> tuple[Tensor, Tensor]:
    import sigpy
    from sigpy.mri.app import EspiritCalib

    kspace = sigpy.resize((calibration / calibration.abs().max()).numpy(), (calibration.shape[0], *shape))
    with np.errstate(divide="ignore", invalid="ignore"):
        maps, values = EspiritCalib(
            kspace,
            calib_width=CENTRE,
            thresh=0.02,
            kernel_width=6,
            crop=0,
            max_iter=iterations,
            output_eigenvalue=True,
            show_pbar=False,
        ).run()
    return torch.from_numpy(np.nan_to_num(maps)), torch.from_numpy(values).reshape(shape)


def _agreement(name: str, ours: tuple[Tensor, Tensor], theirs: tuple[Tensor, Tensor]) -> list[Figure]:
    """Compare eigenvectors but for their common phase, which is free, and eigenvalues."""
    trusted = (ours[1] > CROP) & (theirs[1] > CROP)
    likeness = (ours[0].conj() * theirs[0]).sum(0).abs()[trusted]
    return [
        Figure(f"{name}: largest 1 - |<ours, sigpy's>| where trusted", float(1 - likeness.min()), 1e-3),
        Figure(
            f"{name}: largest difference of eigenvalues where trusted",
            float((ours[1] - theirs[1]).abs()[trusted].max()),
            1e-3,
        ),
        Figure(
            f"{name}: pixels trusted by one alone", float(((ours[1] > CROP) != (theirs[1] > CROP)).float().mean()), 1e-3
        ),
        Figure(f"{name}: pixels trusted", float(trusted.float().mean())),
    ]


def _timed(run: Callable[[], Maps]) -> tuple[float, Maps]:
    began = time.perf_counter()
    result = run()
    return time.perf_counter() - began, result


if __name__ == "__main__":
    sys.exit(main())
