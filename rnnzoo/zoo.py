"""The published checkpoints: their scores, their sizes, and what to give to from_pretrained."""

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple


# The organization of the checkpoints on the Hub.
NAMESPACE = "rnnzoo"
_HERE = Path(__file__).parent


class Checkpoint(NamedTuple):
    """A trained model.

    Attributes:
        name: such as "lstm-imdb".
        task: the pipeline that serves it.
        dataset: what it was trained and tested on.
        metrics: on the test split, by name.
        num_parameters: trained parameters.
        megabytes: size of the weights as stored, 1 MB = 1e6 bytes.
        path: for `from_pretrained` and `pipeline`: a folder in a clone of the project, else the id on the Hub.
    """

    name: str
    task: str
    dataset: str
    metrics: dict[str, float]
    num_parameters: int
    megabytes: float
    path: str


def list_models(pattern: str = "*") -> list[Checkpoint]:
    """The checkpoints whose names match a shell pattern (`*imdb*`), sorted by name; an empty list if none does.

    Uses no network: the list is part of this version of the package.
    """
    rows = json.loads((_HERE / "zoo.json").read_text(encoding="utf-8"))
    return [Checkpoint(**row, path=_path(row["name"])) for row in rows if fnmatchcase(row["name"], pattern)]


def _path(name: str) -> str:
    folder = _HERE.parent / "model_cards" / name
    # Beside an installed package, a folder of that name may be something else.
    return str(folder) if (folder / "model.safetensors").is_file() else f"{NAMESPACE}/{name}"
