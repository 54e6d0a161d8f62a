"""keensight's own errors. A message says what was given, what is accepted, and what to do next."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

PAGES = "https://github.com/keensight/keensight/blob/main/docs/"  # an installed keensight has no docs folder


class KeensightError(Exception):
    """It failed for a reason that the user can act on: exit status 1, one paragraph, no traceback."""

    exit_status = 1


class DataError(KeensightError):
    """The pictures, labels, archive, manifest or array cannot be used as they are."""


class PatternError(DataError):
    """No picture's name or path fits the label pattern."""


class PictureError(DataError):
    """One picture cannot be read. Readers of many pictures name it, count it and go on."""


class TooManyPixelsError(PictureError):
    """It is larger than any picture that is decoded here."""


class TooMuchWorkError(PictureError):
    """It would take longer to decode than a picture of its size should."""


class MissingDecoderError(PictureError):
    """It is in a format whose decoder is not installed."""


class RecipeError(KeensightError):
    """The recipe asks for something that does not exist or cannot work on this data."""


class RunError(KeensightError):
    """A run folder cannot be used: taken, finished already, or not a run."""


class BundleError(KeensightError):
    """A bundle is missing, incomplete, or does not fit what is asked of it."""


class ModelFileError(KeensightError):
    """A model's file from elsewhere cannot be imported."""


class SigningKeyError(KeensightError):
    """A key to sign or to verify with is missing, of the wrong kind, or locked with another password."""


class TrainingError(KeensightError):
    """Training cannot go on: a loss that is not a number, or memory that ran out."""


class UsageError(KeensightError):
    """The command line or the arguments of a verb make no sense: exit status 2."""

    exit_status = 2


class GateError(KeensightError):
    """A gate refused: a signature, parity with the trainer, or a promise that was not kept. Exit status 3."""

    exit_status = 3


def suggestion(name: str, known: Iterable[str]) -> str:
    """Return ``Did you mean 'x'? `` for the known name nearest to `name`, or an empty string.

    >>> suggestion("learning_rat", ["learning_rate", "epochs"])
    "Did you mean 'learning_rate'? "
    >>> suggestion("nonsense", ["seed", "epochs"]), suggestion("Dogs", ["dog", "cat"])
    ('', "Did you mean 'dog'? ")
    """
    import difflib  # imported here, as `--help` needs no suggestions

    by_small = {each.casefold(): each for each in known}
    near = 0.5 if len(name) <= 3 else 0.6  # of two letters, one may be wrong
    nearest = difflib.get_close_matches(name.casefold(), list(by_small), n=1, cutoff=near)
    return f"Did you mean '{by_small[nearest[0]]}'? " if nearest else ""


def counted(number: int, one: str, many: str = "") -> str:
    """Write how many there are; `many` is `one` with an s, if left out.

    >>> counted(1, "trial"), counted(2000, "trial"), counted(2, "picture is", "pictures are")
    ('1 trial', '2,000 trials', '2 pictures are')
    """
    return f"{number:,} {one if number == 1 else many or f'{one}s'}"


def shortlist(names: Sequence[str], most: int = 5) -> str:
    """Join names for a message, the first few of them and a count of the rest.

    >>> shortlist(["a", "b", "c"], most=2)
    'a, b and 1 more'
    """
    if len(names) <= most:
        return ", ".join(names)
    return f"{', '.join(names[:most])} and {len(names) - most:,} more"
