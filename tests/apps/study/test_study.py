"""A study's life without a browser: what is shown, what is kept, what comes out."""

import csv
import io
import json
import re
from collections import Counter

import numpy as np
import pytest

from apps.inspector.csv_cells import safe_cell
from apps.inspector.study.__main__ import main
from apps.inspector.study.analysis import analyse
from apps.inspector.study.export import to_csv
from apps.inspector.study.settings import StudySettings, read_study
from apps.inspector.study.study import Study
from apps.inspector.study.trials import trials_of
from rsd_med.base.errors import DataError, ProtocolError
from tests.apps.study.conftest import PREFERENCE, write_study


def work(study: Study, reader: str, choose, **given) -> None:
    """Answer all open questions; ``choose`` gets the trial."""
    while (trial := study.current(reader)) is not None:
        answer = {"trial": trial.number, "choice": choose(trial), "confidence": 4, **given}
        assert study.answer(reader, "visit", answer)


def settings_of(tmp_path, *changes, **more):
    text = PREFERENCE
    for old, new in changes:
        assert old in text
        text = text.replace(old, new)
    return write_study(tmp_path, text, **more)


def drawn_study(arms: int, cases: int, kind: str = "preference", **more) -> StudySettings:
    names = tuple("abcd"[:arms])
    listed = [{"id": f"c{i}", "images": dict.fromkeys(names, "x.npy")} for i in range(cases)]
    given = {"seed": 20261120, "readers": tuple(f"r{i}" for i in range(5)), **more}
    return StudySettings(name="s", question={"kind": kind}, arms=names, cases=listed, window=(0, 1), **given)


def test_order_is_drawn_by_reader_and_both_follow_from_the_seed():
    settings = drawn_study(2, 30)
    first = trials_of(settings, "r1")
    assert first == trials_of(settings, "r1")
    assert [trial.case for trial in first] != [trial.case for trial in trials_of(settings, "r2")]
    left = [tuple(t.arms[0] for t in trials_of(drawn_study(2, 30, seed=seed), "r1")) for seed in range(8)]
    assert len(set(left)) == 8


@pytest.mark.parametrize(("arms", "kind"), [(2, "preference"), (3, "preference"), (3, "ranking"), (4, "ranking")])
@pytest.mark.parametrize("cases", [7, 12])
def test_every_arm_stands_at_every_place_equally_often_within_reader_and_within_case(arms, kind, cases):
    settings = drawn_study(arms, cases, kind, repeats=0.5)
    counts: Counter = Counter()
    for reader in settings.readers:
        trials = trials_of(settings, reader)
        for trial in trials:
            if trial.repeat:  # the other way round than the first time
                (first,) = (t for t in trials if not t.repeat and t.case == trial.case and {*t.arms} == {*trial.arms})
                assert trial.arms == first.arms[::-1]
                continue
            for place, arm in enumerate(trial.arms):
                shown = (frozenset(trial.arms), arm)
                counts["reader", reader, shown, place] += 1
                counts["case", trial.case, shown, place] += 1
    together = arms if kind == "ranking" else 2
    for unit, total in (("reader", cases), ("case", len(settings.readers))):
        own = [count for (what, *_), count in counts.items() if what == unit]
        assert max(own) - min(own) <= 1
        assert max(own) == -(-total // together)


def test_repeats_come_late_and_once(tmp_path):
    settings = read_study(settings_of(tmp_path, cases=40))
    for reader in settings.readers:
        trials = trials_of(settings, reader)
        assert [trial.number for trial in trials] == list(range(50))
        repeats = [trial for trial in trials if trial.repeat]
        assert len(repeats) == len({trial.case for trial in repeats}) == 10
        firsts = {trial.case: trial.number for trial in trials if not trial.repeat}
        assert len(firsts) == 40
        assert all(firsts[trial.case] < 20 <= trial.number for trial in repeats)


def test_with_three_arms_every_pair_is_shown(tmp_path):
    arms = ("student", "wavelet", "reference")
    changes = [("arms: [student, wavelet]", "arms: [student, wavelet, reference]"), ("0.25", "0")]
    settings = read_study(settings_of(tmp_path, *changes, arms=arms))
    pairs = Counter(tuple(sorted(trial.arms)) for trial in trials_of(settings, "r1"))
    assert pairs == dict.fromkeys((("student", "wavelet"), ("reference", "student"), ("reference", "wavelet")), 4)


def test_what_the_page_knows_names_neither_arm_nor_case_nor_file(study_path):
    study = Study(study_path)
    seen = set()
    for _ in range(2):
        text = json.dumps(study.describe("r1"))
        assert not re.search(r'student|wavelet|"c\d|npy|knees', text)
        seen |= set(re.findall(r"/study/image/(\w+)", text))
        study.answer("r1", "visit", {"trial": study.current("r1").number, "choice": 0, "confidence": 1})
    assert len(seen) == 4  # never the same name twice
    assert not seen & set(re.findall(r"/study/image/(\w+)", json.dumps(study.describe("r2"))))


def test_only_the_open_question_s_images_are_given(study_path):
    study = Study(study_path)
    trial = study.current("r1")
    ids = [pane["source"].rsplit("/", 1)[1] for pane in study.describe("r1")["panes"]]
    for place, opaque in enumerate(ids):
        mark = 0.05 * (("student", "wavelet").index(trial.arms[place]) + 1)
        assert study.image("r1", opaque)[0, 0, 0] == np.float32(mark)
    assert study.image("r2", ids[0]) is None
    assert study.image("r1", "0" * 32) is None
    assert study.image("r1", "ä") is None
    study.answer("r1", "visit", {"trial": 0, "choice": 1, "confidence": 1})
    assert study.image("r1", ids[0]) is not None  # one step back is open
    study.answer("r1", "visit", {"trial": 1, "choice": 1, "confidence": 1})
    assert study.image("r1", ids[0]) is None


def test_an_answer_is_on_disk_once_and_work_goes_on_where_it_stopped(study_path):
    study = Study(study_path)
    trial = study.current("r1")
    assert study.answer("r1", "visit", {"trial": 0, "choice": 1, "confidence": 5, "comment": "x" * 9000})
    assert not study.answer("r1", "visit", {"trial": 0, "choice": 0, "confidence": 5})
    file = study_path.parent / "knees-answers" / "r1.jsonl"
    assert file.stat().st_mode & 0o777 == 0o600
    (line,) = file.read_text().splitlines()
    kept = json.loads(line)
    assert kept["choice"] == trial.arms[1]
    assert len(kept["comment"]) == 2000
    again = Study(study_path)
    assert again.current("r1").number == 1
    assert again.current("r2").number == 0
    assert again.coordinator_code == study.coordinator_code
    # The machine stopped in the middle of a line: that answer was never confirmed, and is asked for again.
    with file.open("a") as torn:
        torn.write('{"trial": 1, "choi')
    assert Study(study_path).answer("r1", "visit", {"trial": 1, "choice": 0, "confidence": 5})
    assert len(file.read_text().splitlines()) == 2
    assert Study(study_path).current("r1").number == 2


def test_answers_to_another_version_are_not_mixed(study_path):
    study = Study(study_path)
    study.answer("r1", "visit", {"trial": 0, "choice": 1, "confidence": 5})
    study_path.write_text(study_path.read_text().replace("seed: 7", "seed: 8"))
    with pytest.raises(DataError, match="another version of the study"):
        Study(study_path)


def test_a_damaged_line_is_named(study_path):
    study = Study(study_path)
    study.answer("r1", "visit", {"trial": 0, "choice": 1, "confidence": 5})
    file = study_path.parent / "knees-answers" / "r1.jsonl"
    file.write_text("nonsense\n" + file.read_text())
    with pytest.raises(DataError, match=r"r1\.jsonl, line 1"):
        Study(study_path)


@pytest.mark.parametrize(
    "given",
    [
        {"choice": 2}, {"choice": -1}, {"choice": True}, {"choice": "student"}, {"choice": None}, {"choice": [0, 1]},
        {"choice": "real"}, {"choice": 0, "confidence": 6}, {"choice": 0, "confidence": "5"},
    ],
)  # fmt: skip
def test_what_is_no_answer_is_refused_and_not_kept(study_path, given):
    study = Study(study_path)
    with pytest.raises(DataError, match="Please"):
        study.answer("r1", "visit", {"trial": 0, "confidence": 1, **given})
    assert study.current("r1").number == 0


@pytest.mark.parametrize(
    ("old", "new", "complaint"),
    [
        ("window: [0, 1]", "window: [1, 1]", "rising"),
        ("arms: [student, wavelet]", "arms: [student, other]", "none of the arms"),
        ("arms: [student, wavelet]", "arms: [student, Student]", "twice"),
        ("readers: [r1, r2]", "readers: [../r1]", "pattern"),
        ("kind: preference", "kind: prefer", "there is no kind"),
        ("student-0.npy", "../student-0.npy", "outside the study's folder"),
        ("student-0.npy", "/etc/passwd", "outside the study's folder"),
        ("student-0.npy", "absent.npy", "there is no file"),
        ("seed: 7", "seed: !!python/object:os.system 7", "tag"),
    ],
)
def test_a_study_that_cannot_be_says_why(study_path, old, new, complaint):
    text = study_path.read_text()
    assert old in text
    study_path.write_text(text.replace(old, new, 1))
    with pytest.raises(ProtocolError, match=re.escape(complaint)):
        read_study(study_path)


def test_arms_must_not_differ_in_size(study_path):
    np.save(study_path.parent / "wavelet-2.npy", np.zeros((3, 8, 7), np.float32))
    with pytest.raises(DataError, match=r"c2 differ in size: student 3x8x6, wavelet 3x8x7"):
        Study(study_path)


@pytest.mark.parametrize("content", [b"", b"\x93NUMPY garbage", b"cos\nsystem\n(S'true'\ntR."])
def test_damaged_images_are_named(study_path, content):
    (study_path.parent / "wavelet-2.npy").write_bytes(content)
    with pytest.raises(DataError, match=r"wavelet-2\.npy"):
        Study(study_path)


def test_the_analysis_finds_a_preference_and_self_agreement(tmp_path):
    study = Study(settings_of(tmp_path, cases=40))
    work(study, "r1", lambda trial: trial.arms.index("student"))
    # The second reader likes the student too, except where the case's number ends in 0, and is equal about c5.
    work(
        study,
        "r2",
        lambda trial: (
            "equal" if trial.case == "c5" else trial.arms.index("wavelet" if trial.case[-1] == "0" else "student")
        ),
    )
    tables = {table.title: table for table in analyse(study.settings, study.answers())}
    (row,) = tables["Preference"].rows
    assert row[:4] == ("student over wavelet", "75 : 4", "1", "95 % (88 % to 98 %)")
    assert row[5] == "< 0.001"
    agreement = {row[0]: row[1:] for row in tables["Agreement"].rows}
    assert agreement["r1 with themselves (Cohen)"] == ("none", "100 % (72 % to 100 %)", "10")
    assert agreement["r1 with r2 (Cohen)"][1].startswith("88 %")
    strengths = tables["Bradley–Terry strengths"].rows
    assert strengths[0][0] == "student"
    assert tables["Answers"].rows[0][1:3] == ("50", "10")


def test_telling_real_from_synthetic(tmp_path):
    changes = [
        ("question: {kind: preference, allow_equal: true}", "question: {kind: real_or_synthetic, real: scan}"),
        ("arms: [student, wavelet]", "arms: [scan, student]"),
        ("repeats: 0.25", "repeats: 0"),
    ]
    study = Study(settings_of(tmp_path, *changes, arms=("scan", "student"), cases=20))
    assert {len(trial.arms) for trial in trials_of(study.settings, "r1")} == {1}
    # Finds all but every fourth synthetic image, and takes every real one for real.
    work(study, "r1", lambda t: "synthetic" if t.arms[0] == "student" and int(t.case[1:]) % 4 else "real")
    tables = {table.title: table for table in analyse(study.settings, study.answers())}
    rows = tables["Telling real from synthetic (a coin gets 50 %)"].rows
    assert rows[0][1].startswith("88 %")
    assert rows[0][3].startswith("75 %")
    assert rows[0][4].startswith("100 %")
    assert [row[1][:4] for row in tables["Called real, by arm"].rows] == ["100 ", "25 %"]


def test_ranking(tmp_path):
    arms = ("student", "teacher", "wavelet")
    changes = [
        ("question: {kind: preference, allow_equal: true}", "question: {kind: ranking}"),
        ("arms: [student, wavelet]", "arms: [student, teacher, wavelet]"),
    ]
    study = Study(settings_of(tmp_path, *changes, arms=arms, cases=8))
    with pytest.raises(DataError, match="rank of its own"):
        study.answer("r1", "visit", {"trial": 0, "choice": [0, 0, 1], "confidence": 1})
    best_first = lambda order: lambda trial: [trial.arms.index(arm) for arm in order]  # noqa: E731
    work(study, "r1", best_first(("teacher", "student", "wavelet")))
    work(study, "r2", best_first(("student", "teacher", "wavelet")))
    tables = {table.title: table for table in analyse(study.settings, study.answers())}
    assert [row[:2] for row in tables["Ranks (1 is best)"].rows] == [
        ("student", "1.50 (1.50 to 1.50)"),
        ("teacher", "1.50 (1.50 to 1.50)"),
        ("wavelet", "3.00 (3.00 to 3.00)"),
    ]
    assert "cannot be fitted" in tables["Bradley–Terry strengths"].rows[0][0]
    assert tables["Agreement"].rows[-1][:2] == ("all readers (Kendall's W, mean over cases)", "0.75")


def test_the_last_answer_can_be_changed_and_no_other(study_path):
    study = Study(study_path)
    assert study.describe("r1", back=True)["done"] is False  # nothing to go back to, and not the end either
    assert "panes" not in study.describe("r1", back=True)
    given = {"choice": 0, "confidence": 5, "comment": "sharper"}
    assert study.answer("r1", "visit", {"trial": 0, **given})
    shown = study.describe("r1", back=True)
    assert (shown["trial"], shown["given"]) == (0, given)
    arms = study.current("r1", 1).arms
    assert study.answer("r1", "visit", {"trial": 0, "choice": 1, "confidence": 2, "revise": True})
    assert not study.answer("r1", "visit", {"trial": 1, "choice": 1, "confidence": 2, "revise": True})
    assert study.answer("r1", "visit", {"trial": 1, **given})
    assert not study.answer("r1", "visit", {"trial": 0, **given, "revise": True})
    kept = Study(study_path).answers()
    assert [(one["choice"], one["confidence"], one["revised"]) for one in kept] == [
        (arms[1], 2, True),
        (study.current("r1", 1).arms[0], 5, False),
    ]
    lines = (study_path.parent / "knees-answers" / "r1.jsonl").read_text().splitlines()
    assert json.loads(lines[0])["choice"] == arms[0]  # what was said first is not lost
    assert len(lines) == 3


def test_a_preference_for_a_side_is_reported(tmp_path):
    study = Study(settings_of(tmp_path, cases=40))
    work(study, "r1", lambda trial: 0)  # always left
    work(study, "r2", lambda trial: trial.arms.index("student"))
    tables = {table.title: table for table in analyse(study.settings, study.answers())}
    rows = {row[0]: row[1:] for row in tables["Sides"].rows}
    assert rows["r1"][0].startswith("20 : 20")  # how often the student was on the left
    assert rows["r1"][1].startswith("100 %")
    assert rows["r1"][2] == "< 0.001"
    assert rows["r1"][3] == "10 of 10"  # took the same side when the images were turned
    assert rows["r2"][1].startswith("50 %")
    assert rows["r2"][2] == "1.000"
    assert rows["r2"][3] == "0 of 10"


@pytest.mark.parametrize(
    "text",
    ["=1+1", "+1", "-1", "@SUM(A1)", "\t=1", "\r=1", "  =1", "＝1", '=HYPERLINK("http://x")', '"=1+1"', "fine;=1+1"]
    + [f'fine{sign}{gap}{begin}cmd("x")' for sign in ";,|\t\n" for gap in ("", " ", '"', "'") for begin in "=+-@"],
)
def test_no_cell_is_a_formula_whatever_parts_cells(text):
    page = to_csv([{"comment": text, "response_ms": -5, "study_id": "knees", "zoomed": False}])
    rows = list(csv.reader(io.StringIO(page, newline="")))
    cells = dict(zip(*rows, strict=True))
    assert cells["comment"].replace("'", "") == text.replace("'", "")
    assert cells["response_ms"] == "-5"
    assert '"knees"' in page
    for delimiter in ",;|\t":
        for quoting in (csv.QUOTE_MINIMAL, csv.QUOTE_NONE):
            for row in csv.reader(re.split(r"[\r\n]+", page), delimiter=delimiter, quoting=quoting):
                assert not [cell for cell in row if cell.strip(' "')[:1] in tuple("=+-@＝") and cell != "-5"]
    assert safe_cell("a=b\x00") == "a=b"


def test_the_command_checks_counts_and_exports(study_path, tmp_path, capsys):
    study = Study(study_path)
    work(study, "r1", lambda _: 0, comment='=cmd|"/c calc"!A1, "quoted"\nsecond line')
    assert main([str(study_path)]) == 0
    assert capsys.readouterr().out.startswith("r1: 5 of 5 answered\nr2: 0 of 5 answered\n")
    assert main([str(study_path), "--pins"]) == 0
    pins = dict(line.split(": ") for line in capsys.readouterr().out.splitlines())
    assert pins == {"r1": study.pin("r1"), "r2": study.pin("r2")}
    assert all(re.fullmatch(r"\d{6}", pin) for pin in pins.values())
    assert study.is_reader("r1", pins["r1"])
    assert not any(study.is_reader(*wrong) for wrong in (("r1", pins["r2"]), ("r1", ""), ("r3", study.pin("r3"))))
    out = tmp_path / "out.csv"
    assert main([str(study_path), "--csv", str(out), "--analysis", "--code"]) == 0
    printed = capsys.readouterr().out
    assert study.coordinator_code in printed
    assert "Preference" in printed
    with out.open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    assert [row["trial"] for row in rows] == ["0", "1", "2", "3", "4"]
    assert all(row["choice"] == row["arm_left"] and row["comment"].startswith("'=cmd") for row in rows)
