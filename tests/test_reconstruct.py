"""The reconstruct command: from raw files to results in their geometry, or one sentence and an exit code."""

import json

import h5py
import nibabel
import numpy as np
import pytest
import torch

from rsd_med import reconstruct, simulate, train
from rsd_med.base.command import run_command
from rsd_med.calibration.settings import CalibrationSettings
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5
from rsd_med.data.scan import Geometry, Scan
from rsd_med.data.source import Source
from rsd_med.inverse.cg_sense import CGSenseSettings
from rsd_med.inverse.scans import Undersampling, at_lower_resolution, prepare
from rsd_med.inverse.volume import reconstruct_volume
from rsd_med.metrics.image_quality import nmse, psnr, ssim
from rsd_med.operators.fourier import ifft2c

SIDE = 32


def head(number: int = 0) -> np.ndarray:
    """An asymmetric head, uint8: a disc with a bright spot at the top left."""
    y, x = np.mgrid[-1 : 1 : SIDE * 1j, -1 : 1 : SIDE * 1j]
    image = np.where(y**2 + (1.3 * x) ** 2 < 0.7, 120 + 10 * number, 0)
    return np.where((y + 0.4) ** 2 + (x + 0.3) ** 2 < 0.02, 250, image).astype(np.uint8)


@pytest.fixture(scope="module")
def scans(tmp_path_factory):
    """A fully sampled volume of three slices."""
    folder = tmp_path_factory.mktemp("scans")
    np.save(folder / "heads.npy", np.stack([head(n) for n in range(3)]))
    full = ["--fully-sampled", "--coils", "4", "--sigma", "0.01"]
    simulate.main([str(folder / "heads.npy"), "--out", str(folder / "full"), *full])
    return folder / "full" / "scan_00000.h5"


def call(capsys, *arguments) -> tuple[int, str, str]:
    try:
        code = run_command(lambda: reconstruct.main([str(argument) for argument in arguments]))
    except SystemExit as leaving:
        code = leaving.code
    shown = capsys.readouterr()
    assert "Traceback" not in shown.err
    return code, shown.out, shown.err


# --- good scans -----------------------------------------------------------------------------------------------------


def test_a_scan_becomes_nifti_pictures_and_figures(scans, tmp_path, capsys):
    out = tmp_path / "out"
    options = ("--method", "cg_sense", "--acceleration", 2, "--acs-lines", 8, "--out", out)
    code, shown, _ = call(capsys, "-", scans, *options)
    assert code == 0
    assert "PSNR" in shown
    volume = nibabel.load(out / "mean.nii.gz")
    assert volume.shape == (SIDE, SIDE, 3)
    assert np.allclose(volume.header.get_zooms()[:2], 1)  # simulate's spacing
    assert (int(volume.header["sform_code"]), int(volume.header["qform_code"])) == (0, 0)  # unknown is said to be so
    # Upright: voxel (y, x) is the phantom's, no flip and no transposition.
    found = np.asarray(volume.dataobj)
    for number in range(3):
        assert np.corrcoef(found[..., number].ravel(), head(number).ravel())[0, 1] > 0.97
        assert np.corrcoef(found[::-1, :, number].ravel(), head(number).ravel())[0, 1] < 0.97
    metrics = json.loads((out / "metrics.json").read_text())
    quality = metrics["volumes"][0]["quality"]
    assert quality["psnr"] > 20
    assert 0 < quality["ssim"] <= 1
    assert len(metrics["volumes"][0]["residual"]) == 3
    assert {path.name for path in (out / "png").iterdir()} >= {"slice_000.png", "reference_002.png"}
    assert not list(out.glob(".*"))


def test_the_figures_are_those_of_the_whole_volume(scans, tmp_path):
    """Against the functions for volumes, on what was written and on the reference that fastMRI defines."""
    source, undersampling = FastMRIHDF5(scans), Undersampling(2, 8)
    result = reconstruct_volume(
        source, range(3), lambda scan: prepare(scan, undersampling), CGSenseSettings().build(), tmp_path
    )
    written = torch.from_numpy(np.asarray(nibabel.load(tmp_path / "mean.nii.gz").dataobj)).permute(2, 0, 1)
    reference = torch.stack([prepare(scan, undersampling).reference for scan in source])
    quality = result.figures["quality"]
    assert quality["nmse"] == pytest.approx(nmse(reference, written), rel=1e-5)
    assert quality["psnr"] == pytest.approx(psnr(reference, written), rel=1e-5)
    assert quality["ssim"] == pytest.approx(ssim(reference, written), rel=1e-4)
    for scan in source:  # of coils that are left as they are, fastMRI's reference
        rss = ifft2c(scan.kspace).abs().square().sum(0).sqrt()
        plain = prepare(scan, undersampling, CalibrationSettings(noise="none"))
        assert torch.allclose(plain.reference, rss, atol=1e-6)


def test_nothing_that_the_mask_leaves_out_is_looked_at(scans, tmp_path):
    undersampling = Undersampling(2, 8)
    scan = FastMRIHDF5(scans)[1]
    mask = undersampling.mask(scan)
    spoilt = scan.kspace.clone()
    spoilt[..., ~mask] += 0.01 * torch.randn(spoilt[..., ~mask].shape, dtype=torch.complex64)
    first = prepare(scan, undersampling).measurement
    second = prepare(Scan(scan.id, spoilt, scan.acquired, scan.maps), undersampling).measurement
    assert torch.equal(first.data, second.data)
    assert (first.sigma, first.scale) == (second.sigma, second.scale)


def test_an_undersampled_file_has_no_reference_and_is_not_undersampled_again(scans, tmp_path, capsys):
    np.save(tmp_path / "heads.npy", head()[None])
    simulate.main([str(tmp_path / "heads.npy"), "--out", str(tmp_path / "under"), "--acceleration", "2"])
    code, _, _ = call(capsys, "-", tmp_path / "under", "--method", "zero_filled", "--out", tmp_path / "out")
    assert code == 0
    assert "quality" not in json.loads((tmp_path / "out" / "metrics.json").read_text())["volumes"][0]
    code, _, error = call(capsys, "-", tmp_path / "under", "--acceleration", 4, "--out", tmp_path / "out2")
    assert code == 3
    assert "undersampled already" in error


def test_dicom_on_request(scans, tmp_path, capsys):
    pydicom = pytest.importorskip("pydicom")
    code, _, _ = call(capsys, "-", scans, "--method", "zero_filled", "--dicom", "--slices", 1, "--out", tmp_path / "o")
    assert code == 0
    file = pydicom.dcmread(tmp_path / "o" / "dicom" / "0001.dcm")
    assert list(file.ImageType)[:2] == ["DERIVED", "SECONDARY"]
    assert file.PatientName == "RESEARCH"


def test_a_lower_resolution_keeps_the_centre_where_it_is():
    affine = np.array([[0, 2.0, 0, -5], [1.0, 0, 0, 7], [0, 0, 3.0, 1], [0, 0, 0, 1]])
    y, x = torch.meshgrid(torch.arange(32.0), torch.arange(24.0), indexing="ij")
    image = torch.exp(-((y - 16) ** 2 + (x - 12) ** 2) / 20).to(torch.complex64)
    from rsd_med.operators.fourier import fft2c

    scan = Scan("s", fft2c(image[None]), torch.ones(24, dtype=torch.bool), geometry=Geometry(affine, (1.0, 2.0, 3.0)))
    small = at_lower_resolution(scan, (16, 12))
    peak = np.unravel_index(int(ifft2c(small.kspace)[0].abs().argmax()), (16, 12))
    before, after = affine @ [16, 12, 0, 1], small.geometry.affine @ [*peak, 0, 1]
    assert np.allclose(before, after)
    assert small.geometry.spacing_mm == (2.0, 4.0, 3.0)


# --- with a prior ---------------------------------------------------------------------------------------------------

PROTOCOL = """
schema_version: 1
name: tiny
data: {{kind: fastmri_hdf5, root: {scans}}}
calibration: {{noise: edges, virtual_coils: 3}}
corruption: {{kind: multicoil_fourier, acceleration: 2, acs_lines: 8, further_lines: 2}}
backbone: {{kind: monai_unet, channels: [8, 8], attention: [false, false]}}
diffusion: {{hidden_std: 0.1}}
teacher: {{objective: {{kind: ambient_fourier}}, images: 8, batch_size: 2, evaluate_samples: 4}}
student: {{images: 4, batch_size: 2, evaluate_samples: 4}}
evaluation: {{num_samples: 4, monitor_images: 3, samplers: [{{kind: heun, steps: 2}}]}}
engine: {{device: cpu}}
"""


@pytest.fixture(scope="module")
def run(scans, tmp_path_factory):
    folder = tmp_path_factory.mktemp("run")
    (folder / "protocol.yaml").write_text(PROTOCOL.format(scans=scans.parent))
    assert train.main([str(folder / "protocol.yaml"), "--run-dir", str(folder / "run"), "--quiet"]) == 0
    return folder / "run"


@pytest.mark.parametrize("method", ["one_step", "a_dps", "student_latent", "student_pnp"])
def test_every_method_with_a_prior_runs_from_the_command_line(run, scans, tmp_path, capsys, method):
    options = {"a_dps": ["--set", "steps=3"], "student_latent": ["--set", "steps=2"]}.get(method, [])
    common = ("--method", method, "--samples", 4, "--slices", 1, "--acceleration", 3, "--acs-lines", 6)
    outs = [tmp_path / "first", tmp_path / "second"]
    for out in outs:
        code, _, error = call(capsys, run, scans, *common, *options, "--out", out)
        assert code == 0, error
    first, second = ((out / "mean.nii.gz").read_bytes() for out in outs)
    assert first == second
    for name in ("std", "lower", "upper"):
        assert (outs[0] / f"{name}.nii.gz").exists()
    figures = json.loads((outs[0] / "metrics.json").read_text())["volumes"][0]
    assert 0 <= figures["uncertainty"]["coverage_of_90_percent_interval"] <= 1
    assert (outs[0] / "png" / "uncertainty_000.png").exists()


def test_a_run_says_how_scans_are_prepared_and_an_option_only_when_given(run, scans, tmp_path, capsys):
    common = ("--method", "zero_filled", "--slices", 1)
    for option, coils, source in (((), 3, "edges"), (("--coils", 2), 2, "edges"), (("--noise", "none"), 3, None)):
        code, _, error = call(capsys, run, scans, *common, *option, "--out", tmp_path / "out")
        assert code == 0, error
        assert ("note: the run was trained with calibration." in error) == bool(option)
        report = json.loads((tmp_path / "out" / "metrics.json").read_text())["volumes"][0]["calibration_of_first_slice"]
        assert (report["compression"]["coils"], report["noise"]["source"]) == (coils, source)
        assert report["scale"]["acs_lines"] == 8  # the corruption's


def test_a_scan_of_another_size_needs_its_kspace_cropped(run, tmp_path, capsys):
    np.save(tmp_path / "big.npy", np.kron(head(), np.ones((2, 2), np.uint8))[None])
    simulate.main([str(tmp_path / "big.npy"), "--out", str(tmp_path / "big"), "--fully-sampled"])
    options = ("--method", "a_dps", "--samples", 2, "--set", "steps=2")
    code, _, error = call(capsys, run, tmp_path / "big", *options, "--out", tmp_path / "out")
    assert code == 3
    assert "--crop-kspace" in error
    code, _, error = call(capsys, run, tmp_path / "big", *options, "--crop-kspace", "--out", tmp_path / "out")
    assert code == 0, error
    volume = nibabel.load(tmp_path / "out" / "mean.nii.gz")
    assert volume.shape[:2] == (SIDE, SIDE)
    assert np.allclose(volume.header.get_zooms()[:2], 2)


@pytest.mark.parametrize("method", ["one_step", "a_dps", "student_latent", "student_pnp"])
def test_a_prior_can_be_applied_at_another_size_if_asked(run, tmp_path, capsys, method):
    """Odd and not square, with the training's masks drawn for that width."""
    np.save(tmp_path / "big.npy", np.kron(head(), np.ones((2, 2), np.uint8))[None, :50, :45])
    simulate.main([str(tmp_path / "big.npy"), "--out", str(tmp_path / "big"), "--fully-sampled", "--sigma", "0.01"])
    options = ("--method", method, "--samples", 2, "--acceleration", 2, "--acs-lines", 12, "--any-size")
    steps = ["--set", "steps=2"] if method != "one_step" else []
    code, _, error = call(capsys, run, tmp_path / "big", *options, *steps, "--out", tmp_path / "out")
    assert code == 0, error
    volume = nibabel.load(tmp_path / "out" / "mean.nii.gz")
    assert volume.shape[:2] == (50, 45)
    assert np.allclose(volume.header.get_zooms()[:2], 1)
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert metrics["prior"] == {"size": [SIDE, SIDE], "other_sizes_taken": True}
    assert metrics["volumes"][0]["calibration_of_first_slice"]["scale"]["acs_lines"] == round(8 * 45 / SIDE)


def test_what_adapting_did_is_said_with_a_check_that_changes_no_image(run, scans, tmp_path, capsys):
    common = ("--method", "a_dps", "--samples", 2, "--set", "steps=2", "--slices", 1, "--acceleration", 2, "--adapt", 1)
    for name, more in (("plain", []), ("checked", ["--check"])):
        code, shown, error = call(capsys, run, scans, *common, *more, "--out", tmp_path / name)
        assert code == 0, error
        figures = json.loads((tmp_path / name / "metrics.json").read_text())["volumes"][0]
        (facts,) = figures["facts"]
        assert facts["adaptation"]["taken"] == 1
        assert figures["seconds_per_slice"] > facts["adaptation"]["seconds"]
        said = "the prior adapted in 1 of 1" if facts["adaptation"]["steps"] else "--adapt changed nothing"
        assert f"volume 0: {said}" in shown
    assert (tmp_path / "plain" / "mean.nii.gz").read_bytes() == (tmp_path / "checked" / "mean.nii.gz").read_bytes()


# --- the check on hidden lines --------------------------------------------------------------------------------------


def test_the_method_is_chosen_by_hidden_lines(scans, tmp_path, capsys):
    options = ("--method", "auto", "--acceleration", 2, "--acs-lines", 8, "--slices", 1, "--check-draws", 1)
    code, shown, error = call(capsys, "-", scans, *options, "--out", tmp_path / "out")
    assert code == 0, error
    assert "6 methods, 6 draws on 1 of 1 slices, so 36 reconstructions first" in error
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    checked = metrics["volumes"][0]["hidden_lines"]
    assert metrics["method"] == "auto"
    assert [row["method"] for row in checked["methods"]] == ["zero_filled", "cg_sense", *4 * ["l1_wavelet"]]
    assert checked["method"] == "l1_wavelet"  # on a head of flat regions; nobody doubts it
    chosen = checked["methods"][checked["chosen"]]
    assert chosen["relative_squared_error"] < 0.7 * checked["methods"][0]["relative_squared_error"]
    assert metrics["volumes"][0]["settings"]["regularisation"] == chosen["settings"]["regularisation"]
    assert checked["lines"] == 8
    assert next(line for line in shown.splitlines() if line.endswith("chosen")).split()[0] == "l1_wavelet"
    assert "warning" not in error


def test_where_nothing_can_be_hidden_it_is_said_and_the_method_runs(scans, tmp_path, capsys):
    options = ("--method", "cg_sense", "--check", "--acceleration", 4, "--acs-lines", 6, "--slices", 1)
    code, shown, error = call(capsys, "-", scans, *options, "--out", tmp_path / "out")
    assert code == 0, error
    assert "1 slices by cg_sense" in shown
    assert "only 2 measured lines lie outside the centre" in error
    metrics = json.loads((tmp_path / "out" / "metrics.json").read_text())
    assert "only 2" in metrics["volumes"][0]["hidden_lines"]["skipped"]


# --- bad input ------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (["--method", "a_dps"], "needs a prior"),
        (["--samples", "4", "--method", "cg_sense"], "--samples"),
        (["--acceleration", "0.5"], "--acceleration"),
        (["--acs-lines", "4"], "--acceleration"),
        (["--set", "iterations=many"], "iterations"),
        (["--set", "colour=red"], "colour"),
        (["--set", "colour"], "NAME=VALUE"),
        (["--crop-kspace"], "--crop-kspace"),
        (["--any-size"], "--any-size"),
        (["--adapt", "5"], "--adapt"),
        (["--fastmri-masks"], "--fastmri-masks"),
        (["--method", "magic"], "invalid choice"),
        (["--method", "auto", "--set", "iterations=3"], "--set"),
        (["--check", "--check-draws", "0"], "--check-draws"),
        (["--check-draws", "5"], "--check-draws goes with --check"),
        (["--pattern", "equispaced"], "--pattern goes with --acceleration"),
        (["--samples", "3"], "l1_wavelet gives one image"),
        (["--coils", "2", "--calibration", "virtual_coils=3"], "--coils and --calibration virtual_coils"),
        (["--noise", "none", "--calibration", "noise=edges"], "--noise and --calibration noise"),
        (["--acceleration", "30", "--acs-lines", "8"], "acceleration"),
    ],
)
def test_wrong_usage_is_exit_2(scans, tmp_path, capsys, arguments, words):
    code, _, error = call(capsys, "-", scans, "--out", tmp_path / "out", *arguments)
    assert code == 2
    assert words in error


def test_bad_data_are_exit_3_and_leave_no_results(scans, tmp_path, capsys):
    (tmp_path / "text.h5").write_text("no HDF5")
    with h5py.File(tmp_path / "nan.h5", "w") as file:
        file["kspace"] = np.full((1, 2, 16, 16), np.nan, np.complex64)
    np.save(tmp_path / "pictures.npy", head()[None])
    out = tmp_path / "out"
    for name in ("text.h5", "nan.h5", "pictures.npy", "absent.h5"):
        code, _, error = call(capsys, "-", tmp_path / name, "--out", out)
        assert (code, error.count("\n")) == (3, 1), error
        assert not out.exists() or not any(path.is_file() for path in out.rglob("*"))
    code, _, error = call(capsys, tmp_path, scans, "--out", out)
    assert code == 3
    assert "no run folder" in error


# --- memory ---------------------------------------------------------------------------------------------------------


class Tall(Source):
    """As many slices as one likes, made when asked for."""

    def __init__(self, scan: Scan, count: int) -> None:
        self.scan, self.count = scan, count

    def __len__(self):
        return self.count

    def __getitem__(self, index):
        return Scan(f"slice_{index}", self.scan.kspace, self.scan.acquired, self.scan.maps)

    def shape(self, index):
        return tuple(self.scan.kspace.shape)

    def id(self, index):
        return f"slice_{index}"


def test_memory_does_not_grow_with_the_slices(scans, tmp_path):
    """All living tensors when the last of 5 and of 40 slices has just been reconstructed."""
    scan, solver = FastMRIHDF5(scans)[0], CGSenseSettings(iterations=2).build()
    undersampling = Undersampling(2, 8)

    def peak(count: int) -> int:
        held: list[int] = []
        reconstruct_volume(
            Tall(scan, count),
            range(count),
            lambda one: prepare(one, undersampling),
            solver,
            tmp_path / str(count),
            progress=lambda done: held.append(_tensor_bytes()) if done == 1 else None,
        )
        return max(held)

    peak(2)
    few, many = peak(5), peak(40)
    image = SIDE * SIDE * 4
    assert many - few < 3 * image, f"{many - few} bytes more for 35 slices more"


def _tensor_bytes() -> int:
    """Count the bytes of all living tensors: torch's memory is not Python's. Those of a compiler hold nothing."""
    import gc

    tensors = [thing for thing in gc.get_objects() if type(thing) in (torch.Tensor, torch.nn.Parameter)]
    return sum({t.untyped_storage().data_ptr(): t.untyped_storage().nbytes() for t in tensors}.values())
