"""The shell of a command: one sentence and an exit code for whatever goes wrong."""

import errno
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from rsd_med.base.command import run_command
from rsd_med.base.errors import DataError, DivergedError, InterruptedRunError, ProtocolError

ROOT = Path(__file__).parents[2]


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
        (OSError(errno.EFBIG, "File too large", "state.pt"), 75, "a file was larger than may be written while writing"),
        (RuntimeError("I/O error: File too large (os error 27)"), 75, "a file was larger than may be written"),
        (OSError("write failed: errno = 27, error message = '…'"), 75, "a file was larger than may be written"),
        (OSError(errno.ENAMETOOLONG, "File name too long", "xxx"), 2, "xxx: file name too long"),
        (
            UnicodeEncodeError("utf-8", "scan M\udcfcller.h5", 6, 7, "surrogates not allowed"),
            3,
            "the name M\\xfcller.h5 ",
        ),
        (UnicodeEncodeError("ascii", "é", 0, 1, "ordinal not in range"), 1, "internal error: UnicodeEncodeError"),
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


def test_a_disk_that_is_full_while_a_file_is_copied_is_that_of_the_copy(capsys):
    assert run_command(raising(OSError(errno.ENOSPC, "no space", "original", None, "copy"))) == 75
    assert "while writing copy: free" in capsys.readouterr().err


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


@pytest.mark.parametrize("closed", ["0<&-", "1>&-", "2>&-", "0<&- 1>&- 2>&-"])
def test_closed_standard_streams_are_no_error(closed, tmp_path):
    """A daemon has none: nothing fails, and no file of the command becomes the place for what is said."""
    program = (
        "import os, sys\n"
        "from rsd_med.base.command import run_command\n"
        "def main():\n"
        "    file = open('first', 'w'); assert file.fileno() > 2\n"
        "    os.write(1, b'noise'); os.write(2, b'noise'); print('more'); print('more', file=sys.stderr)\n"
        "    file.write('mine'); file.close(); return 3\n"
        "sys.exit(run_command(main))\n"
    )
    (tmp_path / "program.py").write_text(program)
    shell = f"{sys.executable} program.py {closed}"
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(["sh", "-c", shell], cwd=tmp_path, env=environment, capture_output=True, text=True)
    assert done.returncode == 3, done.stderr
    assert "Traceback" not in done.stderr
    assert (tmp_path / "first").read_text() == "mine"


def test_a_file_size_limit_is_resumable_for_every_writer(tmp_path):
    """As on FAT32 or under ``ulimit -f``: arrays, HDF5, weights, checkpoints."""
    program = (
        "import resource, sys, numpy as np, torch\n"
        "from pathlib import Path\n"
        "from rsd_med.base.command import run_command\n"
        "from rsd_med.base.files import written_aside\n"
        "resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, 10_000))\n"
        "def hdf5(path):\n"
        "    import h5py\n"
        "    with h5py.File(path, 'w') as file: file['a'] = np.zeros(100_000)\n"
        "def weights(path):\n"
        "    from safetensors.torch import save_file\n"
        "    save_file({'a': torch.zeros(100_000)}, path)\n"
        "def state(path):\n"
        "    with path.open('wb') as file: torch.save(torch.zeros(100_000), file)\n"
        "writers = {'a.npy': lambda path: np.save(path, np.zeros(100_000)), 'a.h5': hdf5, 'a.safetensors': weights,\n"
        "    'a.pt': state, 'a.txt': lambda path: path.write_bytes(b'x' * 100_000)}\n"
        "def main(name):\n"
        "    with written_aside(Path(name)) as side: writers[name](side)\n"
        "print([run_command(lambda: main(name)) for name in writers])\n"
    )
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == "[75, 75, 75, 75, 75]", done.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
def test_a_request_to_end_leaves_nothing_half_written(tmp_path, number):
    program = (
        "import os, signal, sys\n"
        "from pathlib import Path\n"
        "from rsd_med.base.command import run_command\n"
        "from rsd_med.base.files import folder_written_aside\n"
        f"signal.signal({int(number)}, signal.SIG_DFL)\n"  # nohup, under which tests may run, ignores SIGHUP
        "def main():\n"
        "    with folder_written_aside(Path(sys.argv[1]) / 'out') as side:\n"
        "        (side / 'half').write_text('h')\n"
        f"        os.kill(os.getpid(), {int(number)})\n"
        "        signal.pause()\n"
        "sys.exit(run_command(main))\n"
    )
    ended = subprocess.run([sys.executable, "-c", program, tmp_path], capture_output=True, text=True, check=False)
    assert (ended.returncode, list(tmp_path.iterdir())) == (75, [])
    assert ended.stderr == "interrupted; run the same command again to go on\n"
    before = signal.getsignal(number)
    run_command(lambda: None)
    assert signal.getsignal(number) == before
