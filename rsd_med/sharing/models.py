"""From a run to what is exported of it."""

from collections.abc import Sequence

from rsd_med.base.errors import DataError
from rsd_med.diffusion.compute import ComputeOptions
from rsd_med.experiment import Experiment
from rsd_med.opened_run import newest_checkpoint
from rsd_med.reporting.record import read_run
from rsd_med.runs.run_folder import RunFolder
from rsd_med.sharing.conditions import draw_conditions
from rsd_med.sharing.graphs import Conditions, ReconstructorGraph, SharedGraph, StudentGraph, TeacherGraph
from rsd_med.sharing.package import Package
from rsd_med.sharing.programs import Model

GRAPHS: dict[str, type[SharedGraph]] = {graph.name: graph for graph in (StudentGraph, TeacherGraph)}
"""The networks that can be passed on, the one that users want first."""


def load_package(
    run: RunFolder,
    experiment: Experiment,
    licence: str,
    datasets: Sequence[str] = (),
    networks: Sequence[str] | None = None,
    conditions: int = 16,
    any_size: bool = False,
) -> Package:
    """Load the networks of a run for export, on the CPU and in float32.

    Parameters
    ----------
    run, experiment
        The run.
    licence, datasets
        See `Package`.
    networks
        Which; None for all that are trained.
    conditions
        How many masks and coil maps go with them.
    any_size
        Whether programs shall take images of other sizes, too.

    Raises
    ------
    DataError
        If a network that was asked for is not trained, or none is.
    ProtocolError
        If the networks see images in a way that no exported form has.
    """
    shown, few_steps = draw_conditions(experiment, conditions), experiment.protocol.student.few_steps
    models = []
    for name, graph in GRAPHS.items():
        if networks is not None and name not in networks:
            continue
        try:
            checkpoint = newest_checkpoint(run, name)
        except DataError:
            if networks is not None:
                raise
            continue
        denoiser = experiment.load_network(checkpoint, name)
        denoiser.compute(ComputeOptions())
        size = experiment.sampling_operators.size
        model = graph(denoiser, few_steps, experiment.channels, size).requires_grad_(False)
        models.append(Model(model, shown, any_size, checkpoint.images))
    if networks is None or ReconstructorGraph.name in networks:
        models += _reconstructor(run, experiment, shown, any_size, asked=networks is not None)
    if not models:
        raise DataError(f"{run.path.name} holds no trained network; train it first: python -m rsd_med.train.")
    names = list(datasets) or [experiment.protocol.data.kind]
    return Package(read_run(run), experiment.protocol, models, licence, names)


def _reconstructor(
    run: RunFolder, experiment: Experiment, shown: Conditions, any_size: bool, *, asked: bool
) -> list[Model]:
    """Load the reconstructor; none where it is not trained and nobody asked for it."""
    try:
        checkpoint = newest_checkpoint(run, ReconstructorGraph.name)
    except DataError:
        if asked:
            raise
        return []
    network = experiment.load_reconstructor(checkpoint)
    network.denoiser.compute(ComputeOptions())
    graph = ReconstructorGraph(network, experiment.channels, experiment.sampling_operators.size).requires_grad_(False)
    return [Model(graph, shown, any_size, checkpoint.images)]
