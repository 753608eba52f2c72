"""What stops a recipe: every error that its user can do something about."""


class RecipeError(ValueError):
    """What stops a recipe, as early as it can be seen: a paragraph that says what is wrong and what to do."""


class DataError(RecipeError):
    """The data cannot be used as it is. The message says what is wrong, and what to do."""
