"""Errors a user can act on: one readable sentence each, with the exit code of the command line contract."""


class RsdMedError(Exception):
    """An error whose message is one sentence for a person: what is wrong, where, what to do."""

    exit_code = 1


class ProtocolError(RsdMedError):
    """The protocol or the command line is wrong (exit code 2)."""

    exit_code = 2


class DataError(RsdMedError):
    """A file or an array is missing, damaged or impossible (exit code 3).

    Parameters
    ----------
    message
        The sentence.
    item
        The id of the scan or image that it is about: said first where many are read, left out where one is shown.
    """

    exit_code = 3

    def __init__(self, message: str, *, item: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.item = item

    def __str__(self) -> str:
        return self.message if self.item is None else f"{self.item}: {self.message}"


class UndersampledError(DataError):
    """A scan was to be undersampled that has gaps already; how to leave that out is for each front end to say."""

    def __init__(self, item: str) -> None:
        super().__init__("the scan is undersampled already; leave --acceleration out.", item=item)


class FewLinesError(DataError):
    """Too few lines of a scan lie outside its centre to hide any; who asked may do without."""


class DivergedError(RsdMedError):
    """Training left the finite numbers and cannot go on (exit code 4)."""

    exit_code = 4


class InterruptedRunError(RsdMedError):
    """The run stopped early but can be resumed: a signal, a full disk (exit code 75)."""

    exit_code = 75
