"""``model_card.md``: what a released model must say about itself, from the run folder alone.

The fields follow Hugging Face's model cards, MI-CLAIM-GEN (arXiv 2403.02558) and CHAI's applied model card.
"""

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rsd_med import __version__
from rsd_med.base.files import write_text
from rsd_med.metrics.distances import FIGURES
from rsd_med.reporting.account import stage_seconds, warnings
from rsd_med.reporting.meanings import FIGURES_IN_WORDS
from rsd_med.reporting.memorisation import conclusion, explanation
from rsd_med.reporting.noise_level import describe_noise_level
from rsd_med.reporting.numbers import duration, significant, spread, whole
from rsd_med.reporting.quality import describe_floor, no_air
from rsd_med.reporting.record import RunRecord, mapping, model_title, number, read_run
from rsd_med.reporting.release import Release, front_matter, stated_licence
from rsd_med.reporting.verdict import verdict
from rsd_med.runs.run_folder import RunFolder

_INTENDED = """\
**Research use only. Not for diagnosis.** Not for treatment decisions or patient management either, and not a medical
device.

Meant for research on generative models learnt from corrupted measurements: comparing samplers and distillation losses,
studying priors for image reconstruction, simulating data for method development.

Not meant for: interpreting a patient's scan, filling in missing parts of one, enlarging a clinical training set without
a study of what that does, or passing off generated images as real.
"""

_RISKS = """\
- **Every image is invented.** A generated image belongs to no patient. It can look plausible and be anatomically wrong:
  structures added, merged, duplicated or left out, lesions that nobody has, lesions that are missing.
- **Errors of the teacher are handed down.** The model has seen corrupted measurements alone; where the corruption hides
  something in every scan, nothing teaches the model how it looks. Remaining aliasing, blur or noise can be taken for
  anatomy.
- **The assumed corruption matters.** If the real noise level, masks or coil maps differ from those assumed above, the
  model learns a wrong distribution, and no figure below would show it.
- **Rare things get rarer.** Distillation favours what is common: unusual anatomy and disease are underrepresented, and
  distances between distributions hardly notice.
- **No subgroup was examined.** Performance by age, sex, body size, disease, scanner or site is unknown.
"""

_PRIVACY = """\
A generator trained on few images can memorise them, and a memorised scan, above all of a head, can identify a
person. Look at the nearest pairs in `report.html` before weights or samples leave the place where the data may be used.
"""

_LICENCE = """\
The licence and the terms of use of the training data bind the model and its samples too: many medical data sets forbid
redistribution, commercial use, or sharing of derived models. Check them, and the consent behind the data, before
sharing anything; then fill in `license` above.
"""


def write_model_card(run: RunFolder) -> None:
    """Write ``model_card.md`` from what the run folder holds; the file is replaced as a whole.

    Parameters
    ----------
    run
        The run folder; nothing else is read.

    Raises
    ------
    OSError
        If the file cannot be written.
    """
    write_text(run.model_card, render_card(read_run(run)))


def render_card(record: RunRecord, release: Release | None = None) -> str:
    """Return the card as Markdown.

    Parameters
    ----------
    record
        The run.
    release
        For a model that leaves its run folder: paths are left out then, too.
    """
    sections = [
        (f"# {_plain(record.name)}", _plain(verdict(record)) + "\n"),
        ("## Intended use", _INTENDED),
        *([("## How to use it", release.usage)] if release is not None else []),
        ("## Model", _items(_model(record))),
        ("## Training data", _items(_data(record))),
        ("## Corruption assumed", _items(_corruption(record))),
        ("## Evaluation", _evaluation(record, release is not None)),
        ("## Failure modes and hallucination", _RISKS),
        ("## Memorisation and privacy", _memorisation(record)),
        ("## Limits of this card", _items(_limits(record))),
        ("## Licence of the data", _LICENCE if release is None else stated_licence(release)),
    ]
    card = front_matter(release) + "\n" + "\n".join(f"{title}\n\n{body}" for title, body in sections)
    return card.encode("utf-8", "replace").decode("utf-8")


def _model(record: RunRecord) -> list[str]:
    backbone, student = mapping(record.protocol, "backbone"), mapping(record.protocol, "student")
    objective = mapping(record.protocol, "teacher", "objective").get("kind", "not recorded")
    further = student.get("further_levels")
    calls = 1 + (len(further) if isinstance(further, list) else 0)
    kind = "one-step generator" if calls == 1 else f"generator of {calls} network calls"
    items = [
        f"Kind: {kind}, distilled from a diffusion model that was trained on corrupted measurements alone "
        "(Restoration Score Distillation)",
        f"Network: {_kind_and_values(backbone)}",
        *(
            ["Teacher and student learned from the scans as a reconstructor completed them, whose errors they share"]
            if objective == "completed"
            else []
        ),
        f"Teacher’s objective: {_code(objective)}",
        f"Student’s loss: {_kind_and_values(mapping(student, 'loss'))}",
    ]
    given = record.describe_given_teacher()
    if given is not None:
        items.append(f"Teacher: {_plain(given)}")
    imported = record.describe_imported()
    if imported is not None:
        items.append(f"Weights trained elsewhere, whose licence binds these: {_plain(imported)}")
    reconstructor = ("reconstructor",) if record.images_seen("reconstructor") else ()
    for stage in ("teacher", "student", *reconstructor) if given is None else ("student", *reconstructor):
        images, asked = record.images_seen(stage), number(mapping(record.protocol, stage), "images")
        seconds = stage_seconds(record).get(stage)
        cost = f" in {duration(seconds)}" if seconds else ""
        items.append(f"Training images seen by the {stage}: {whole(images)} of {whole(asked)}{cost}")
    chosen = record.chosen()
    if chosen:
        items.append(
            f"Weights chosen by the smallest proximal distance, after {whole(chosen[0])} images of the student"
        )
    items.append(f"Software: rsd_med {__version__}; seed {_code(record.protocol.get('seed', 'not recorded'))}")
    return items


def _data(record: RunRecord) -> list[str]:
    data = mapping(record.protocol, "data")
    count = number(record.metrics, "num_measurements") or number(data, "num_images")
    references = number(record.metrics, "num_reference")
    # Where the data lie is left out: paths name people and places.
    shown = {key: value for key, value in data.items() if key not in ("root", "num_images") and "/" not in str(value)}
    if mapping(record.protocol, "corruption").get("kind") == "none":
        clean = "The images were used as they are"
    else:
        clean = "Training saw the corrupted measurements alone, and no clean image"
    described = str(record.protocol.get("description") or "")
    return [
        *([f"They show: {_plain(described)}"] if described else []),
        f"Source: {_kind_and_values(shown)}",
        f"Measurements: {'as many as the source holds; not recorded' if count is None else whole(count)}",
        clean,
        f"Clean images for evaluation alone: {whole(references) if references else 'none'}",
        "Provenance, consent, population, scanners and sites: to be filled in by whoever releases the model",
    ]


def _corruption(record: RunRecord) -> list[str]:
    corruption, data = mapping(record.protocol, "corruption"), mapping(record.protocol, "data")
    sigma = number(corruption, "sigma")
    noise = (
        f"σ = {significant(sigma)} per real component, in scaled units" if sigma else "none beyond what the data carry"
    )
    estimated = describe_noise_level(corruption)
    if estimated is not None:
        noise = f"{estimated}, per real component, in scaled units"
    kind = corruption.get("kind")
    if kind == "multicoil_fourier":
        coils = number(data, "coils")
        masks = "those of the files" if corruption.get("mask") == "file" else "drawn by the protocol"
        return [
            "Operator: multi-coil Fourier transform (coil maps, centred orthonormal Fourier transform, Cartesian mask "
            "along x)",
            f"Acceleration: R = {_plain(corruption.get('acceleration', 'not recorded'))}",
            f"ACS lines: {whole(number(corruption, 'acs_lines'))}",
            f"Masks: {_plain(corruption.get('pattern', 'pattern not recorded'))}, {masks}",
            f"Added noise: {noise}",
            f"Coils: {'as in the files' if coils is None else whole(coils)}; "
            f"coil maps: {_code(mapping(record.protocol, 'calibration', 'maps').get('kind', 'not recorded'))}",
        ]
    if kind == "noise":
        origin = "carried by the files" if corruption.get("simulate") is False else "added to clean files"
        return ["Operator: identity", f"Noise: {noise}, {origin}", "Acceleration, ACS lines, coils: do not apply"]
    if kind == "none":
        return ["None: the images are taken as they are"]
    shown = {key: value for key, value in corruption.items() if key != "estimated"}
    return [f"Operator: {_kind_and_values(shown)}", *([f"Noise: {noise}"] if estimated is not None else [])]


def _evaluation(record: RunRecord, leaves: bool) -> str:
    models = record.models()
    if not models:
        return "Nothing has been evaluated yet.\n"
    keys = (*FIGURES, "spectrum_deviation", "air", "proximal_fd", "seconds_per_image", "network_calls")
    lines = [
        "| Model | Fréchet distance | Kernel distance | Precision | Recall | Density | Coverage | Spectrum | Air "
        "| Proximal distance | Seconds per image | Network calls |",
        "|---|" + "---:|" * len(keys),
    ]
    for name, figures in record.real_and_models().items():
        measured = [spread(number(figures, key), number(figures, f"{key}_std")) for key in keys[:-1]]
        cells = [_plain(model_title(name)), *measured, whole(number(figures, keys[-1]))]
        lines.append(f"| {' | '.join(cells)} |")
    command = record.command or "not recorded"
    if leaves:  # where files lie is nobody's business
        command = " ".join(Path(word).name for word in command.split())
    facts = {
        "Feature extractor": record.metrics.get("features", "not recorded"),
        "Samples of each model": whole(number(record.metrics, "num_samples")),
        "Clean reference images": whole(number(record.metrics, "num_reference")),
        "Seed": record.metrics.get("seed", "not recorded"),
        "Command": command,
    }
    meanings = _items(f"{term}: {meaning[0].lower()}{meaning[1:]}" for term, meaning in FIGURES_IN_WORDS)
    notes = (
        "Smaller distances are better. The proximal distance compares generations, corrupted afresh, with the "
        "measurements. Figures with other extractors, sample counts or references cannot be compared with these.\n"
    )
    notes = "\n".join([*(sentence for sentence in (describe_floor(record), no_air(record)) if sentence), notes])
    facts_listed = _items(f"{name}: {_code(value)}" for name, value in facts.items())
    return "\n".join([*lines, "", facts_listed, notes, meanings])


def _memorisation(record: RunRecord) -> str:
    audit = mapping(record.metrics, "memorisation")
    if number(audit, "share") is None:
        return f"**Not audited.** Whether the model repeats training measurements has not been tested.\n\n{_PRIVACY}"
    return "\n\n".join([f"**{_plain(conclusion(audit))}**", _plain(" ".join(explanation(audit))), _PRIVACY])


def _limits(record: RunRecord) -> list[str]:
    return [
        "Distances between sets of images say nothing about a single image, nor about clinical usefulness; no reader "
        "has judged these images",
        "The model knows the image size, contrast, anatomy and scanners of its training data, and no others",
        "Magnitudes are in units of each scan’s scale; no quantitative meaning is claimed, nor any patient orientation",
        *(_plain(sentence.removesuffix(".")) for sentence in warnings(record)),
    ]


def _items(sentences: Any) -> str:
    return "".join(f"- {sentence}\n" for sentence in sentences)


def _kind_and_values(values: Mapping[str, Any]) -> str:
    """Write settings on one line: the kind, then the others."""
    if not values:
        return "not recorded"
    others = ", ".join(
        f"{_plain(key)} {_plain(value)}" for key, value in values.items() if key != "kind" and value is not None
    )
    return _code(values.get("kind", "settings")) + (f" ({others})" if others else "")


def _plain(value: object) -> str:
    """Write text from a file so that Markdown takes it for text: one line, marks of markup escaped."""
    line = " ".join(str(value).split())
    return "".join(f"\\{char}" if char in "\\`*_[]<>#|~" else char for char in line)


def _code(value: object) -> str:
    """Write text from a file as code: one line, without what would end it or a table's cell."""
    line = " ".join(str(value).split()).replace("`", "ˋ").replace("|", "¦")
    return f"`{line}`" if line else "empty"
