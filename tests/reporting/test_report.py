import base64
import io
import json
import os
import re
from html.parser import HTMLParser

import numpy as np
import pytest
import torch

from rsd_med.metrics.distances import FIGURES
from rsd_med.reporting.report import NOTICE, POLICY, build_report
from rsd_med.runs.grids import save_gallery, to_grey_levels
from tests.reporting.conftest import fill_run

VOID = {"img", "meta", "br"}


class Page(HTMLParser):
    """The elements and the text of a page; fails where an element is not closed."""

    def __init__(self, text: str):
        super().__init__()
        self.elements: list[tuple[str, dict]] = []
        self.open: list[str] = []
        self.text = ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.elements.append((tag, dict(attrs)))
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if "style" not in self.open:
            self.text += data

    def all(self, tag: str) -> list[dict]:
        return [attributes for name, attributes in self.elements if name == tag]


def build(run) -> Page:
    build_report(run)
    return Page(run.report.read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def whole(tmp_path_factory, knees):
    """The run as it is, and its page, for tests that only read."""
    run = fill_run(tmp_path_factory.mktemp("whole") / "quickstart-1", knees)
    return run, build(run)


def test_the_page_tells_the_story_in_order(whole):
    _, page = whole
    story = [
        "State: done",
        "quickstart-1",
        "The student’s images are not far from real ones: Fréchet distance 1.24 (real images 0.400)",
        "They show no grain, no blur and no bright air.",
        "0.25 × its distance, 33 × as fast",
        NOTICE,
        "Student",
        "samples, 1 network call each",
        "Reference",
        "Fréchet distance 0.400 from other real images",
        "Teacher (heun)",
        "samples, 35 network calls each",
        "One window for all pictures: 0 is black, 1.25 is white",
        "What it was learned from",
        "Measurements",
        "18 k images, chosen",
        "Student: how good are the images?",
        "1.24",
        "3.1 × that of real images, 0.400",
        "81 %",
        "real images 95 %",
        "off by 15 %",
        "0.60 % of the peak",
        "1.24 ms",
        "The floor is what real images reach: 1,000 clean images of the training data",
        "Power at each frequency",
        "All models",
        "Real images (floor)",
        "41.5",
        "Fidelity and variety",
        "0.830",
        "What these figures mean",
        "random-conv-v1-96",
        "python -m rsd_med.train protocols/quickstart.yaml",
        "Memorisation",
        "No sign of copying: 3 of 500 samples",
        "clean images that the model has not seen",
        "Curves",
        "Fake-score loss",
        "What was done",
        "60,000",
        "Warnings",
        "None.",
        "acceleration: 4.0",
        "packages.torch",
    ]
    places = []
    for words in story:
        place = page.text.find(words, places[-1] if places else 0)
        assert place >= 0, words
        places.append(place)
    assert page.all("html") == [{"lang": "en"}]


def test_the_page_is_self_contained(whole):
    run, page = whole
    text = run.report.read_text(encoding="utf-8")
    names = {name for name, _ in page.elements}
    assert not names & {"script", "link", "iframe", "object", "embed", "base", "form", "video", "audio"}
    assert not re.search(r"https?://|url\(|@import|javascript:", text)
    assert [image["src"][:22] for image in page.all("img")] == ["data:image/png;base64,"] * len(page.all("img"))
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on") or key == "href"]
    assert {"http-equiv": "Content-Security-Policy", "content": POLICY} in page.all("meta")
    assert not [path for path in run.path.glob(".*") if path.name != ".lock"]


def test_the_student_comes_first_large_and_as_large_as_what_it_is_held_against(whole):
    images = whole[1].all("img")
    panels = images[:3]
    assert [image["alt"] for image in panels] == [
        "Samples of the student, 4 images",
        "Clean reference images, 4 images",
        "Samples of the teacher (heun), 4 images",
    ]
    assert {image["width"] for image in panels} == {image["height"] for image in panels} == {"400"}
    assert images[3]["alt"] == ""  # the scale bar, told by the sentence beside it
    assert images[4]["alt"] == "Measurements seen as images, 8 images"


def test_what_is_shown_are_the_images_themselves(whole, knees):
    """Each picture is its image, enlarged by a library of its own kind: Pillow against scikit-image."""
    from PIL import Image
    from skimage.transform import resize

    shown = np.asarray(Image.open(io.BytesIO(base64.b64decode(whole[1].all("img")[0]["src"].split(",")[1]))))
    level = to_grey_levels(knees.student)[3].astype(float)
    expected = resize(level, (199, 199), order=3, mode="edge", preserve_range=True)
    assert np.abs(shown[-199:, -199:] - expected.clip(0, 255)).mean() < 2


def test_tables_have_headers_with_scope(whole):
    _, page = whole
    assert page.all("th")
    assert all(header.get("scope") in ("col", "row") for header in page.all("th"))


def test_everything_from_files_is_escaped(tmp_path, run, replace_metrics):
    evil = "<script>alert(1)</script><img src=x onerror=alert(2)>\"'&"

    def spoil(metrics):
        metrics["teacher"][evil] = metrics["teacher"]["heun"] | {evil: 1.0}
        metrics |= {"features": evil, "command": evil, "seed": evil, "best_teacher": evil}

    replace_metrics(run, spoil)
    run.set_status(evil, reason=evil)
    run.protocol_resolved.write_text(f"name: '{evil.replace(chr(39), '')}'\n")
    run.environment.write_text(json.dumps({"gpu": evil, evil: evil, "platform": evil}))
    save_gallery(run.samples / "gallery", "teacher." + evil.replace("/", ""), torch.zeros(1, 2, 32, 32))
    renamed = tmp_path / "<img src=x onerror=alert(3)>"
    os.rename(run.path, renamed)
    page = build(type(run)(renamed))
    names = {name for name, _ in page.elements}
    assert "script" not in names
    assert all(image["src"].startswith("data:image/png") for image in page.all("img"))
    assert not [key for _, attributes in page.elements for key in attributes if key.startswith("on")]
    assert page.text.count("<script>alert(1)</script>") >= 5
    assert "<img src=x onerror=alert(3)>" in page.text


def test_text_that_is_no_text_does_not_stop_the_report(run, replace_metrics):
    replace_metrics(run, lambda metrics: metrics.update(features="\ud800"))
    assert "\ud800" not in build(run).text


def test_the_report_does_not_tell_where_files_lie(whole):
    run, page = whole
    assert "protocol_folder" in run.environment.read_text()
    assert "protocol_folder" not in page.text


def test_an_empty_folder_still_gives_a_report(empty_run):
    text = build(empty_run).text
    for words in (
        "State: unknown",
        "Nothing has been trained or evaluated yet.",
        NOTICE,
        "No pictures have been saved yet.",
        "The teacher has not been trained yet.",
        "The student has not been trained yet.",
        "There is no protocol in this run folder.",
    ):
        assert words in text


def test_an_interrupted_teacher_is_told_in_words(run):
    run.metrics.unlink()
    for name in ("teacher.heun", "student", "reference"):
        (run.samples / "gallery" / f"{name}.npy").unlink()
    for path in run.samples.glob("student_*"):
        path.unlink()
    lines = [line for line in run.read_metrics_lines() if line["stage"] == "teacher" and line["images"] <= 30000]
    lines[3]["skipped"] = 2.0
    run.metrics_lines.write_text("".join(json.dumps(line) + "\n" for line in lines) + '{"stage": "teac')
    run.set_status("interrupted", command="python -m rsd_med.train p.yaml", reason="stopped by SIGTERM")
    text = build(run).text
    for words in (
        "State: interrupted, can be resumed",
        "Nothing has been evaluated yet: the teacher has seen 30,000 images.",
        "There are no samples of a student yet.",
        "The run has no clean reference images to show.",
        "The student has not been trained yet.",
        "stopped by SIGTERM",
        "Teacher: 2 steps were skipped because a gradient was not finite.",
        "Teacher: 30,000 of 60,000 images seen.",
    ):
        assert words in text
    assert "chosen" not in text


def test_without_a_reference_there_is_no_distance_to_clean_images(run, replace_metrics):
    def forget(metrics):
        metrics["num_reference"] = 0
        for figures in (metrics["student"], metrics["teacher"]["heun"]):
            for name in (*FIGURES, "spectrum_deviation", "air"):
                del figures[name]
        for name in ("floor", "spectrum", "reference_air"):
            del metrics[name]

    replace_metrics(run, forget)
    (run.samples / "gallery" / "reference.npy").unlink()
    text = build(run).text
    assert "The run has no clean reference, so there is no Fréchet or kernel distance to clean images." in text
    assert "No clean reference: only the proximal distance was measured." in text
    assert "Fidelity and variety" not in text
    assert "to clean images" not in text.split("All models", 1)[1].split("Smaller is better")[0]


def test_figures_of_an_earlier_evaluation_are_called_so(run):
    run.set_status("interrupted")
    assert "The figures are those of an earlier evaluation" in build(run).text


def test_damaged_files_become_sentences(run):
    run.metrics.write_text("{")
    (run.path / "status.json").write_bytes(b"\xff\xfe")
    run.environment.write_text("[1]")
    run.protocol_resolved.write_text("a: [")
    run.metrics_lines.write_text(
        '3\n"x"\n{"stage": ["teacher"], "images": 1e999}\n{"stage": "teacher", "images": 1' + "0" * 400 + "}\n"
    )
    gallery = run.samples / "gallery"
    (gallery / "student.npy").write_bytes(b"\x93NUMPY")
    np.save(gallery / "reference.npy", np.array([{}], dtype=object), allow_pickle=True)
    np.save(gallery / "measurements.npy", np.full((2, 2, 32, 32), np.nan, dtype=np.float32))
    next(run.samples.glob("student_*")).write_text("no picture")
    text = build(run).text
    for name in ("metrics.json", "status.json", "environment.json"):
        assert f"{name} is there but cannot be read." in text
    assert "The protocol cannot be read" in text
    assert "The pictures in student.npy cannot be read." in text
    assert "The pictures in reference.npy cannot be read." in text
    assert "measurements.npy hold values that are not finite" in text


def test_figures_that_are_not_finite_are_said_to_be_so(run, replace_metrics):
    replace_metrics(run, lambda metrics: metrics["student"].update(fd=float("nan"), kid=1e999))
    text = build(run).text
    assert "not finite" in text
    assert "not with finite distances" in text


def test_natural_images_have_their_own_window(run):
    for name in ("measurements", "teacher.heun", "student", "reference"):
        save_gallery(run.samples / "gallery", name, torch.rand(16, 3, 32, 32) * 2 - 1)
    text = build(run).text
    assert "One window for all pictures: −1 is black, 1 is white (pixel value)." in text
    assert "orientation" not in text


def test_each_sampler_gets_its_panel_and_its_row(run, replace_metrics, knees):
    replace_metrics(run, lambda metrics: metrics["teacher"].update(truncated=metrics["teacher"]["heun"] | {"fd": 4.0}))
    save_gallery(run.samples / "gallery", "teacher.truncated", knees.teacher)
    page = build(run)
    assert "Against the teacher’s best sampler (truncated, at 4.00)" in page.text
    assert "What it was learned from, and the teacher’s other samplers" in page.text
    shown = [image["alt"].split(",")[0] for image in page.all("img")]
    assert shown[2] == "Samples of the teacher (truncated)"
    assert shown[4:6] == ["Measurements seen as images", "Samples of the teacher (heun)"]


def test_a_report_that_cannot_be_written_leaves_the_old_one(run, monkeypatch):
    run.report.write_text("old")

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "replace", full)
    with pytest.raises(OSError, match="No space"):
        build_report(run)
    assert run.report.read_text() == "old"
    assert not [path for path in run.path.glob(".*") if path.name != ".lock"]


def test_copying_is_called_copying_and_shown(run, replace_metrics):
    replace_metrics(run, lambda metrics: metrics["memorisation"].update(near_copies=60, share=0.12, p_value=1e-30))
    page = build(run)
    assert "The model repeats training data: 60 of 500 samples (12.0 %" in page.text
    shown = [image["alt"] for image in page.all("img") if "training measurements" in image.get("alt", "")]
    assert shown == ["Their nearest training measurements, 8 images"]
    assert "345" in page.text


def test_a_run_that_was_not_audited_says_so(run, replace_metrics):
    replace_metrics(run, lambda metrics: metrics.pop("memorisation"))
    assert "Not audited: nothing is known about whether the model repeats its data." in build(run).text


def test_several_seeds_show_their_spread(run, replace_metrics):
    def repeat(metrics):
        metrics["seeds"] = 3
        metrics["student"] |= {"fd_std": 0.0312, "recall_std": 0.02}

    replace_metrics(run, repeat)
    text = build(run).text
    assert "1.24 ± 0.031" in text
    assert "0.440 ± 0.020" in text
    assert "Means over 3 seeds, ± their standard deviation." in text
