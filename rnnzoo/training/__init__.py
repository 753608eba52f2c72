"""Training of any model with a Hugging Face forward, for `pip install rnnzoo[train]`."""

import rnnzoo.data  # noqa: F401  first of all: it says what to install where a package is missing
