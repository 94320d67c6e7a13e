"""What a model card says of a model that leaves its run folder: what hubs read, the licence, how to use it."""

import json
from dataclasses import dataclass

_TAGS = ("medical-imaging", "image-generation", "score-distillation", "research-only")

_HUB_LICENCES = {"apache-2.0", "bsd-3-clause", "cc0-1.0", "mit", "openrail", "pddl", "unknown"} | {
    f"cc-{terms}-4.0" for terms in ("by", "by-nc", "by-nc-nd", "by-nc-sa", "by-nd", "by-sa")
}
"""Names that Hugging Face knows; any other licence is "other", with a name of its own."""


@dataclass(frozen=True)
class Release:
    """What a card says of a model that is passed on.

    Attributes
    ----------
    licence
        Of the weights, as stated by whoever passes them on.
    datasets
        Names of the training data.
    usage
        How to use the files that lie beside the card, as Markdown.
    """

    licence: str
    datasets: tuple[str, ...] = ()
    usage: str = ""


def front_matter(release: Release | None) -> str:
    """Return what model hubs read, as YAML; text from outside is quoted as JSON, which YAML understands."""
    licence = "unknown" if release is None else release.licence
    known = licence.lower() in _HUB_LICENCES
    lines = ["library_name: rsd_med", "pipeline_tag: unconditional-image-generation"]
    lines += [f"license: {licence.lower() if known else 'other'}"]
    lines += [] if known else [f"license_name: {json.dumps(licence)}"]
    lines += ["tags:", *(f"  - {tag}" for tag in _TAGS)]
    if release is not None and release.datasets:
        lines += ["datasets:", *(f"  - {json.dumps(name)}" for name in release.datasets)]
    return "\n".join(["---", *lines, "---", ""])


def stated_licence(release: Release) -> str:
    """Return what a card says about the licence of a model that is passed on, as Markdown."""
    stated = (
        "**Not stated.** The licence of the training data is unknown to whoever exported this model: do not pass it on."
        if release.licence == "unknown"
        else f"`{release.licence.replace('`', 'ˋ')}`, as stated by whoever exported this model."
    )
    return (
        f"{stated}\n\nThe licence and the terms of use of the training data bind the model and its samples too: many "
        "medical data sets forbid redistribution, commercial use, or sharing of derived models.\n"
    )
