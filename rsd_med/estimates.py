"""What a protocol asks to be estimated from the measurements, before a network is built."""

import json
from dataclasses import replace

from rsd_med.corruptions.noise_level import LevelFound, NoiseLevelSettings
from rsd_med.data.noise_level import estimate_noise_level
from rsd_med.experiment import Experiment
from rsd_med.protocol import Protocol


def with_estimates(experiment: Experiment, begun: Protocol | None = None) -> Experiment:
    """Return the experiment with every number known that its protocol asks to be estimated.

    Rank 0 estimates, and all ranks take its numbers.

    Parameters
    ----------
    experiment
        As its protocol says.
    begun
        The resolved protocol of the run that is gone on with, whose numbers are taken over.

    Raises
    ------
    DataError
        If the images are too few, or hold no noise that can be measured.
    """
    return _with_hidden_std(_with_noise_level(experiment, begun), begun)


def _with_noise_level(experiment: Experiment, begun: Protocol | None) -> Experiment:
    corruption = experiment.protocol.corruption
    if not isinstance(corruption, NoiseLevelSettings) or corruption.level != "estimate":
        return experiment
    known = None if begun is None else begun.corruption
    if isinstance(known, type(corruption)) and known.estimated is not None:
        return _assuming(experiment, known.assumed_sigma, known.estimated)
    messages = []
    if experiment.distribution.is_main:
        # The level that training assumes changes no measurement: any number will do to read them.
        estimate = estimate_noise_level(_assuming(experiment, 1.0, None).dataset, experiment.protocol.seed)
        messages = [json.dumps([estimate.sigma, estimate.error, estimate.images, estimate.excess, estimate.clipped])]
    level, error, images, excess, clipped = json.loads(experiment.distribution.gather_texts(messages)[0])
    return _assuming(experiment, level, LevelFound(error=error, images=images, excess=excess, clipped=clipped))


def _assuming(experiment: Experiment, level: float, estimate: LevelFound | None) -> Experiment:
    corruption = experiment.protocol.corruption
    assert isinstance(corruption, NoiseLevelSettings)
    known = experiment.protocol.model_copy(update={"corruption": corruption.assuming(level, estimate)})
    return replace(experiment, protocol=known)


def _with_hidden_std(experiment: Experiment, begun: Protocol | None) -> Experiment:
    diffusion = experiment.protocol.diffusion
    if diffusion.hidden_std != "auto":
        return experiment
    if begun is not None and begun.diffusion.hidden_std != "auto":
        hidden = begun.diffusion.hidden_std
    else:
        messages = [repr(experiment.hidden_std)] if experiment.distribution.is_main else []
        hidden = float(experiment.distribution.gather_texts(messages)[0])
    stated = diffusion.model_copy(update={"hidden_std": hidden})
    return replace(experiment, protocol=experiment.protocol.model_copy(update={"diffusion": stated}))
