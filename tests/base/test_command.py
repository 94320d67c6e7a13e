"""The shell of a command: one sentence and an exit code for whatever goes wrong."""

import errno
import os
import subprocess
import sys

import pytest

from rsd_med.base.command import run_command
from rsd_med.base.errors import DataError, DivergedError, InterruptedRunError, ProtocolError


def raising(error: BaseException):
    def main() -> None:
        raise error

    return main


class OutOfMemoryError(RuntimeError):
    """Named like torch's."""


@pytest.mark.parametrize(("returned", "code"), [(None, 0), (0, 0), (3, 3)])
def test_what_the_command_returns_is_the_exit_code(returned, code, capsys):
    assert run_command(lambda: returned) == code
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("error", "code", "sentence"),
    [
        (ProtocolError("student.alpha: must be greater than 0 (got -1)"), 2, "student.alpha: must be greater"),
        (DataError("scan.h5: is truncated"), 3, "scan.h5: is truncated"),
        (DivergedError("the loss is NaN"), 4, "the loss is NaN"),
        (InterruptedRunError("stopped by SIGTERM"), 75, "stopped by SIGTERM"),
        (
            OSError(errno.ENOSPC, "No space left on device", "state.pt"),
            75,
            "no space left on the disk while writing st",
        ),
        (OSError(errno.EDQUOT, "Disk quota exceeded"), 75, "no space left on the disk: free some"),
        (
            OSError("Can't write data (file write failed: errno = 28, error message = '…')"),
            75,
            "no space left on the d",
        ),
        (RuntimeError("I/O error: No space left on device (os error 28)"), 75, "no space left on the disk"),
        (OSError("102400 requested and 10208 written"), 75, "no space left on the disk"),  # numpy.save
        (PermissionError(errno.EACCES, "Permission denied", "runs/x"), 2, "runs/x: permission denied"),
        (FileNotFoundError(errno.ENOENT, "No such file or directory", "a.h5"), 2, "a.h5: no such file or directory"),
        (OSError(errno.EIO, "Input/output error"), 1, "the system refused: input/output error"),
        (OSError("odd"), 1, "the system refused: odd"),
        (MemoryError(), 1, "out of memory: in training, let a network see fewer"),
        (OutOfMemoryError("CUDA out of memory."), 1, "out of memory: in training, let a network see fewer"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried"), 1, "out of memory"),
        (ValueError("two\nlines"), 1, "internal error: ValueError: two lines; run again with RSD_MED_DEBUG=1"),
        (KeyError(), 1, "internal error: KeyError: no message"),
    ],
)
def test_an_error_is_one_sentence_and_its_code(error, code, sentence, capsys, monkeypatch):
    monkeypatch.delenv("RSD_MED_DEBUG", raising=False)
    assert run_command(raising(error)) == code
    shown = capsys.readouterr().err
    assert shown.startswith(f"error: {sentence}")
    assert shown.count("\n") == 1
    assert "Traceback" not in shown


def test_a_full_disk_is_found_behind_another_error(capsys):
    def main() -> None:
        try:
            raise OSError(errno.ENOSPC, "No space left on device")
        except OSError as error:
            raise RuntimeError("unexpected pos 64 vs 0") from error

    assert run_command(main) == 75
    assert "no space left" in capsys.readouterr().err


def test_interruption_is_resumable(capsys):
    assert run_command(raising(KeyboardInterrupt())) == 75
    assert capsys.readouterr().err == "interrupted; run the same command again to go on\n"


def test_wrong_arguments_and_help_pass_through():
    with pytest.raises(SystemExit) as caught:
        run_command(raising(SystemExit(2)))
    assert caught.value.code == 2


def test_the_traceback_is_there_for_who_asks(capsys, monkeypatch):
    monkeypatch.setenv("RSD_MED_DEBUG", "1")
    assert run_command(raising(ValueError("why"))) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_reader_that_goes_away_leaves_no_complaint():
    program = (
        "import sys\n"
        "from rsd_med.base.command import run_command\n"
        "sys.exit(run_command(lambda: [print('x' * 80) for _ in range(100_000)] and None))\n"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", program], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=os.environ
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.readline()
    process.stdout.close()
    with process.stderr:
        complaints = process.stderr.read()
    assert process.wait() == 141
    assert complaints == b""


@pytest.mark.skipif(not os.path.exists("/dev/full"), reason="Linux has a disk that is always full, other systems not")
def test_no_space_on_a_really_full_disk():
    def main() -> None:
        with open("/dev/full", "w") as file:
            file.write("x" * 100_000)

    assert run_command(main) == 75


def test_the_shell_imports_nothing_heavy():
    program = "import sys, rsd_med.base.command; print(sorted({'torch', 'pydantic', 'numpy'} & set(sys.modules)))"
    shown = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert shown.stdout.strip() == "[]"
