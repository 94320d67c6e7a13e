"""The list of feature extractors."""

from typing import TYPE_CHECKING

from rsd_med.base.kinds import Kind, Kinds

if TYPE_CHECKING:
    from rsd_med.metrics.features import FeatureSettings

FEATURES: "Kinds[FeatureSettings]" = Kinds(
    Kind("random_conv", "rsd_med.metrics.random_conv:RandomConvSettings"),
    Kind("inception", "rsd_med.metrics.inception:InceptionSettings"),
    Kind("pca", "rsd_med.metrics.pca:PCASettings"),
)
