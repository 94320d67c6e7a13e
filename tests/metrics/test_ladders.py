"""The default features see every kind of damage, more of it as more, on real images and on synthetic ones.

The distance to held-out clean images must rise strictly along each ladder, and clean images of the training set must
lie far below its first rung. The constants of the features and the rungs were chosen on these images: this guards
the features against change, and is no proof for other data.
"""

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from torch import Tensor

from rsd_med.metrics.distances import extract
from rsd_med.metrics.frechet import ReferenceStatistics
from rsd_med.metrics.random_conv import RandomConvFeatures
from tests.metrics.damage import LADDERS, ellipses, generator, keep_modes

Set = tuple[Tensor, Tensor, Tensor]  # images to damage, their modes, held-out clean images

FAR_BELOW = 2.0  # the first rung, in clean distances
A_STEP = 1.03  # a rung, in the one before


def brains(shared_data: Path) -> Set:
    train, test = (np.load(shared_data / f"brain_t1_axial_oasis/{part}_64.npz") for part in ("train", "test"))
    order = torch.randperm(len(train["images"]), generator=generator(5))
    images, held_out = (torch.from_numpy(part["images"]).float()[:, None] / 127.5 - 1 for part in (train, test))
    return images[order], torch.from_numpy(train["subject"].astype(int))[order], held_out


def small_brains(shared_data: Path) -> Set:
    images, subjects, held_out = brains(shared_data)
    return F.avg_pool2d(images, 2), subjects, F.avg_pool2d(held_out, 2)


def digits(shared_data: Path) -> Set:
    data = np.load(shared_data / "mnist/mnist.npz")
    chosen = torch.randperm(10000, generator=generator(6))[:600].numpy()
    images, held_out = (
        F.pad(torch.from_numpy(part).float()[:, None] / 127.5 - 1, [2] * 4, value=-1.0)
        for part in (data["x_train"][:8000], data["x_test"][chosen])
    )
    return images, torch.from_numpy(data["y_train"][:8000].astype(int)), held_out


def photographs(shared_data: Path) -> Set:
    from PIL import Image

    def sheets(part: str, each: int) -> Tensor:
        sheet = [np.asarray(Image.open(shared_data / f"cifar10/{part}_c{c}_0.webp").convert("RGB")) for c in range(10)]
        tiles = [s.reshape(25, 32, 40, 32, 3).transpose(0, 2, 4, 1, 3).reshape(-1, 3, 32, 32)[:each] for s in sheet]
        return torch.from_numpy(np.concatenate(tiles)).float() / 127.5 - 1

    order = torch.randperm(10000, generator=generator(5))
    return sheets("train", 1000)[order], torch.arange(10).repeat_interleave(1000)[order], sheets("test", 50)


def phantoms(_shared_data: Path) -> Set:
    images, modes = ellipses(2000, modes=8, seed=1)
    return images, modes, ellipses(500, modes=8, seed=2)[0]


# Source, how many images to damage, which ladders, how many modes are kept on each rung.
SETS = {
    "phantoms": (phantoms, 400, tuple(LADDERS), (8, 6, 4, 2, 1)),
    "brains 32x32": (small_brains, 400, tuple(LADDERS), (140, 20, 7, 2)),
    "brains 64x64": (brains, 200, ("noise", "blur", "aliasing"), (140, 20, 7)),
    "digits": (digits, 500, tuple(LADDERS), (10, 8, 6, 4, 2)),
    "photographs": (photographs, 400, tuple(LADDERS), (10, 6, 4, 2)),
}


@pytest.mark.parametrize("name", SETS)
def test_distance_rises_with_every_kind_of_damage(name, request):
    source, count, ladders, modes = SETS[name]
    folder = Path() if source is phantoms else request.getfixturevalue("shared_data")
    images, labels, held_out = source(folder)
    extractor = RandomConvFeatures()
    reference = ReferenceStatistics.of(extract(held_out, extractor), extractor.name)

    def distance(view: Tensor) -> float:
        return reference.distance(ReferenceStatistics.of(extract(view, extractor), extractor.name))

    clean = distance(images[:count])
    for ladder in ladders:
        damage, rungs = LADDERS[ladder]
        climbed = [distance(damage(images[:count], rung)) for rung in rungs]
        print(f"{name}: {ladder} {rungs}: clean {clean:.4f}, then {[round(d, 4) for d in climbed]}")
        assert climbed[0] > FAR_BELOW * clean, (ladder, clean, climbed)
        assert all(b > A_STEP * a for a, b in itertools.pairwise(climbed)), (ladder, clean, climbed)
    climbed = [distance(keep_modes(images, labels, kept, count)) for kept in modes]
    print(f"{name}: modes kept {modes}: {[round(d, 4) for d in climbed]}")
    assert climbed[0] == pytest.approx(clean)
    assert all(b > A_STEP * a for a, b in itertools.pairwise(climbed)), ("modes", climbed)
