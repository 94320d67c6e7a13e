"""What an experiment is: one settings class per part, each kept beside the code it belongs to.

A new kind is one more line in a union below; everything else it needs stands in its own file.
"""

from typing import Annotated, Literal

from pydantic import Field, NonNegativeInt

from rsd_med.base.settings import Settings
from rsd_med.calibration.coil_maps import CoilMapSettings
from rsd_med.corruptions.blur import BlurSettings
from rsd_med.corruptions.fourier import FourierSettings
from rsd_med.corruptions.inpainting import InpaintingSettings
from rsd_med.corruptions.kspace_motion import KSpaceMotionSettings
from rsd_med.corruptions.motion_blur import MotionBlurSettings
from rsd_med.corruptions.multicoil_fourier import MultiCoilFourierSettings
from rsd_med.corruptions.noise import NoiseSettings
from rsd_med.corruptions.none import NoCorruptionSettings
from rsd_med.corruptions.poisson import PoissonSettings
from rsd_med.corruptions.rician import RicianSettings
from rsd_med.corruptions.super_resolution import SuperResolutionSettings
from rsd_med.corruptions.tomography import SparseViewSettings
from rsd_med.data.arrays import ArraysSettings
from rsd_med.data.cifar10 import Cifar10Settings
from rsd_med.data.dicom import DicomSettings
from rsd_med.data.fastmri_hdf5 import FastMRIHDF5Settings
from rsd_med.data.image_folder import ImageFolderSettings
from rsd_med.data.image_zip import ImageZipSettings
from rsd_med.data.ismrmrd import ISMRMRDSettings
from rsd_med.data.knee_phantom import KneePhantomSettings
from rsd_med.data.nifti import NiftiSettings
from rsd_med.diffusion.backbones import BackboneKind
from rsd_med.diffusion.denoiser import DiffusionSettings
from rsd_med.evaluation.evaluation import EvaluationSettings
from rsd_med.teachers.augmentation import AugmentationSettings
from rsd_med.training.settings import EngineSettings
from rsd_med.training.student_stage import StudentSettings
from rsd_med.training.teacher_stage import TeacherSettings

DataKind = Annotated[
    KneePhantomSettings
    | FastMRIHDF5Settings
    | ISMRMRDSettings
    | ArraysSettings
    | ImageFolderSettings
    | ImageZipSettings
    | Cifar10Settings
    | NiftiSettings
    | DicomSettings,
    Field(discriminator="kind"),
]
CorruptionKind = Annotated[
    MultiCoilFourierSettings
    | FourierSettings
    | NoiseSettings
    | NoCorruptionSettings
    | BlurSettings
    | MotionBlurSettings
    | SuperResolutionSettings
    | InpaintingSettings
    | SparseViewSettings
    | PoissonSettings
    | RicianSettings
    | KSpaceMotionSettings,
    Field(discriminator="kind"),
]


class ProtocolEvaluationSettings(EvaluationSettings):
    """What is measured at the end of a run, and against which clean images."""

    reference: DataKind | None = Field(
        None, description="clean data for evaluation alone; null: proximal distance only"
    )


class Protocol(Settings):
    """An experiment: data and their corruption, networks, both stages of training, evaluation."""

    schema_version: Literal[1] = Field(description="the version of this vocabulary")
    name: str = Field(
        min_length=1,
        max_length=80,
        pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]*$",
        description="letters, digits, . _ and -; names the run folder",
    )
    seed: NonNegativeInt = Field(0, description="every random draw of the run derives from it")
    data: DataKind = Field(description="where the training data come from")
    maps: CoilMapSettings = Field(default_factory=CoilMapSettings, description="how coil maps are found")
    corruption: CorruptionKind = Field(description="what happened to the data, or is done to them")
    backbone: BackboneKind = Field(description="the network that teacher, fake score and generator share")
    augmentation: AugmentationSettings | None = Field(
        None, description="of what teacher and fake score learn from; null: none"
    )
    diffusion: DiffusionSettings = Field(default_factory=DiffusionSettings, description="preconditioning")
    teacher: TeacherSettings = Field(description="phase I")
    student: StudentSettings = Field(description="phase II")
    evaluation: ProtocolEvaluationSettings = Field(
        default_factory=ProtocolEvaluationSettings, description="what is measured at the end"
    )
    engine: EngineSettings = Field(default_factory=EngineSettings, description="how the run is carried out")
