import pytest
import torch

from rsd_med.operators import to_channels, to_complex
from tests.operators.contracts import random_tensor


@pytest.mark.parametrize(("dtype", "real"), [(torch.complex64, torch.float32), (torch.complex128, torch.float64)])
def test_there_and_back_is_the_same(dtype, real):
    x = random_tensor((3, 1, 4, 5), dtype, 1)
    channels = to_channels(x)
    assert channels.shape == (3, 2, 4, 5)
    assert channels.dtype == real
    assert channels[:, :1].equal(x.real)
    assert to_complex(channels).equal(x)


def test_real_images_pass():
    x = random_tensor((3, 3, 4, 5), torch.float32, 1)
    assert to_channels(x) is x


def test_refuses_what_is_not_an_image():
    with pytest.raises(ValueError, match="shape"):
        to_channels(random_tensor((3, 2, 4, 5), torch.complex64, 1))
    for shape, dtype in (((3, 1, 4, 5), torch.float32), ((2, 4, 5), torch.float32), ((3, 2, 4, 5), torch.complex64)):
        with pytest.raises(ValueError, match="Two real channels"):
            to_complex(random_tensor(shape, dtype, 1))


def test_gradients_pass():
    x = random_tensor((2, 1, 3, 3), torch.complex64, 1).requires_grad_()
    to_complex(to_channels(x)).abs().square().sum().backward()
    assert torch.allclose(x.grad, 2 * x.detach())
