"""Reads the flags of run.py: parsers of paths, --flagfile, and one line for each wrong value."""

import contextlib
import sys
from pathlib import Path

from absl import flags

from convnets.errors import UsageError
from convnets.runtime.files import local_path


class PathParser(flags.ArgumentParser):
    """Reads a flag that is a local path: expands `~`, refuses a URL."""

    def parse(self, argument: str) -> str:
        try:
            return str(local_path(argument)) if argument.startswith("~") or "://" in argument else argument
        except UsageError as e:
            raise ValueError(str(e)) from None


class PathListParser(PathParser):
    """Reads a flag of paths with commas between them; a comma within the name of an existing path does not split it."""

    def parse(self, argument: str | list[str]) -> list[str]:  # type: ignore[override]
        if isinstance(argument, list):  # the default
            return argument
        words, found = argument.split(","), list[str]()
        while words:
            names = [",".join(words[:n]) for n in range(len(words), 0, -1)]
            name = next(filter(_exists, names), words[0].strip())
            words = words[name.count(",") + 1 :]
            found += [super().parse(name)] if name else []
        return found


def _exists(name: str) -> bool:
    with contextlib.suppress(OSError, RuntimeError):  # a name that is too long, an unknown home folder
        return bool(name) and Path(name).expanduser().exists()
    return False


def expand_flagfiles(values: flags.FlagValues, argv: list[str]) -> list[str]:
    """Replaces every --flagfile by the arguments in that file; in sys.argv too, which the manifest quotes.

    Raises:
        UsageError: a file cannot be read, or the working directory is gone.
    """
    try:
        Path.cwd()
    except OSError:
        raise UsageError("the working directory does not exist any more; change to another one") from None
    try:
        sys.argv = [argv[0], *values.read_flags_from_files(argv[1:])]
    except (flags.Error, OSError, UnicodeDecodeError) as e:
        raise UsageError(f"--flagfile: {e}") from None
    return sys.argv


def parse_flags(values: flags.FlagValues, arguments: list[str]) -> list[str]:
    """Parses the flags and returns the arguments that are none; raises UsageError."""
    try:
        stray = values(arguments)[1:]
    except flags.IllegalFlagValueError as e:
        flag, _, why = str(e).replace("\n", " ").partition(": ")
        if "Non-boolean" in why:  # absl shows a tuple
            name = flag.removeprefix("flag --").partition("=")[0]
            why = f"it is --{name} or --no{name}, without a value"
        raise UsageError(f"{flag}: {why}") from None
    except flags.Error as e:
        raise UsageError(str(e).replace("\n", " ")) from None
    paths = [name for name in values if isinstance(values[name].parser, PathParser)]
    empty = [name for name in paths if values[name].present and not values[name].value]  # an unset shell variable
    if empty:
        raise UsageError("\n".join(f"--{name} is empty; give a path" for name in empty))
    return stray
