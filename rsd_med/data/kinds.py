"""The list of data sources."""

from typing import TYPE_CHECKING

from rsd_med.base.kinds import Kind, Kinds

if TYPE_CHECKING:
    from rsd_med.data.source import SourceSettings

SOURCES: "Kinds[SourceSettings]" = Kinds(
    Kind("knee_phantom", "rsd_med.data.knee_phantom:KneePhantomSettings"),
    Kind("fastmri_hdf5", "rsd_med.data.fastmri_hdf5:FastMRIHDF5Settings"),
    Kind("ismrmrd", "rsd_med.data.ismrmrd:ISMRMRDSettings"),
    Kind("raw_arrays", "rsd_med.data.raw_arrays:RawArraySettings"),
    Kind("bart", "rsd_med.data.bart:BartSettings"),
    Kind("matlab", "rsd_med.data.matlab:MatlabSettings"),
    Kind("arrays", "rsd_med.data.arrays:ArraysSettings"),
    Kind("image_folder", "rsd_med.data.image_folder:ImageFolderSettings"),
    Kind("image_zip", "rsd_med.data.image_zip:ImageZipSettings"),
    Kind("cifar10", "rsd_med.data.cifar10:Cifar10Settings"),
    Kind("nifti", "rsd_med.data.nifti:NiftiSettings"),
    Kind("dicom", "rsd_med.data.dicom:DicomSettings"),
)
