"""Texts without labels to learn from: each once, without those that stand in train, validation or test."""

from collections import Counter

from datasets import Dataset, DatasetDict, Features, Value

from rnnzoo.data.checked import Checked
from rnnzoo.data.columns import BESIDE, Columns
from rnnzoo.data.corpus import Row
from rnnzoo.data.errors import BadRow, DataError, Incomplete
from rnnzoo.data.places import Layout, Place, texts_at


_FEATURES = Features({"text": Value("string")})


def without_labels(
    there: Place, name: str, layout: Layout, columns: Columns, splits: DatasetDict
) -> tuple[Dataset, list[str]]:
    """The texts that `name` stands for (see `places.texts_at`), in their order, and what the user should know of them.

    Texts of `splits`, which are those of the data set, are left out, compared as they are written; and of a column,
    rows whose labelled texts are not in train.

    Raises:
        DataError: there are no such texts, one is no string, or none is left.
    """
    found = texts_at(there, name, layout, columns)
    checked = Checked(found, _text, drop_incomplete=columns.drop_incomplete)
    test, validation, train = (set(splits[split]["text"][:]) for split in ("test", "validation", "train"))
    kept: dict[str, None] = {}
    # Counted at the first place where it stands.
    places = {"in test": test, "in validation": validation, "in train": train, "there twice": kept}
    left_out = Counter(dict.fromkeys(places, 0))
    for row in checked():
        text, labelled = row["text"], row.get(BESIDE.name)
        if BESIDE.name in row and (labelled not in train or labelled in test or labelled in validation):
            left_out["beside a text that is not for training"] += 1
        elif where := next((where for where, held in places.items() if text in held), None):
            left_out[where] += 1
        else:
            kept[text] = None
    texts, counts = list(kept), ", ".join(f"{count:,} that stand {where}" for where, count in left_out.items())
    if not texts:
        raise DataError(f"No text of {found.where} is left to learn from: {counts}. Name other texts in unlabelled.")
    remark = f"Unlabelled texts: {len(texts):,} of {found.where}; left out are {counts}."
    return Dataset.from_dict({"text": texts}, features=_FEATURES), [*checked.remarks(), remark]


def _text(row: Row, number: int) -> Row:
    if row["text"] is None:
        raise Incomplete("text")
    if type(row["text"]) is not str:
        raise BadRow(f"has the text {row['text']!r:.60}, which is no string. Write every text as a string.")
    return row
