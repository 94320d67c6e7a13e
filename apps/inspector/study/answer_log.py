"""Answers on disk: one line each, there for good before the next question is asked."""

import json
import os
import secrets
import threading
from pathlib import Path
from typing import Any

from rsd_med.base.errors import DataError
from rsd_med.base.files import flush


class AnswerLog:
    """The answers of all readers of a study, in a private folder beside ``study.yaml``.

    A reader's answers are a file of their own, ``READER.jsonl``, only ever appended to: an answer that the reader
    changed stays there, and the line that changes it follows. ``key`` holds the secret that names images and gives the
    coordinator's code and the readers' PINs.

    Parameters
    ----------
    folder
        Made (0700) if it is not there.
    digest
        Of the study's settings: answers to another version are not mixed with these.

    Raises
    ------
    DataError
        If the folder cannot be used.
    """

    def __init__(self, folder: Path, digest: str) -> None:
        self.folder = folder
        self.digest = digest
        self._lock = threading.Lock()
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            self.key = self._find_key()
        except (OSError, ValueError) as problem:
            raise DataError(f"{folder.name}: the folder of the answers cannot be used ({problem})") from None

    def read(self, reader: str) -> list[dict[str, Any]]:
        """Return a reader's answers, in their order; of one that was changed, the last, with ``revised`` true.

        Raises
        ------
        DataError
            If a line other than a torn last one is damaged, or the answers belong to another version of the study.
        """
        path = self._path(reader)
        if not path.exists():
            return []
        lines = path.read_bytes().split(b"\n")
        answers: list[dict[str, Any]] = []
        for number, line in enumerate(lines[:-1]):
            try:
                answer = json.loads(line)
                revised = answer.setdefault("revised", False)
                if answer["trial"] != len(answers) - revised or answer["trial"] < 0:
                    raise ValueError
            except (ValueError, KeyError, TypeError):
                raise DataError(f"{path.name}, line {number + 1}: damaged; mend or remove the file") from None
            if answer["digest"] != self.digest:
                raise DataError(
                    f"{path.name}: these answers were given to another version of the study; move {self.folder.name} "
                    "away, or give the new version a name of its own"
                )
            answers[answer["trial"] :] = [answer]
        return answers

    def append(self, reader: str, answer: dict[str, Any]) -> bool:
        """Write an answer and wait until the disk has it.

        Parameters
        ----------
        reader
            Whose.
        answer
            With ``trial``, its number, and ``revised``, whether it takes the place of the last one.

        Returns
        -------
        bool
            False if it is neither the trial that comes next nor, ``revised``, the last one.

        Raises
        ------
        DataError
            If it cannot be written.
        """
        with self._lock:
            if answer["trial"] < 0 or answer["trial"] != len(self.read(reader)) - answer["revised"]:
                return False
            line = json.dumps({"digest": self.digest, **answer}, ensure_ascii=False) + "\n"
            try:
                self._append(self._path(reader), line.encode())
            except OSError as problem:
                raise DataError(f"The answer could not be saved ({problem.strerror}); tell the coordinator.") from None
        return True

    def _append(self, path: Path, line: bytes) -> None:
        new = not path.exists()
        file = os.open(path, os.O_RDWR | os.O_CREAT, 0o600)
        try:
            # What stands after the last line's end was being written when the machine stopped: it was never confirmed.
            content = path.read_bytes()
            end = content.rfind(b"\n") + 1
            os.ftruncate(file, end)
            os.lseek(file, end, os.SEEK_SET)
            written = os.write(file, line)
            if written < len(line):
                os.ftruncate(file, end)
                raise OSError(28, "the disk is full")
            os.fsync(file)
        finally:
            os.close(file)
        if new:
            flush(self.folder)

    def _path(self, reader: str) -> Path:
        return self.folder / f"{reader}.jsonl"

    def _find_key(self) -> bytes:
        path = self.folder / "key"
        try:
            file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        except FileExistsError:
            key = bytes.fromhex(path.read_text().strip())
            if len(key) != 32:
                raise ValueError("its key is damaged") from None
            return key
        key = secrets.token_bytes(32)
        with os.fdopen(file, "w") as opened:
            opened.write(key.hex() + "\n")
            opened.flush()
            os.fsync(opened.fileno())
        return key
