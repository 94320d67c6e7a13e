"""What the distances of a task are measured by: the package's own filters and, where there are labels, a classifier."""

from pathlib import Path

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from benchmarks.classifier import ClassifierFeatures, train_classifier
from rsd_med.metrics.features import FeatureExtractor

CLASSIFIER_SIDE = 32
EPOCHS = 2


class Enlarged:
    """A classifier's features of images smaller than those that it was built for."""

    def __init__(self, classifier: ClassifierFeatures) -> None:
        self.classifier = classifier
        self.name, self.dimension = classifier.name, classifier.dimension

    def __call__(self, images: Tensor) -> Tensor:
        """Return ``(n, 64)`` float64 for ``(n, c, y, x)`` float32 in [-1, 1]."""
        return self.classifier(enlarge(images))


def enlarge(images: Tensor) -> Tensor:
    """Resample to the classifier's size."""
    return functional.interpolate(images, (CLASSIFIER_SIDE, CLASSIFIER_SIDE), mode="bilinear", align_corners=False)


def classifier_features(prepared: Path) -> FeatureExtractor | None:
    """Train a classifier on the clean, labelled images of a prepared data set, or load it; None without labels."""
    labels = prepared / "train_labels.npy"
    if not labels.exists():
        return None
    images = torch.from_numpy(np.load(prepared / "train.npy")).float() / 127.5 - 1
    images = images[:, None] if images.ndim == 3 else images.permute(0, 3, 1, 2)
    known = torch.from_numpy(np.load(labels))
    return Enlarged(train_classifier(enlarge(images), known, prepared.name, EPOCHS, prepared / "classifier.pt"))
