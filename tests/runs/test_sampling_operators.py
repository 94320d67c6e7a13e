"""Operators kept with a run: what samples are drawn under, without any data."""

import errno
import os
from dataclasses import replace

import pytest
import torch
from safetensors.torch import load_file

from rsd_med.base.errors import DataError
from rsd_med.corruptions.inpainting import InpaintingSettings
from rsd_med.diffusion.few_steps import FewSteps
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.evaluation.generation import draw_images, student_draw
from rsd_med.operators import CentredFourier, Identity
from rsd_med.runs import sampling_operators
from rsd_med.runs.sampling_operators import load_sampling_operators, save_sampling_operators
from rsd_med.teachers.ambient_fourier import AmbientFourier
from tests.training.toys import UNDERSAMPLING, generator, pictures, scans, tiny_denoiser

CPU = torch.device("cpu")


@pytest.fixture
def path(tmp_path):
    return tmp_path / "sampling_operators.safetensors"


def test_scans_come_back_without_their_data(path):
    measurements = scans(5)
    save_sampling_operators(path, measurements)
    found = load_sampling_operators(path, CPU)
    assert torch.equal(found.operator.maps, measurements.operator.maps)
    assert torch.equal(found.operator.mask, measurements.operator.mask)
    assert found.data.shape == measurements.data.shape
    assert found.data.dtype == torch.complex64
    assert not found.data.any()
    assert set(load_file(path)) == {"shape", "complex", "operator.maps", "operator.mask"}
    assert [file.name for file in path.parent.iterdir()] == [path.name]


def test_columns_that_do_not_exist_stay_unmeasured(path):
    acquired = torch.ones(5, 12, dtype=torch.bool)
    acquired[:, :2] = False
    measurements = replace(scans(5), acquired=acquired)
    save_sampling_operators(path, measurements)
    found = load_sampling_operators(path, CPU)
    assert torch.equal(found.acquired, acquired)
    assert not UNDERSAMPLING.draw(found, generator()).mask[..., :2].any()


def test_samples_are_the_same_without_the_data(path):
    objective, draw = AmbientFourier(UNDERSAMPLING, LogNormalLevels()), student_draw(tiny_denoiser(2, 1), FewSteps(2.5))
    measurements = scans(5)
    save_sampling_operators(path, measurements)
    images = [draw_images(draw, objective, one, 3, 0) for one in (measurements, load_sampling_operators(path, CPU))]
    assert torch.equal(*images)


@pytest.mark.parametrize("dtype", [torch.float32, torch.complex64])
def test_images_keep_their_shape_and_type(path, dtype):
    measurements = pictures(5)
    save_sampling_operators(path, replace(measurements, data=measurements.data.to(dtype), operator=Identity()))
    found = load_sampling_operators(path, CPU)
    assert isinstance(found.operator, Identity)
    assert found.data.shape == (1, 1, 4, 4)
    assert found.data.dtype == dtype


@pytest.mark.parametrize(("limit", "kept"), [(3 * (2 * 12 * 12 * 8 + 12), 3), (1, 1)])
def test_only_as_many_maps_as_fit_are_kept(path, monkeypatch, limit, kept):
    monkeypatch.setattr(sampling_operators, "LIMIT_BYTES", limit)
    measurements = scans(5)
    save_sampling_operators(path, measurements)
    found = load_sampling_operators(path, CPU)
    assert len(found) == len(found.operator.mask) == kept
    assert torch.equal(found.operator.maps, measurements.operator.maps[:kept])


def test_a_damaged_file_is_refused_with_a_sentence(path):
    save_sampling_operators(path, scans(2))
    path.write_bytes(path.read_bytes()[:-10])
    with pytest.raises(DataError, match=r"sampling_operators\.safetensors of the run is damaged"):
        load_sampling_operators(path, CPU)
    path.unlink()
    with pytest.raises(DataError, match=r"sampling_operators\.safetensors"):
        load_sampling_operators(path, CPU)


def test_of_operators_on_images_the_shape_alone_is_kept(path):
    corruption = InpaintingSettings(missing=0.5).build()
    measurements = corruption.corrupt(torch.ones(2, 3, 4, 4), pictures(2), generator())
    save_sampling_operators(path, measurements)
    assert set(load_file(path)) == {"shape", "complex"}
    found = load_sampling_operators(path, CPU)
    assert found.data.shape == (1, 3, 4, 4)
    assert torch.equal(corruption.draw(found, generator(1)).mask, corruption.draw(measurements[:1], generator(1)).mask)


def test_any_operator_of_k_space_comes_back(path):
    measurements = scans(2)
    operator = 0.5 * (measurements.operator @ measurements.operator.gram)
    other = replace(measurements, operator=operator)
    save_sampling_operators(path, other)
    found = load_sampling_operators(path, CPU).operator
    image = measurements.image()
    assert repr(found) == repr(operator)
    assert torch.equal(found(image), operator(image))


def test_an_operator_without_items_cannot_stand_for_those_of_the_data(path):
    with pytest.raises(TypeError, match="CentredFourier has no items"):
        save_sampling_operators(path, replace(scans(2), operator=CentredFourier()))


def test_a_full_disk_leaves_the_former_file(path, monkeypatch):
    save_sampling_operators(path, scans(2))
    before = path.read_bytes()

    def half(tensors, side, metadata):
        side.write_bytes(b"half")
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("safetensors.torch.save_file", half)
    with pytest.raises(OSError, match="No space left"):
        save_sampling_operators(path, scans(3))
    assert [file.name for file in path.parent.iterdir()] == [path.name]
    assert path.read_bytes() == before
