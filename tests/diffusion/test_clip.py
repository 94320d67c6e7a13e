"""Pictures end at black and white: what is drawn beyond, and where its gradient leads."""

import pytest
import torch
from torch.nn import functional

from rsd_med.diffusion.clip import clip_to_range


def test_what_lies_beyond_is_set_to_the_bound_and_complex_images_pass():
    images = torch.tensor([-3.0, -1, -0.5, 0.25, 1, 1.5]).reshape(1, 1, 2, 3)
    assert clip_to_range(images).flatten().tolist() == [-1, -1, -0.5, 0.25, 1, 1]
    complex_image = torch.full((1, 2, 4, 4), 7.0)
    assert clip_to_range(complex_image) is complex_image


def test_a_gradient_leads_back_inside_and_not_further_out():
    images = torch.tensor([-3.0, -3, -1, 0, 1, 3, 3]).reshape(1, 1, 1, 7).requires_grad_()
    wanted = torch.tensor([1.0, -1, 1, 2, -1, 1, -1]).reshape(1, 1, 1, 7)
    (gradient,) = torch.autograd.grad((clip_to_range(images) * wanted).sum(), images)
    assert gradient.flatten().tolist() == [0, -1, 1, 2, -1, 1, 0]


@pytest.mark.parametrize("known", [True, False])
def test_the_bound_closes_what_half_the_resolution_leaves_open(known):
    """Blocks of two by two whose mean is black: with the bound nothing else than black explains them."""
    truth = torch.full((1, 1, 8, 8), -1.0)
    truth[..., 2:6, 2:6] = 0.5
    observed = functional.avg_pool2d(truth, 2)
    images = (truth + 0.3 * torch.randn(truth.shape, generator=torch.Generator().manual_seed(0))).requires_grad_()
    for _ in range(400):
        seen = functional.avg_pool2d(clip_to_range(images) if known else images, 2)
        (gradient,) = torch.autograd.grad((seen - observed).square().sum(), images)
        images = (images - gradient).detach().requires_grad_()
    found = clip_to_range(images)
    assert (functional.avg_pool2d(found if known else images, 2) - observed).abs().max() < 1e-4
    ground = (found - truth)[..., :2, :].abs().max()
    assert (ground < 1e-3) == known
    assert (found - truth)[..., 2:6, 2:6].abs().max() > 0.1  # where it is grey, nothing says how
