"""Data for training: known data sets, file formats, corpora and lazy streams, for `pip install rnnzoo[train]`."""

from importlib.util import find_spec


# As they are imported; pyproject.toml lists the packages that bring them as the extra [train].
NEEDED = (
    *("accelerate", "datasets", "evaluate", "gensim", "jinja2", "matplotlib"),
    *("pyarrow", "scipy", "seqeval", "sklearn", "tqdm", "yaml"),
)

# The one check: rnnzoo.training and rnnzoo.tasks import this package first.
if missing := [name for name in NEEDED if find_spec(name) is None]:
    raise ImportError(
        f"rnnzoo.data, rnnzoo.training and rnnzoo.tasks need packages that are not installed ({', '.join(missing)}): "
        "pip install 'rnnzoo[train]'."
    )
