"""Measuring a model: what is said of it, with and without clean images."""

from itertools import zip_longest

import pytest
import torch

from rsd_med.base.errors import DataError
from rsd_med.corruptions import NoiseSettings
from rsd_med.diffusion.few_steps import FewSteps
from rsd_med.diffusion.schedules import LogNormalLevels
from rsd_med.evaluation.evaluation import Evaluator
from rsd_med.evaluation.generation import student_draw
from rsd_med.evaluation.monitor import ProximalMonitor
from rsd_med.evaluation.reference import CleanReference
from rsd_med.metrics.distances import FIGURES
from rsd_med.runs.distribution import Distribution
from rsd_med.teachers.denoising import Denoising
from tests.training.toys import Pixels, pictures, tiny_denoiser

NOISE = NoiseSettings(sigma=0.2, simulate=True).build()


def evaluator(reference, num_samples=12):
    monitor = ProximalMonitor(pictures(20), NOISE, Pixels(), seed=3)
    return Evaluator(Denoising(NOISE, LogNormalLevels()), monitor, clean(reference), num_samples, seed=3)


def clean(images):
    return None if images is None else CleanReference(images, Pixels(), 3, torch.device("cpu"))


def test_clean_images_are_for_the_distances_to_them_alone():
    draw = student_draw(tiny_denoiser(1), FewSteps(2.5))
    figures, images = evaluator(pictures(30, seed=9).data).measure(draw)
    alone, same = evaluator(None).measure(draw)
    assert figures.keys() == {*FIGURES, "spectrum_deviation", "proximal_fd", "seconds_per_image"}
    assert alone.keys() == {"proximal_fd", "seconds_per_image"}
    assert figures["proximal_fd"] == alone["proximal_fd"]
    assert images.equal(same)
    assert images.shape == (12, 1, 4, 4)


@pytest.mark.parametrize(("samples", "references"), [(5, 30), (12, 5)])
def test_too_few_images_are_refused_before_anything_is_trained(samples, references):
    with pytest.raises(DataError, match=f"{samples} samples cannot be compared with {references} clean images"):
        evaluator(pictures(references).data, samples)
    evaluator(None, 2)


def test_several_seeds_give_means_and_their_spread():
    draw, reference = student_draw(tiny_denoiser(1), FewSteps(2.5)), pictures(30, seed=9).data
    monitor = ProximalMonitor(pictures(20), NOISE, Pixels(), seed=3)

    def measured(seed, seeds):
        objective = Denoising(NOISE, LogNormalLevels())
        return Evaluator(objective, monitor, clean(reference), 12, seed, seeds).measure(draw)

    (figures, images), each = measured(5, 3), [measured(5 + k, 1) for k in range(3)]
    assert images.equal(each[0][1])
    assert figures.keys() == {*each[0][0], *(f"{name}_std" for name in each[0][0])}
    for name in (*FIGURES, "proximal_fd"):
        found = torch.tensor([one[name] for one, _ in each], dtype=torch.float64)
        assert figures[name] == pytest.approx(float(found.mean()))
        assert figures[f"{name}_std"] == pytest.approx(float(found.std()))
    assert figures["fd_std"] > 0


class Dealt(Distribution):
    """One of two ranks, which are asked one after the other: the second finds what the first has left."""

    world_size = 2

    def __init__(self, rank, left):
        self.rank, self.left, self.asked = rank, left, 0

    def gather(self, tensors):
        self.asked += 1
        self.left.setdefault(self.asked, {})[self.rank] = list(tensors)
        shares = self.left[self.asked]
        every = zip_longest(*(shares[rank] for rank in sorted(shares)))
        return [tensor for turn in every for tensor in turn if tensor is not None]


def test_ranks_share_the_features_of_samples_and_reference_and_the_figures_stay(monkeypatch):
    monkeypatch.setattr("rsd_med.evaluation.reference.AT_ONCE", 4)
    images, real = pictures(14, seed=2).data, pictures(30, seed=9).data
    alone, left = clean(real).figures(images), {}
    looked = []
    for rank in (1, 0):
        reference = clean(real)
        extract = reference._extract
        reference._extract = lambda batch, extract=extract: looked.append(len(batch)) or extract(batch)
        features = reference.dealt_features(images, Dealt(rank, left))
    assert reference.figures(images, features) == alone
    assert sum(looked) == len(images) + len(real)  # each image by one rank
