"""What the figures of an evaluation mean, in the words of the clinic: for the report and the model card."""

FIGURES_IN_WORDS = (
    (
        "Fréchet and kernel distance",
        "How far the samples as a whole are from clean images as a whole; 0 would be the same distribution. They mix "
        "faults of single images with missing variety, and have no unit that a person could feel: they rank models "
        "measured alike.",
    ),
    (
        "Precision",
        "The share of samples that lie among the clean images. Low: many samples look like nothing that was real.",
    ),
    (
        "Recall",
        "The share of clean images that lie among the samples. Low: kinds of anatomy that exist are never drawn.",
    ),
    (
        "Density",
        "How crowded the clean images around a sample are, 1 for the same distribution. Above 1, samples crowd where "
        "clean images are common: typical, and too much alike.",
    ),
    (
        "Coverage",
        "The share of clean images that have a sample nearby. Unlike recall, stray samples cannot raise it.",
    ),
    (
        "Floor",
        "The same figures of real images in the model’s place: of other subjects where there are any, else of one half "
        "of the reference against the other. No model can be expected to do better.",
    ),
    (
        "Spectrum",
        "How far the power of structures of some size is from that of the reference, at worst, up to 0.9 of Nyquist. "
        "More power in fine structure is grain, less is blur; within 20 % the eye sees neither.",
    ),
    (
        "Air",
        "How bright the samples are where the reference is dark, as a share of its brightest pixel: the median over "
        "images. Noise and ghosts show there first.",
    ),
    (
        "What none of them says",
        "Whether a single image is anatomically right, whether a lesion is real, or whether an image is safe to use. "
        "Even a second set of clean images has a precision, recall and coverage below 1, the lower the fewer images.",
    ),
)
