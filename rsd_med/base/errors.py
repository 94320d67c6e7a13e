"""Errors a user can act on: one readable sentence each, with the exit code of the command line contract."""


class RsdMedError(Exception):
    """An error whose message is one sentence for a person: what is wrong, where, what to do."""

    exit_code = 1


class ProtocolError(RsdMedError):
    """The protocol or the command line is wrong (exit code 2)."""

    exit_code = 2


class DataError(RsdMedError):
    """A file or an array is missing, damaged or impossible (exit code 3)."""

    exit_code = 3


class DivergedError(RsdMedError):
    """Training left the finite numbers and cannot go on (exit code 4)."""

    exit_code = 4


class InterruptedRunError(RsdMedError):
    """The run stopped early but can be resumed: a signal, a full disk (exit code 75)."""

    exit_code = 75
