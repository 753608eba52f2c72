"""The data sets that recipes know by name, read from catalog.json."""

import json
from pathlib import Path
from typing import NamedTuple


class Known(NamedTuple):
    """A data set that recipes know by name.

    hub: its id on the Hub, and `revision` the branch that is read there (None: the default branch); None: it is not
        read from the Hub.
    language: an ISO 639-1 code, for the model card.
    labels: the names of its classes, where copies are in use whose rows carry numbers only; else None.
    aliases: other names that copies give its classes; a model has the same labels whatever copy it learned from.
    validation_splits: recorded by name, by the row numbers of its training split; see `rnnzoo.data.recorded`.
    about: what it is, with its source and terms of use, for the model card.
    share_texts: whether its terms, and those of this repository, allow its texts in a card or in committed results.
    published: results of others on its test split: `test_rows`, `columns`, `rows`.
    """

    hub: str | None
    revision: str | None
    language: str
    labels: list[str] | None
    aliases: dict[str, str]
    validation_splits: dict[str, dict]
    about: str
    published: dict
    share_texts: bool


KNOWN = {
    name: Known(**entry)
    for name, entry in json.loads(Path(__file__).with_name("catalog.json").read_text(encoding="utf-8")).items()
}
