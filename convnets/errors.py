"""Error classes, each with an exit code that scripts and schedulers may rely on."""


class Error(Exception):
    """A failure with a one-line explanation; `run.py` prints it and exits with `code`."""

    code = 1


class UsageError(Error):
    """A wrong flag, config value or argument."""

    code = 2


class DataError(Error):
    """A data set is missing, incomplete or damaged."""

    code = 3


class DivergedError(Error):
    """Training produced NaN or infinity."""

    code = 4


class CheckpointError(Error):
    """A checkpoint cannot be written, or does not fit the program that reads it."""

    code = 5


class Preempted(Error):
    """The process was asked to stop and saved its state; this is not a failure.

    The same command resumes, so a scheduler may requeue it (sysexits' EX_TEMPFAIL).
    """

    code = 75


def first_line(e: BaseException) -> str:
    """Returns the first line of the message of an error that another program raised; its type if there is none."""
    return next(iter(str(e).strip().splitlines()), type(e).__name__)
