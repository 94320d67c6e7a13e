"""A server in a thread, and a scan to send to it."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from threading import Lock, Thread

import ismrmrd
import numpy as np
import pytest

from rsd_med.scanner.configuration import Configurations, ScannerSettings
from rsd_med.scanner.incoming import Deadlines
from rsd_med.scanner.server import ScannerServer
from rsd_med.scanner.session import Shared
from tests.data.conftest import complex_noise
from tests.data.ismrmrd_files import line, write, xml
from tests.noncartesian import birdcage, phantom

Serve = Callable[..., tuple[str, int]]

DIRECTIONS = {
    "read_dir": (0.0, 0.8, 0.6),
    "phase_dir": (1.0, 0.0, 0.0),
    "slice_dir": (0.0, 0.6, -0.8),
    "patient_table_position": (1.0, 2.0, -30.0),
}


@contextmanager
def running(shared: Shared, connections: int) -> Iterator[tuple[str, int]]:
    with ScannerServer(("127.0.0.1", 0), shared, connections) as server:
        thread = Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02})
        thread.start()
        try:
            yield server.server_address
        finally:
            server.shutdown()
            thread.join()


@pytest.fixture
def serve() -> Iterator[Serve]:
    """Start a server with the limits that are given; return its address."""
    with ExitStack() as stack:

        def start(
            *, folder: Path | None = None, connections: int = 4, bytes_each: int = 1 << 28, **settings: object
        ) -> tuple[str, int]:
            seconds = {name: settings.pop(name) for name in ("start", "idle", "message", "session") if name in settings}
            default = ScannerSettings(**{"method": "cg_sense", **settings})
            shared = Shared(
                configurations=Configurations(default, folder, with_run=False),
                run=None,
                device="cpu",
                deadlines=Deadlines(**seconds),
                bytes_each=bytes_each,
                computing=Lock(),
            )
            return stack.enter_context(running(shared, connections))

        yield start


def kspace_of(image: np.ndarray) -> np.ndarray:
    shifted = np.fft.ifftshift(image, axes=(-2, -1))
    return np.fft.fftshift(np.fft.fft2(shifted, norm="ortho"), axes=(-2, -1)).astype(np.complex64)


def oblique_lines(slices: int = 2, repetitions: int = 2, coils: int = 4) -> list[ismrmrd.Acquisition]:
    """An oblique stack, measured several times, with its noise scan: 32 × 24, every second outer line left out."""
    image = phantom(32)[:, 4:28]
    maps = birdcage(coils, 32)[:, :, 4:28]
    noise = complex_noise(coils, 512, seed=9) * np.float32(0.01)
    lines = [line(noise, 0, [ismrmrd.ACQ_IS_NOISE_MEASUREMENT], sample_time_us=5.0)]
    for repetition in range(repetitions):
        for number in range(slices):
            kspace = kspace_of(maps * image * (1 + 0.3 * number + 0.1 * repetition))
            kspace = kspace + 0.01 * complex_noise(*kspace.shape, seed=10 * repetition + number)
            place = -5.0 * number * np.array(DIRECTIONS["slice_dir"]) + (3.0, -7.0, 11.0)
            where = {"position": tuple(place), **DIRECTIONS}
            lines += [
                line(kspace[:, :, step], step, slice=number, repetition=repetition, sample_time_us=5.0, **where)
                for step in range(24)
                if step % 2 == 0 or 8 <= step < 16
            ]
    for number, one in enumerate(lines):
        one.measurement_uid, one.acquisition_time_stamp, one.scan_counter = 77, 1000 + number, number
    return lines


@pytest.fixture(scope="session")
def oblique(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """That scan as a file."""
    return write(tmp_path_factory.mktemp("scanner") / "scan.h5", xml((32, 24)), oblique_lines())


@pytest.fixture(scope="session")
def small(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """One slice of it."""
    return write(tmp_path_factory.mktemp("scanner") / "scan.h5", xml((32, 24)), oblique_lines(1, 1))
