"""Views: what of an image is shown, of which items, and where two networks are compared."""

import pytest
import torch

from rsd_med.diffusion.view import View
from rsd_med.operators import MultiCoilFourier, SamplingMask
from tests.operators.contracts import random_maps

from .gaussian import generator


def test_everything_is_compared_by_default():
    gap = torch.randn(3, 2, 4, 4, generator=generator())
    assert torch.equal(View().restrict(gap), gap)
    assert torch.allclose(View().mean(gap), gap.mean((1, 2, 3)))


def test_the_mean_is_that_of_the_pixels_compared():
    compared = torch.rand(3, 1, 4, 4, generator=generator(1)) < 0.4
    compared[2] = False
    gap = torch.randn(3, 2, 4, 4, generator=generator()).masked_fill(~compared, float("nan"))
    view = View(compared=compared)
    assert torch.equal(view.restrict(gap).isnan(), torch.zeros(3, 2, 4, 4, dtype=torch.bool))
    for item in range(2):
        chosen = gap[item][:, compared[item, 0]]
        assert torch.equal(view.restrict(gap)[item][:, compared[item, 0]], chosen)
        assert float(view.mean(gap)[item]) == pytest.approx(float(chosen.mean()), rel=1e-5)
    assert float(view.mean(gap)[2]) == 0


def views(items=5):
    """Return views of five items: a whole image, pixels through a mask, k-space lines through coils."""
    mask = torch.rand(items, 1, 6, 6, generator=generator(1)) < 0.5
    lines = torch.rand(items, 1, 1, 6, generator=generator(2)) < 0.5
    scan = MultiCoilFourier(lines, random_maps((items, 3, 6, 6), torch.complex64, 3))
    return {
        "whole": View(),
        "pixels": View(SamplingMask(mask), mask.float(), mask),
        "k-space": View(scan.gram, lines.float().expand(-1, -1, 6, -1)),
    }


@pytest.mark.parametrize("kind", views())
@pytest.mark.parametrize("index", [slice(1, 3), torch.tensor([4, 0]), torch.tensor([True, False, False, True, True])])
def test_a_part_of_a_view_shows_its_own_items(kind, index):
    view, images = views()[kind], torch.randn(5, 2, 6, 6, generator=generator())
    part = view[index]
    torch.testing.assert_close(part.project(images[index]), view.project(images)[index])
    gap = images[index]
    assert torch.equal(part.restrict(gap), view.restrict(images)[index])
    for whole, chosen in ((view.context, part.context), (view.compared, part.compared)):
        assert (whole is None and chosen is None) or torch.equal(whole[index], chosen)
    with pytest.raises(TypeError, match="slice or a 1-D tensor"):
        view[0]


def test_a_view_moves_with_all_that_it_holds():
    for view in views().values():
        moved = view.to("meta")
        held = [moved.context, moved.compared, *(vars(moved.projection).values())]
        assert all(one.is_meta for one in held if isinstance(one, torch.Tensor))


def test_k_space_is_shown_as_the_image_of_its_lines():
    """Written out: sum over coils of S^H F^H M F S x, in the two channels of a complex image."""
    images = torch.randn(5, 2, 6, 6, generator=generator())
    view = views()["k-space"]
    scan = view.projection.parts[0]
    x = torch.complex(images[:, :1], images[:, 1:])
    kspace = torch.fft.fftshift(
        torch.fft.fft2(torch.fft.ifftshift(scan.maps * x, dim=(-2, -1)), norm="ortho"), dim=(-2, -1)
    )
    kspace = kspace * scan.mask
    coils = torch.fft.fftshift(torch.fft.ifft2(torch.fft.ifftshift(kspace, dim=(-2, -1)), norm="ortho"), dim=(-2, -1))
    expected = (scan.maps.conj() * coils).sum(1, keepdim=True)
    torch.testing.assert_close(view.project(images), torch.cat([expected.real, expected.imag], 1), rtol=1e-5, atol=1e-5)
