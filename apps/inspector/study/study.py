"""A running study: what a reader sees next, and what becomes of the answer. Arms stay on the server until analysis."""

import hashlib
import hmac
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import numpy as np

from rsd_med import __version__
from rsd_med.base.errors import DataError

from .answer_log import AnswerLog
from .export import to_csv
from .images import StudyImage, check_images, read_image
from .settings import EQUAL, REAL, SYNTHETIC, StudySettings, read_study
from .trials import Trial, opaque_id, trials_of

LETTERS = "ABCDEF"
LONGEST_COMMENT = 2000
_DAY_MS = 86_400_000


class Study:
    """A reader study and its answers.

    Parameters
    ----------
    path
        ``study.yaml``. Answers are kept in ``NAME-answers`` beside it.

    Raises
    ------
    ProtocolError
        If the file says something that a study cannot be.
    DataError
        If an image cannot be read, or the answers there belong to another version of the study.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.settings: StudySettings = read_study(path)
        check_images(path, self.settings)
        digest = hashlib.sha256(self.settings.model_dump_json().encode()).hexdigest()[:16]
        self.answer_log = AnswerLog(path.parent / f"{self.settings.name}-answers", digest)
        self._cases = {case.id: case for case in self.settings.cases}
        self._trials = {reader: trials_of(self.settings, reader) for reader in self.settings.readers}
        for reader in self.settings.readers:
            self.answer_log.read(reader)

    @property
    def coordinator_code(self) -> str:
        """Return what opens the analysis; ``python -m apps.inspector.study STUDY.yaml --code`` prints it."""
        return hmac.new(self.answer_log.key, b"coordinator", hashlib.sha256).hexdigest()[:20]

    def is_coordinator(self, code: str) -> bool:
        """Tell whether a code is the coordinator's, in a time that does not depend on how much of it is right."""
        return hmac.compare_digest(code.encode(), self.coordinator_code.encode())

    def pin(self, reader: str) -> str:
        """Return a reader's PIN, six digits; ``python -m apps.inspector.study STUDY.yaml --pins`` prints them all."""
        digest = hmac.new(self.answer_log.key, f"pin\x1f{reader}".encode(), hashlib.sha256).digest()
        return f"{int.from_bytes(digest[:8]) % 1_000_000:06d}"

    def is_reader(self, reader: str, pin: str) -> bool:
        """Tell whether a PIN is a reader's; False for a reader that the study does not have."""
        right = hmac.compare_digest(pin.encode(), self.pin(reader).encode())
        return right and reader in self._trials

    def current(self, reader: str, back: int = 0) -> Trial | None:
        """Return the question a reader has not answered yet, or (``back`` 1) the one before; None if there is none."""
        number = len(self.answer_log.read(reader)) - back
        trials = self._trials[reader]
        return trials[number] if 0 <= number < len(trials) else None

    def describe(self, reader: str, *, back: bool = False) -> dict[str, Any]:
        """Return what the page may know of the question: images under opaque ids, no arm, no case, no file name.

        Parameters
        ----------
        reader
            Who is asked.
        back
            Whether to show the question before again, with the answer that was given.
        """
        trial = self.current(reader, int(back))
        total = len(self._trials[reader])
        if trial is None:
            return {"done": not back, "total": total, "answered": total}
        files = self._files(trial)
        names = [f"Image {LETTERS[i]}" for i in range(len(trial.arms))] if len(trial.arms) > 1 else ["Image"]
        if len(files) > len(trial.arms):
            names.append("Reference")
        images = [read_image(self.path, file) for file in files]
        affine = _common_affine(images)
        return {
            "done": False,
            "trial": trial.number,
            "total": total,
            "answered": trial.number + back,
            "given": self._given(trial, self.answer_log.read(reader)[-1]) if back else None,
            "choices": self._choices(trial),
            "panes": [
                self._describe_image(opaque_id(self.answer_log.key, reader, trial.number, place), name, image, affine)
                for place, (name, image) in enumerate(zip(names, images, strict=True))
            ],
        }

    def image(self, reader: str, opaque: str) -> np.ndarray | None:
        """Return an image of the reader's present question or of the one before, (z, y, x); None for any other id."""
        for trial in filter(None, (self.current(reader, back) for back in (0, 1))):
            for place, file in enumerate(self._files(trial)):
                own = opaque_id(self.answer_log.key, reader, trial.number, place)
                if hmac.compare_digest(opaque.encode(), own.encode()):
                    return read_image(self.path, file).values
        return None

    def answer(self, reader: str, session: str, given: dict[str, Any]) -> bool:
        """Check an answer and save it for good.

        Parameters
        ----------
        reader
            Who answers; one of the study's readers.
        session
            Name of the visit.
        given
            ``trial``, ``choice`` (a place from 0, a list of places from best to worst, or a word), and what was
            observed: ``confidence``, ``comment``, ``response_ms``, ``window``, ``zoomed``. With ``revise`` true it
            takes the place of the answer before.

        Returns
        -------
        bool
            False if that question is not the one that may be answered now: it has been answered already.

        Raises
        ------
        DataError
            If the answer is none to the question, or cannot be saved.
        """
        revise = given.get("revise") is True
        trial = self.current(reader, int(revise))
        if trial is None or given.get("trial") != trial.number:
            return False
        confidence = given.get("confidence")
        if self.settings.confidence and not _is_whole(confidence, 1, 5):
            raise DataError("Please say how sure you are, from 1 to 5.")
        elapsed, window = given.get("response_ms"), given.get("window")
        low, high = window if isinstance(window, list) and len(window) == 2 else (None, None)
        arms = trial.arms
        return self.answer_log.append(
            reader,
            {
                "study_id": self.settings.name,
                "reader": reader,
                "session": session,
                "question": self.settings.question.kind,
                "case": trial.case,
                "trial": trial.number,
                "repeat": trial.repeat,
                "revised": revise,
                "arms": list(arms),
                "choice": self._understand(trial, given.get("choice")),
                "confidence": confidence if self.settings.confidence else None,
                "comment": str(given.get("comment") or "")[:LONGEST_COMMENT] if self.settings.comments else "",
                "answered_utc": datetime.now(UTC).isoformat(timespec="milliseconds"),
                "response_ms": elapsed if _is_whole(elapsed, 0, _DAY_MS) else None,
                "window_low": _finite(low),
                "window_high": _finite(high),
                "zoomed": given.get("zoomed") is True,
                "app_version": __version__,
            },
        )

    def answers(self) -> list[dict[str, Any]]:
        """Return the answers of all readers, in the order of the readers."""
        return [answer for reader in self.settings.readers for answer in self.answer_log.read(reader)]

    def csv(self) -> str:
        """Return all answers as CSV."""
        return to_csv(
            {
                **answer,
                "arms": "|".join(answer["arms"]),
                "arm_left": answer["arms"][0],
                "arm_right": answer["arms"][1] if len(answer["arms"]) == 2 else "",
            }
            for answer in self.answers()
        )

    def _given(self, trial: Trial, answer: dict[str, Any]) -> dict[str, Any]:
        """Return an answer as the page gave it: places, not arms."""
        choice = answer["choice"]
        if self.settings.question.kind == "ranking":
            choice = [trial.arms.index(arm) for arm in choice.split(">")]
        elif choice in trial.arms and self.settings.question.kind == "preference":
            choice = trial.arms.index(choice)
        return {"choice": choice, "confidence": answer["confidence"], "comment": answer["comment"]}

    def _files(self, trial: Trial) -> list[str]:
        case = self._cases[trial.case]
        return [*(case.images[arm] for arm in trial.arms), *([case.reference] if case.reference else [])]

    def _choices(self, trial: Trial) -> list[dict[str, Any]]:
        question = self.settings.question
        if question.kind == "real_or_synthetic":
            return [{"value": REAL, "label": "Real"}, {"value": SYNTHETIC, "label": "Synthetic"}]
        places = [{"value": place, "label": f"Image {LETTERS[place]}"} for place in range(len(trial.arms))]
        if question.kind == "preference" and question.allow_equal:
            places.append({"value": EQUAL, "label": "No difference"})
        return places

    def _understand(self, trial: Trial, choice: Any) -> str:
        """Turn places into arms: what the page cannot know."""
        question, count = self.settings.question, len(trial.arms)
        if question.kind == "real_or_synthetic" and choice in (REAL, SYNTHETIC):
            return str(choice)
        if question.kind == "preference":
            if choice == EQUAL and question.allow_equal:
                return EQUAL
            if _is_whole(choice, 0, count - 1):
                return trial.arms[choice]
        complete = isinstance(choice, list) and all(_is_whole(place, 0, count - 1) for place in choice)
        if question.kind == "ranking" and complete and sorted(choice) == list(range(count)):
            return ">".join(trial.arms[place] for place in choice)
        raise DataError("Please choose one of the answers; a ranking gives every image a rank of its own.")

    def _describe_image(self, opaque: str, title: str, image: StudyImage, affine: np.ndarray | None) -> dict[str, Any]:
        from ..viewer.page import describe
        from ..web.artefacts import Pane

        matrix = None if affine is None else tuple(tuple(row) for row in affine.tolist())
        spacing = image.spacing or self.settings.spacing_mm
        pane = Pane(opaque, title, self.settings.unit, self.settings.window, matrix, spacing)
        return {**describe(pane, image.values.shape), "source": f"/study/image/{opaque}"}


def _common_affine(images: list[StudyImage]) -> np.ndarray | None:
    """Return the affine of all images; None unless they share it, since a difference would tell them apart."""
    first = images[0].affine
    if first is None or any(image.affine is None or not np.allclose(image.affine, first) for image in images):
        return None
    return first


def _is_whole(value: Any, low: int, high: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high


def _finite(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and np.isfinite(value) else None
