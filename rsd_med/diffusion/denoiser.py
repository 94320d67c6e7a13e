"""The denoiser D(x; σ, context): a network under EDM's preconditioning (arXiv 2206.00364, section 5, table 1)."""

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

import torch
from pydantic import Field
from torch import Tensor, nn

from rsd_med.base.draws import Draws
from rsd_med.base.randomness import weights_from
from rsd_med.base.settings import Settings
from rsd_med.diffusion.backbones import BackboneSettings, Encoder, LearningNetwork
from rsd_med.diffusion.compute import ComputeOptions


class DiffusionSettings(Settings):
    """Constants of the diffusion that teacher, fake score and student share."""

    sigma_data: float = Field(0.5, gt=0, description="standard deviation of the clean images, per real component")
    hidden_std: Literal["auto"] | Annotated[float, Field(ge=0)] = Field(
        "auto",
        description="standard deviation per real component of what the networks are not shown of an image (hidden "
        "k-space lines or pixels); auto: estimated from the measurements and written into protocol.resolved.yaml; 0: "
        "EDM's preconditioning, for networks that see whole images",
    )
    precision: Literal["auto", "float32", "tf32", "bfloat16"] = Field(
        "auto",
        description="inside the network only; auto: what a trial before the first step finds to be faster, float32 or "
        "bfloat16; tf32: float32 whose products a GPU takes in TF32, several times as fast",
    )


@dataclass(frozen=True)
class TrainingMode:
    """How a `LearningNetwork` works while it learns.

    Attributes
    ----------
    draws
        The source of dropout.
    augmentation
        How each image of the batch was augmented, ``(b, AUGMENTATION_LABELS)``; None: not at all.
    """

    draws: Draws
    augmentation: Tensor | None = None


class _CompiledNetwork:
    """The compiled form of a network, made at its first call; a copy has none, since it is of another network."""

    def __init__(self) -> None:
        self._call: Callable[..., Tensor] | None = None

    def of(self, network: nn.Module, compute_options: ComputeOptions) -> Callable[..., Tensor]:
        if self._call is None:
            # Whole: a break in the graph would be slow in silence.
            mode = None if compute_options.compile is True else compute_options.compile or None
            self._call = torch.compile(network.forward, fullgraph=True, mode=mode)
        return self._outside_modes

    def _outside_modes(self, *given: object) -> Tensor:
        """Call it where no mode sees its functions: that of `Draws.part` would be traced, and break the graph."""
        assert self._call is not None
        with torch._C.DisableTorchFunction():
            return self._call(*given)

    def __deepcopy__(self, memo: dict[int, object]) -> Self:
        return type(self)()

    def __reduce__(self) -> tuple[type[Self], tuple[()]]:
        return type(self), ()


class Denoiser(nn.Module):
    """``D(x; σ) = c_skip x + c_out F(c_in x, context; c_noise)``.

    Autocast wraps the network alone: preconditioning stays in float32.

    Parameters
    ----------
    network
        ``F``: takes ``(b, channels + context_channels, y, x)`` and labels ``(b,)``.
    sigma_data
        σ_d, standard deviation of the clean images per real component.
    compute_options
        How the network is computed; see ``compute``.
    hidden_std
        h, standard deviation of what the view of an image hides. EDM's constants follow from the wish that the
        network's target have unit variance while it sees the image up to noise of σ. A network that sees ``Ã^H Ã x``
        errs by h even at σ = 0: its target would grow like h/σ and the weight of that error like (h/σ)², so that the
        smallest levels alone would be learned. With ``s² = σ² + h²`` in place of σ² in c_skip, c_out and w, both stay
        of order one.

    Attributes
    ----------
    training_mode
        How the network works while it learns; None where it is only asked (see ``learning``).
    """

    def __init__(
        self,
        network: nn.Module,
        sigma_data: float = 0.5,
        compute_options: ComputeOptions | None = None,
        hidden_std: float = 0.0,
    ) -> None:
        super().__init__()
        self.network = network
        self.sigma_data = sigma_data
        self.hidden_std = hidden_std
        self.training_mode: TrainingMode | None = None
        self._compiled = _CompiledNetwork()
        self.compute(compute_options or ComputeOptions())

    def compute(self, compute_options: ComputeOptions) -> None:
        """Compute the network in this way from now on; copies of the denoiser do so, too."""
        self.compute_options = compute_options
        self.network.to(memory_format=compute_options.layout)

    def settled(self) -> Self:
        """Return a copy that does not learn any more: its weights are in the network's arithmetic already.

        They are cast once; those of a network that learns are cast in each pass. The answers are the same.
        """
        copied = copy.deepcopy(self).requires_grad_(False)
        for parameter in copied.network.parameters():  # buffers are no factors: they keep their digits
            parameter.data = parameter.data.to(self.compute_options.autocast or parameter.dtype)
        return copied

    def learning(self, draws: Draws, augmentation: Tensor | None = None) -> Self:
        """Return this denoiser as it is while it learns: the same weights, with dropout and told of augmentation.

        Everyone else gets its answers without either. So it is in the published recipe: in each step the network whose
        weights move is in training mode, and the others are not.

        Parameters
        ----------
        draws
            The source of dropout.
        augmentation
            How each image of the batch was augmented, ``(b, AUGMENTATION_LABELS)``; None: not at all.

        Raises
        ------
        ValueError
            If there is an augmentation to be told and the network cannot hear of it.
        """
        if not isinstance(self.network, LearningNetwork):
            if augmentation is not None:
                raise ValueError(f"{type(self.network).__name__} cannot be told how images were augmented.")
            return self
        learner = copy.copy(self)  # of the module alone: its parts and weights are shared
        learner.training_mode = TrainingMode(draws, augmentation)
        return learner

    def weight(self, sigma: Tensor) -> Tensor:
        """Weigh a squared error at noise level σ: ``w(σ) = (s² + σ_d²) / (s σ_d)²`` (table 1), shape kept."""
        s2 = sigma**2 + self.hidden_std**2
        return (s2 + self.sigma_data**2) / (s2 * self.sigma_data**2)

    def skip_share(self, sigma: Tensor) -> Tensor:
        """Return c_skip, the share of the noisy image in the estimate, at levels ``(b,)``: ``(b, 1, 1, 1)`` float32."""
        variance = sigma.to(torch.float32).reshape(-1, 1, 1, 1).square() + self.hidden_std**2 + self.sigma_data**2
        return self.sigma_data**2 / variance

    def forward(self, x: Tensor, sigma: Tensor, context: Tensor | None = None) -> Tensor:
        """Estimate the clean image.

        Parameters
        ----------
        x
            Noisy image, ``(b, channels, y, x)`` float32.
        sigma
            Noise level per item, ``(b,)`` float32, standard deviation per real component.
        context
            Further channels for the network, such as the mask, ``(b, context_channels, y, x)``; not scaled by c_in.

        Returns
        -------
        Tensor
            ``(b, channels, y, x)`` float32.
        """
        noise2 = sigma.to(torch.float32).reshape(-1, 1, 1, 1).square()
        s2 = noise2 + self.hidden_std**2
        variance = s2 + self.sigma_data**2
        c_skip = self.sigma_data**2 / variance
        c_out = s2.sqrt() * self.sigma_data / variance.sqrt()
        return c_skip * x + c_out * self.run_network(*self._network_input(x, sigma, context))

    def features(self, x: Tensor, sigma: Tensor, context: Tensor | None = None) -> Tensor:
        """Return the features of the network's middle, ``(b, features, y', x')`` float32; see `Encoder`.

        Parameters
        ----------
        x, sigma, context
            As for the estimate.

        Raises
        ------
        TypeError
            If the network has no such method.
        """
        if not isinstance(self.network, Encoder):
            raise TypeError(f"{type(self.network).__name__} has no method `features`: see Encoder.")
        scaled, label = self._network_input(x, sigma, context)
        autocast = self.compute_options.autocast
        with torch.autocast(scaled.device.type, autocast or torch.bfloat16, enabled=autocast is not None):
            middle = self.network.features(scaled.contiguous(memory_format=self.compute_options.layout), label)
        return middle.to(torch.float32)

    def _network_input(self, x: Tensor, sigma: Tensor, context: Tensor | None) -> tuple[Tensor, Tensor]:
        """Return what the network is given: the scaled image with its context, and the label of the level."""
        c_in = 1 / (sigma.to(torch.float32).reshape(-1, 1, 1, 1).square() + self.sigma_data**2).sqrt()
        scaled = c_in * x if context is None else torch.cat([c_in * x, context], dim=1)
        return scaled, sigma.to(torch.float32).log() / 4

    def run_network(self, scaled: Tensor, label: Tensor) -> Tensor:
        """Run the network alone: ``(b, channels + context_channels, y, x)`` and labels ``(b,)`` to float32."""
        options = self.compute_options
        network = self._compiled.of(self.network, options) if options.compile else self.network
        autocast = self.compute_options.autocast
        with torch.autocast(scaled.device.type, autocast or torch.bfloat16, enabled=autocast is not None):
            laid = scaled.contiguous(memory_format=self.compute_options.layout)
            raw: Tensor = network(laid, label, *self._mode(laid))
        return raw.to(torch.float32)

    def _mode(self, x: Tensor) -> tuple[Tensor | None, Sequence[Tensor]] | tuple[()]:
        """Return what a network is given besides while it learns: augmentation, and the masks of dropout."""
        if self.training_mode is None:
            return ()
        assert isinstance(self.network, LearningNetwork)
        return self.training_mode.augmentation, self.network.dropout_masks(x, self.training_mode.draws)


def build_denoiser(
    backbone: BackboneSettings,
    diffusion: DiffusionSettings,
    channels: int,
    context_channels: int,
    generator: Draws,
    device: torch.device | str = "cpu",
    compute_options: ComputeOptions | None = None,
) -> Denoiser:
    """Build a denoiser with weights drawn from ``generator`` alone; the global random state is kept.

    Parameters
    ----------
    channels
        Real channels of the image: 1 or 3, or 2 for complex images.
    context_channels
        Further input channels of the network (for masks, say).
    compute_options
        How the network is computed: by default in float32, contiguous and eager.
    """
    with weights_from(generator):
        network = backbone.build(channels + context_channels, channels)
    hidden = 0.0 if diffusion.hidden_std == "auto" else diffusion.hidden_std
    return Denoiser(network.to(device), diffusion.sigma_data, compute_options, hidden)
