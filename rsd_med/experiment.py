"""From a protocol to the objects that carry it out."""

from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import torch
from torch import Tensor

from rsd_med.base.devices import device_kind
from rsd_med.base.errors import DataError, ProtocolError
from rsd_med.base.progress import watched
from rsd_med.base.randomness import generator_for
from rsd_med.completion import CompletedScans
from rsd_med.corruptions.base import Corruption
from rsd_med.corruptions.measurement import Measurement
from rsd_med.data.map_files import WithMaps
from rsd_med.data.measurements import MeasurementDataset
from rsd_med.data.paths import resolve_path
from rsd_med.data.prepared import PreparedMeasurements
from rsd_med.data.source import SourceSettings
from rsd_med.diffusion.compute import ComputeOptions, set_up
from rsd_med.diffusion.denoiser import Denoiser, build_denoiser
from rsd_med.diffusion.unrolled import CONTEXT, UnrolledNetwork
from rsd_med.evaluation.evaluation import Evaluator, require_comparable
from rsd_med.evaluation.monitor import ProximalMonitor
from rsd_med.evaluation.reference import CleanReference
from rsd_med.metrics.features import FeatureExtractor
from rsd_med.metrics.views import magnitude_view
from rsd_med.operators.channels import to_channels
from rsd_med.protocol import Protocol
from rsd_med.runs.checkpoints import Checkpoint
from rsd_med.runs.distribution import ALONE, Distribution
from rsd_med.runs.sampling_operators import load_sampling_operators
from rsd_med.teachers.augmentation import Augmentation
from rsd_med.teachers.base import Objective
from rsd_med.teachers.completed import CompletedSettings
from rsd_med.teachers.hidden import HiddenVariance
from rsd_med.training.autotune import Trial, candidates, compiled, load_autotune, may_compile, supported, try_each
from rsd_med.training.batches import MeasurementPool
from rsd_med.training.reconstructor_stage import ReconstructorSettings, ReconstructorStage
from rsd_med.training.stage import Execution, count_passes
from rsd_med.training.student_stage import StudentStage
from rsd_med.training.teacher_stage import TeacherStage

HIDDEN_ITEMS = 256
"""Measurements from which it is estimated how much the networks are not shown."""

HIDDEN_BATCH = 16


@dataclass(frozen=True)
class Experiment:
    """A protocol's objects, each built when first asked for.

    Attributes
    ----------
    protocol
        The experiment as typed data.
    base_dir
        Folder that relative data roots refer to.
    stored_sampling_operators
        Operators kept by a run, under which samples are drawn without the data; None takes those of the data.
    stored_autotune
        What a run has found to compute its networks fastest with; None, or a file that is not there, takes what the
        processor supports.
    distribution
        The other processes that carry it out.
    completed
        Folder of the scans that the run's reconstructor has completed, for an objective that learns from those.
    at_most
        Images read for the proximal distance and as reference, at most: a trial needs no more than a few.
    """

    protocol: Protocol
    base_dir: Path
    stored_sampling_operators: Path | None = None
    stored_autotune: Path | None = None
    distribution: Distribution = ALONE
    at_most: int | None = None
    completed: Path | None = None

    @cached_property
    def device(self) -> torch.device:
        """Where networks and batches live."""
        device = self.distribution.device(device_kind(self.protocol.engine.device, "engine.device"))
        set_up(device, self.protocol.diffusion.precision)
        return device

    @cached_property
    def corruption(self) -> Corruption:
        """The distribution over operators."""
        return self.protocol.corruption.build()

    @cached_property
    def objective(self) -> Objective:
        """What teacher and fake score are trained with."""
        return self.protocol.teacher.objective.build(self.corruption)

    @cached_property
    def augmentation(self) -> Augmentation | None:
        """How measurements are transformed before a network learns from them."""
        settings = self.protocol.augmentation
        if settings is None:
            return None
        if not self.protocol.backbone.takes_augmentation:
            raise ProtocolError(
                f"augmentation: a {self.protocol.backbone.kind} cannot be told how images were augmented, and would "
                "generate such images; use backbone.kind: ddpmpp or leave augmentation out."
            )
        return settings.build(self.objective)

    @cached_property
    def dataset(self) -> MeasurementDataset:
        """The corrupted measurements: all that training ever sees, unless the reconstructor has some of its own."""
        return self._measurements_of(self.protocol.data, "data")

    @cached_property
    def examples(self) -> MeasurementDataset:
        """What teacher and student learn from: the measurements, or what the reconstructor has made of them."""
        objective = self.protocol.teacher.objective
        if not isinstance(objective, CompletedSettings) or self.completed is None:
            return self.dataset
        ids = [self.dataset.id(index) for index in range(len(self.dataset))]
        scans = CompletedScans(self.completed, ids, objective.mirror)
        return MeasurementDataset(scans, self.objective.corruption, self.protocol.seed, cache_bytes=self._cache_bytes)

    def _few_examples(self) -> MeasurementPool:
        """Return some of them, of the shape that samples are drawn in."""
        if self.examples is self.dataset:
            return self.measurements
        return MeasurementPool(self.examples, self.measurements.indices, self.device)

    @property
    def _cache_bytes(self) -> int:
        return int(self.protocol.engine.cache_gib * 2**30)

    @cached_property
    def reconstructor_dataset(self) -> MeasurementDataset:
        """What the reconstructor learns from."""
        root, data = self.reconstructor_settings.root, self.protocol.data
        if root is None:
            return self.dataset
        if "root" not in type(data).model_fields:
            raise ProtocolError(f"reconstructor.root: data of kind {data.kind} come from no folder; leave it out.")
        return self._measurements_of(data.model_copy(update={"root": root}), "reconstructor")

    def _measurements_of(self, data: SourceSettings, key: str) -> MeasurementDataset:
        source = data.build(self.base_dir, self.protocol.seed)
        if len(source) == 0:
            raise DataError(f"{key}: the source holds no images; check {key}.root and the options that select files.")
        protocol, engine = self.protocol, self.protocol.engine
        if protocol.calibration.maps.file is not None:
            advice = "see calibration.maps.file"
            path = resolve_path(protocol.calibration.maps.file, self.base_dir, "file of coil maps", advice)
            source = WithMaps(source, path)
        return MeasurementDataset(
            source,
            self.corruption,
            protocol.seed,
            protocol.calibration,
            cache_bytes=self._cache_bytes,
            prepared=None if engine.prepared_gib == 0 else self._prepared(),
        )

    def _prepared(self) -> PreparedMeasurements:
        protocol = self.protocol
        how = (protocol.corruption.model_dump(), protocol.calibration.model_dump(), protocol.seed)
        limit = int(protocol.engine.prepared_gib * 2**30)
        return PreparedMeasurements(how, limit, protocol.calibration.maps.cache_dir)

    @cached_property
    def hidden_std(self) -> float:
        """Standard deviation per real component of what the networks are not shown of an image."""
        stated = self.protocol.diffusion.hidden_std
        if stated != "auto":
            return stated
        completes = self.protocol.teacher.objective.completes
        if not self.objective.hides and not completes:
            return 0.0
        further = self.corruption.further if completes else self.objective.further
        draws, total = generator_for(self.protocol.seed, "hidden"), HiddenVariance()
        for start in range(0, min(len(self.measurements), HIDDEN_ITEMS), HIDDEN_BATCH):
            batch = self.measurements[start : start + HIDDEN_BATCH].to("cpu")
            total.add(batch, further(batch.operator, draws))
        # Two digits are all that a few hundred images know, and a protocol should be readable.
        return float(f"{total.std():.2g}")

    @cached_property
    def main_group(self) -> list[int]:
        """Indices of the items of the most frequent shape: the one that samples are drawn in."""
        return max(self.dataset.groups().values(), key=len)

    @cached_property
    def extractor(self) -> FeatureExtractor:
        """Features behind the distances."""
        return self.protocol.evaluation.features.build(self.reference_view(), self.base_dir)

    @cached_property
    def measurements(self) -> MeasurementPool:
        """The measurements behind proximal distances, whose operators are also the conditions of samples."""
        indices = self.main_group
        count = min(self.protocol.evaluation.monitor_images, len(indices), self.at_most or len(indices))
        order = torch.randperm(len(indices), generator=generator_for(self.protocol.seed, "monitor")).tolist()
        return MeasurementPool(self.dataset, [indices[i] for i in order[:count]], self.device)

    @cached_property
    def monitor(self) -> ProximalMonitor:
        """Distances without clean data."""
        return ProximalMonitor(
            self.measurements, self.corruption, self.extractor, self.protocol.seed, self.distribution
        )

    @cached_property
    def reference_data(self) -> tuple[MeasurementDataset, list[int]] | None:
        """The data set of clean images and the items of its most frequent shape; None where the protocol names none."""
        if self.protocol.evaluation.reference is None:
            return None
        source = self.protocol.evaluation.reference.build(self.base_dir, self.protocol.seed)
        dataset = MeasurementDataset(
            source, self.corruption, self.protocol.seed, self.protocol.calibration, cache_bytes=0
        )
        return dataset, max(dataset.groups().values(), key=len)

    @cached_property
    def reference(self) -> Tensor | None:
        """Clean images in channels, for evaluation alone, or None where the protocol names none."""
        if self.reference_data is None:
            return None
        dataset, indices = self.reference_data
        read = [dataset.reference(i) for i in watched(indices[: self.at_most], "reading the reference")]
        return to_channels(torch.stack(read))

    @cached_property
    def clean_reference(self) -> CleanReference | None:
        """What samples are compared with, or None."""
        if self.reference is None:
            return None
        return CleanReference(self.reference, self.extractor, self.protocol.seed, self.device)

    def check(self) -> None:
        """Find out before a run what would end it after hours: data, reference and features are opened and counted.

        Raises
        ------
        DataError
            If there are too few images, or the clean ones are of another shape.
        ProtocolError
            If parts of the protocol do not fit one another.
        """
        _ = self.augmentation
        protocol = self.protocol
        sizes = [protocol.teacher.batch_size, protocol.student.batch_size]
        if protocol.reconstructor is not None:
            _ = protocol.reconstructor.score(self.corruption)
            sizes.append(protocol.reconstructor.batch_size)
            if protocol.reconstructor.root is not None:
                _ = self.reconstructor_dataset[0]
        for size in sizes:
            share = self.distribution.share(range(size))
            count_passes(len(share), self.protocol.engine.micro_batch)
        for sampler in self.protocol.evaluation.samplers:
            if sampler.compares_masks and not self.objective.context_channels:
                raise ProtocolError(
                    f"evaluation.samplers: {sampler.kind} compares masks, and this teacher sees whole images; use heun."
                )
        if len(self.main_group) < 2:
            raise DataError(
                f"data: of one shape there is {len(self.main_group)} image, and a distance needs 2; name more data "
                "(data.root and the options that select items)."
            )
        shape = to_channels(self.dataset[self.main_group[0]].image()).shape[1:]
        if self.reference_data is not None:
            clean, indices = self.reference_data
            require_comparable(self.protocol.evaluation.num_samples, len(indices))
            reference_shape = to_channels(clean.reference(indices[0])[None]).shape[1:]
            if reference_shape != shape:
                raise DataError(
                    f"evaluation.reference: its images are {describe_shape(reference_shape)} and those of data are "
                    f"{describe_shape(shape)}; choose the same size (resize, crop) and the same sort of images."
                )
        _ = self.extractor

    def reference_view(self) -> Tensor | None:
        """Return the clean images as extractors see them."""
        return None if self.reference is None else magnitude_view(self.reference)

    @cached_property
    def channels(self) -> int:
        """Real channels of an image: 2 for complex ones."""
        conditions = self.measurements if self.stored_sampling_operators is None else self.sampling_operators
        return to_channels(conditions[:1].image()).shape[1]

    @cached_property
    def sampling_operators(self) -> Measurement:
        """Measurements whose operators samples are drawn under."""
        if self.stored_sampling_operators is not None:
            return load_sampling_operators(self.stored_sampling_operators, self.device)
        return self.measurements[:]

    @cached_property
    def execution(self) -> Execution:
        """How both stages are carried out."""
        return Execution(self.distribution, self.protocol.engine.micro_batch, self.augmentation)

    @cached_property
    def compute_options(self) -> ComputeOptions:
        """How networks are computed: as the protocol says; what it leaves open, as the run has begun."""
        engine, precision = self.protocol.engine, self.protocol.diffusion.precision
        taken = supported(precision, engine, self.device)
        begun = None if self.stored_autotune is None else load_autotune(self.stored_autotune, self.device)
        if begun is None:
            return taken
        return ComputeOptions(
            precision=begun.precision if precision == "auto" else taken.precision,
            memory_format=begun.memory_format if engine.memory_format == "auto" else taken.memory_format,
            compile=begun.compile if engine.compile == "auto" else taken.compile,
        )

    def time_compute_options(self) -> list[Trial]:
        """Time the ways of computing the networks that the protocol leaves open, the same on all ranks."""
        engine, teacher = self.protocol.engine, self.protocol.teacher
        ways = candidates(self.protocol.diffusion.precision, engine, self.device)
        if len(ways) == 1 and not may_compile(engine, self.device):
            return []
        share = max(1, teacher.batch_size // self.distribution.world_size)
        images = to_channels(self.measurements[: min(share, engine.micro_batch or share)].image())
        shape = (len(images), self.objective.context_channels, *images.shape[2:])
        context = torch.ones(shape, device=self.device) if shape[1] else None
        denoiser = self.build_denoiser(ways[0])
        trials = self._slowest(try_each(ways, denoiser, images, context))
        further = compiled(trials, engine, self.device, -(-teacher.images // teacher.batch_size))
        return trials + self._slowest(try_each(further, denoiser, images, context))

    def _slowest(self, trials: list[Trial]) -> list[Trial]:
        """Return what the slowest rank found: all of them choose alike."""
        per_rank = self.distribution.gather([torch.tensor([trial.seconds for trial in trials], dtype=torch.float64)])
        slowest = torch.stack(per_rank).amax(0).tolist() if trials else []
        return [replace(trial, seconds=seconds) for trial, seconds in zip(trials, slowest, strict=True)]

    def build_denoiser(self, compute_options: ComputeOptions | None = None) -> Denoiser:
        """Build the network of teacher, fake score and student, with the run's first weights."""
        # Of completed images nothing is hidden; what is, is the reconstructor's to know.
        hidden = 0.0 if self.protocol.teacher.objective.completes else self.hidden_std
        return build_denoiser(
            self.protocol.backbone,
            self.protocol.diffusion.model_copy(update={"hidden_std": hidden}),
            self.channels,
            self.objective.context_channels,
            generator_for(self.protocol.seed, "weights"),
            self.device,
            compute_options or self.compute_options,
        )

    def teacher_stage(self) -> TeacherStage:
        """Build phase I."""
        return TeacherStage(
            self.protocol.teacher,
            self.build_denoiser(),
            self.objective,
            self.protocol.evaluation.samplers[0],
            self.monitor,
            self.protocol.seed,
            self.execution,
        )

    def student_stage(self, teacher: Denoiser) -> StudentStage:
        """Build phase II from a trained teacher."""
        return StudentStage(
            self.protocol.student,
            teacher,
            self.objective,
            self.monitor,
            self.protocol.seed,
            self.execution,
            self._few_examples(),
        )

    @property
    def reconstructor_settings(self) -> ReconstructorSettings:
        """The third stage's; ProtocolError where the protocol has none."""
        settings = self.protocol.reconstructor
        if settings is None:
            raise ProtocolError(
                f"{self.protocol.name}: there is no reconstructor in this protocol; add a section reconstructor with "
                "images, its length (docs/reconstructor.md)."
            )
        return settings

    def build_reconstructor(self) -> UnrolledNetwork:
        """Build the network that reconstructs, with the run's first weights."""
        settings = self.reconstructor_settings
        denoiser = build_denoiser(
            settings.backbone or self.protocol.backbone,
            self.protocol.diffusion.model_copy(update={"hidden_std": self.hidden_std}),
            2,
            CONTEXT,
            generator_for(self.protocol.seed, "reconstructor weights"),
            compute_options=self.compute_options,
        )
        return UnrolledNetwork(denoiser, settings.turns).to(self.device)

    def reconstructor_stage(self, teacher: Denoiser | None) -> ReconstructorStage:
        """Build the stage that trains a reconstructor, with the weights of a teacher or without.

        Raises
        ------
        ProtocolError
            If its inputs are not those of a teacher of undersampled k-space.
        """
        network = self.build_reconstructor()
        if teacher is not None:
            try:
                network.start_from(teacher.state_dict())
            except ValueError as error:
                raise ProtocolError(
                    f"reconstructor.start: this teacher is no start ({error}); use an ambient_fourier teacher, or "
                    "start: fresh."
                ) from error
        return ReconstructorStage(
            self.reconstructor_settings,
            network,
            self.corruption,
            self.measurements,
            self.protocol.seed,
            replace(self.execution, augmentation=None),
        )

    def load_reconstructor(self, checkpoint: Checkpoint) -> UnrolledNetwork:
        """Load the reconstructor from a checkpoint."""
        network = self.build_reconstructor()
        checkpoint.load_network("reconstructor", network)
        return network.requires_grad_(False)

    def evaluator(self) -> Evaluator:
        """Build what compares teacher and student."""
        settings = self.protocol.evaluation
        return Evaluator(
            self.objective,
            self.monitor,
            self.clean_reference,
            settings.num_samples,
            self.protocol.seed,
            settings.seeds,
            self.distribution,
        )

    def load_network(self, checkpoint: Checkpoint, name: str) -> Denoiser:
        """Load the network called ``name`` from a checkpoint."""
        denoiser = self.build_denoiser()
        checkpoint.load_network(name, denoiser)
        return denoiser.requires_grad_(False)


def describe_shape(shape: torch.Size) -> str:
    """Say the shape of an image in channels, (channels, y, x)."""
    sort = {1: "grey", 2: "complex", 3: "in colour"}.get(shape[0], f"of {shape[0]} channels")
    return f"{shape[1]} x {shape[2]}, {sort}"
