import pytest

from rsd_med.reporting.model_card import write_model_card

SECTIONS = [
    "# quickstart-1",
    "## Intended use",
    "## Model",
    "## Training data",
    "## Corruption assumed",
    "## Evaluation",
    "## Failure modes and hallucination",
    "## Memorisation and privacy",
    "## Limits of this card",
    "## Licence of the data",
]


def card(run) -> str:
    write_model_card(run)
    return run.model_card.read_text(encoding="utf-8")


def test_the_card_says_what_a_card_must(run):
    text = card(run)
    assert text.startswith("---\n")
    assert [line for line in text.splitlines() if line.startswith("#")] == SECTIONS
    for words in (
        "Not for diagnosis.",
        "multi-coil Fourier transform",
        "Acceleration: R = 4.0",
        "ACS lines: 4",
        "Coils: 4",
        "Source: `knee_phantom`",
        "Measurements: 2,000",
        "Training images seen by the teacher: 60,000 of 60,000",
        "after 18,000 images of the student",
        "| Real images (floor) | 0.400 | 0.0100 | 0.900 | 0.880 | 1.00 | 0.950 | 0.0500 | 0.00400 | – | – | – |",
        "| Student | 1.24 | 0.0871 | 0.830 | 0.440 | 1.12 | 0.810 | 0.150 | 0.00600 | 0.644 | 0.00124 | 1 |",
        "The floor is what real images reach: 1,000 clean images of the training data",
        "- Recall: the share of clean images that lie among the samples.",
        "Feature extractor: `random-conv-v1-96`",
        "Samples of each model: `1,000`",
        "Seed: `0`",
        "**No sign of copying: 3 of 500 samples (0.6 %, 95 % interval 0.2 % to 1.7 %)",
    ):
        assert words in text, words


@pytest.mark.parametrize(
    ("corruption", "words"),
    [
        (
            "kind: noise\n  sigma: 0.2\n  simulate: true",
            "Noise: σ = 0.200 per real component, in scaled units, added to clean files",
        ),
        ("kind: noise\n  sigma: 0.2\n  simulate: false", "carried by the files"),
        ("kind: none", "The images were used as they are"),
        ("kind: blur\n  width: 3", "Operator: `blur` (width 3)"),
        ("kind: multicoil_fourier\n  mask: file\n  acceleration: 4\n  sigma: 0.01", "Added noise: σ = 0.0100 per real"),
    ],
)
def test_each_corruption_is_described(run, corruption, words):
    run.protocol_resolved.write_text(f"corruption:\n  {corruption}\n")
    assert words in card(run)


def test_what_the_data_show_stands_in_the_protocol_s_own_words(run):
    assert "- They show: " not in card(run)
    text = run.protocol_resolved.read_text(encoding="utf-8")
    run.protocol_resolved.write_text(f"description: heads, <b>T1</b>\n{text}", encoding="utf-8")
    assert "- They show: heads, \\<b\\>T1" in card(run)


def test_paths_of_the_machine_stay_out(run):
    run.protocol_resolved.write_text(
        "data:\n  kind: arrays\n  root: /home/somebody/scans\n  other: /mnt/x\n  limit: 5\n"
    )
    text = card(run)
    assert "Source: `arrays` (limit 5)" in text
    assert "somebody" not in text
    assert "/mnt" not in text


def test_an_empty_run_gets_a_card_too(empty_run):
    text = card(empty_run)
    assert "Nothing has been evaluated yet." in text
    assert "Operator: not recorded" in text


def test_text_from_files_cannot_become_markup(run, replace_metrics):
    replace_metrics(run, lambda metrics: metrics.update(features="`<b>|\n# heading"))
    run.set_status("failed", reason="<script>\n# [a](b)")
    lines = card(run).splitlines()
    assert [line for line in lines if line.startswith("#")] == SECTIONS
    assert "- Feature extractor: `ˋ<b>¦ # heading`" in lines
    assert "- \\<script\\> \\# \\[a\\](b)" in lines
