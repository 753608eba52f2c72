"""The checkpoints of the zoo: what there is, how good and how large, and what to give to from_pretrained."""

import json
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple


# Of the checkpoints on the Hub.
NAMESPACE = "rnnzoo"
_HERE = Path(__file__).parent


class Checkpoint(NamedTuple):
    """A trained model.

    Attributes:
        name: such as "lstm-imdb".
        task: of the pipeline that serves it.
        dataset: that it was trained and tested on.
        metrics: on the test split, by name.
        num_parameters: how many numbers it has.
        megabytes: of its weights as they are stored, 1 MB = 1e6 bytes.
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
    """The checkpoints whose name matches a pattern as of a shell (`*imdb*`), by name; an empty list where none does.

    Asks no network: the list was written when this version was made.
    """
    rows = json.loads((_HERE / "zoo.json").read_text(encoding="utf-8"))
    return [Checkpoint(**row, path=_path(row["name"])) for row in rows if fnmatchcase(row["name"], pattern)]


def _path(name: str) -> str:
    folder = _HERE.parent / "model_cards" / name
    # An installed package has other people's folders beside it.
    return str(folder) if (folder / "model.safetensors").is_file() else f"{NAMESPACE}/{name}"
