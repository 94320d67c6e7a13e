"""From a run to the prior that solvers take."""

from dataclasses import replace
from pathlib import Path
from typing import Literal

from rsd_med.base.errors import ProtocolError
from rsd_med.corruptions.multicoil_fourier import MultiCoilFourierSettings
from rsd_med.diffusion.denoiser import Denoiser
from rsd_med.diffusion.unrolled import UnrolledNetwork
from rsd_med.experiment import Experiment
from rsd_med.inverse.prior import Amortised, Prior
from rsd_med.opened_run import newest_checkpoint, open_run
from rsd_med.runs.run_folder import RunFolder


def load_prior(
    folder: Path, name: Literal["teacher", "student"], device: Literal["cpu", "cuda"] | None = None
) -> Prior:
    """Load teacher or student of a run as a prior for inverse problems; the training data are not needed.

    Parameters
    ----------
    folder
        Run folder that ``rsd_med.train`` has filled.
    name
        Which network.
    device
        Where it is to lie; None for what the run's protocol says.

    Raises
    ------
    DataError
        If the folder is no run, or holds no such checkpoint.
    ProtocolError
        If the run's images are not complex, so that it knows nothing of k-space.
    """
    run = RunFolder(folder)
    experiment = open_run(run, device=device)
    return prior_of(experiment, experiment.load_network(newest_checkpoint(run, name), name), name)


def amortised_of(experiment: Experiment, network: UnrolledNetwork) -> Amortised:
    """Return a reconstructor that is loaded already, with what solvers ask of it; the parameters are the run's."""
    settings = experiment.reconstructor_settings
    return Amortised(
        network=network,
        size=experiment.sampling_operators.size,
        any_size=settings.several_sizes,
        score=settings.score(experiment.corruption),
    )


def prior_of(experiment: Experiment, network: Denoiser, name: Literal["teacher", "student"]) -> Prior:
    """Return a network that is loaded already as a prior.

    Parameters
    ----------
    experiment
        The run's.
    network
        Its teacher or student.
    name
        Which of them.

    Raises
    ------
    ProtocolError
        If the run's images are not complex, so that it knows nothing of k-space.
    """
    if experiment.channels != 2:
        raise ProtocolError(
            f"{experiment.protocol.name}: the run was trained on real images; reconstruction needs complex ones."
        )
    settings, masks = experiment.protocol.corruption, None
    stored = experiment.sampling_operators
    if isinstance(settings, MultiCoilFourierSettings) and settings.mask == "file":
        masks = stored.operator.entries(stored.data)
    return Prior(
        denoiser=network,
        show=experiment.objective.show,
        corruption=experiment.corruption,
        masks=masks,
        size=stored.size,
        hides=experiment.objective.hides,
        few_steps=replace(experiment.protocol.student.few_steps, clip=False) if name == "student" else None,
    )
