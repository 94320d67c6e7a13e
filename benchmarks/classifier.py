"""Features of a small classifier trained on labelled clean images: for benchmarks alone, where labels exist.

Random filters see strokes and textures; whether a digit is a digit, or a horse a horse, takes features that were
trained to tell. No part of the package uses this one, and training never sees it.
"""

from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional

from rsd_med.base.randomness import generator_for

DIMENSION = 64


class Classifier(nn.Module):
    """Three convolutions, 64 features, ten classes, for 32×32 images in [-1, 1]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.body = nn.Sequential(
            nn.Conv2d(channels, 32, 3, padding=1), nn.BatchNorm2d(32), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(32, 64, 3, padding=1), nn.BatchNorm2d(64), nn.ReLU(), nn.MaxPool2d(2),
            nn.Conv2d(64, 128, 3, padding=1), nn.BatchNorm2d(128), nn.ReLU(), nn.MaxPool2d(2),
            nn.Flatten(), nn.Dropout(0.3), nn.Linear(128 * 16, DIMENSION), nn.ReLU(),
        )  # fmt: skip
        self.head = nn.Linear(DIMENSION, 10)

    def forward(self, images: Tensor) -> Tensor:
        """Return logits ``(n, 10)``."""
        return self.head(self.body(images))


class ClassifierFeatures:
    """The 64 features before the last layer, standardised over the images that it was trained on."""

    def __init__(self, classifier: Classifier, name: str, mean: Tensor, std: Tensor) -> None:
        self.classifier = classifier.eval().requires_grad_(False)
        self.name = name
        self.dimension = DIMENSION
        self.mean, self.std = mean, std

    @torch.no_grad()
    def __call__(self, images: Tensor) -> Tensor:
        """Return ``(n, 64)`` float64 for ``(n, c, 32, 32)`` float32 in [-1, 1]."""
        features = torch.cat([self.classifier.body(batch) for batch in images.clamp(-1, 1).split(500)])
        return ((features - self.mean) / self.std).double()


def train_classifier(
    images: Tensor, labels: Tensor, name: str, epochs: int, cache: Path | None = None
) -> ClassifierFeatures:
    """Train on ``(n, c, 32, 32)`` float32 in [-1, 1] and ``(n,)`` labels; deterministic for one number of threads."""
    with torch.random.fork_rng():
        torch.manual_seed(0)
        classifier = Classifier(images.shape[1])
        if cache is not None and cache.exists():
            classifier.load_state_dict(torch.load(cache, weights_only=True))
        else:
            optimiser = torch.optim.Adam(classifier.parameters(), lr=1e-3)
            for epoch in range(epochs):
                order = torch.randperm(len(images), generator=generator_for(0, "classifier", epoch))
                for batch in order.split(128):
                    loss = functional.cross_entropy(classifier(images[batch]), labels[batch])
                    optimiser.zero_grad()
                    loss.backward()
                    optimiser.step()
            if cache is not None:
                torch.save(classifier.state_dict(), cache)
    classifier.eval()
    with torch.no_grad():
        features = torch.cat([classifier.body(batch) for batch in images[:10_000].split(500)])
    # A common scale for all features keeps their shape and makes distances comparable between data sets.
    return ClassifierFeatures(classifier, f"{name}-classifier-v1-{DIMENSION}", features.mean(0), features.std())


@torch.no_grad()
def accuracy(features: ClassifierFeatures, images: Tensor, labels: Tensor) -> float:
    """Return the share of images whose class is found."""
    found = torch.cat([features.classifier(batch).argmax(1) for batch in images.split(500)])
    return float((found == labels).float().mean())
