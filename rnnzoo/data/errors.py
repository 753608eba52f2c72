"""Errors that the user can act on: every message says what is wrong, with the value, and what to do."""


class RecipeError(ValueError):
    """A run cannot start or continue; raised as early as the cause can be seen."""


class DataError(RecipeError):
    """The data cannot be used as it is."""


class BadRow(ValueError):
    """A row that cannot be used, though others can: the rest of a sentence that begins "Row 7 of the train split"."""


class Incomplete(ValueError):
    """A row that lacks something, which is the argument: "text", say."""


def brief(error: Exception) -> str:
    """A library's error in one line, to be quoted in a message of ours."""
    text = " ".join(str(error).split())
    return f"{type(error).__name__}: {text[:200]}{' ...' if len(text) > 200 else ''}"
