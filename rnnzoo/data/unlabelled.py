"""Texts or sentences without labels to learn from: each once, without those in train, validation or test."""

from collections import Counter
from collections.abc import Callable

from datasets import Dataset, DatasetDict, Features

from rnnzoo.data.checked import Checked
from rnnzoo.data.columns import BESIDE, TEXT, TOKENS, Columns
from rnnzoo.data.corpus import Row
from rnnzoo.data.errors import BadRow, DataError, Incomplete
from rnnzoo.data.places import Layout, Place, texts_at


def check_text(row: Row, number: int) -> Row:
    """The row of a text, checked.

    Raises:
        Incomplete: it has none.
        BadRow: that is no string.
    """
    if row["text"] is None:
        raise Incomplete("text")
    if type(row["text"]) is not str:
        raise BadRow(f"has the text {row['text']!r:.60}, which is no string. Write every text as a string.")
    return row


def check_sentence(row: Row, number: int) -> Row:
    """The words of a sentence, without the white space around them; a text is split there.

    Raises:
        Incomplete: it has none.
        BadRow: they are no strings.
    """
    if TEXT.name in row:
        found = check_text(row, number)["text"].split()
    else:
        found = row[TOKENS.name] or []
        if type(found) is not list or not all(type(word) is str and word.strip() for word in found):
            raise BadRow(f"has the tokens {found!r:.60}. They must be a list of words, which are strings.")
    if not found:
        raise Incomplete("words")
    return {"tokens": [word.strip() for word in found]}


def without_labels(
    there: Place,
    name: str,
    layout: Layout,
    columns: Columns,
    splits: DatasetDict,
    check: Callable[[Row, int], Row] = check_text,
) -> tuple[Dataset, list[str]]:
    """The texts that `name` stands for (see `places.texts_at`), in their order, and what the user should know of them.

    Texts of `splits`, which are those of the data set, are left out, compared as they are written (sentences: with
    spaces between their words); and of a column, rows whose labelled texts are not in train.

    Args:
        check: `check_text`, or `check_sentence` for sentences.

    Raises:
        DataError: there are no such texts, one is no string, or none is left.
    """
    found = texts_at(there, name, layout, columns)
    checked = Checked(found, check, drop_incomplete=columns.drop_incomplete)
    column, unit = ("text", "text") if check is check_text else ("tokens", "sentence")
    test, validation, train = (set(map(_written, splits[part][column])) for part in ("test", "validation", "train"))
    kept: dict[str, str | list[str]] = {}
    # Counted at the first place where it stands.
    places = {"in test": test, "in validation": validation, "in train": train, "there twice": kept}
    left_out = Counter(dict.fromkeys(places, 0))
    for row in checked():
        written, labelled = _written(row[column]), row.get(BESIDE.name)
        if BESIDE.name in row and (labelled not in train or labelled in test or labelled in validation):
            left_out["beside a text that is not for training"] += 1
        elif where := next((where for where, held in places.items() if written in held), None):
            left_out[where] += 1
        else:
            kept[written] = row[column]
    counts = ", ".join(f"{count:,} that stand {where}" for where, count in left_out.items())
    if not kept:
        raise DataError(
            f"No {unit} of {found.where} is left to learn from: {counts}. Name other {unit}s in unlabelled."
        )
    remark = f"Unlabelled {unit}s: {len(kept):,} of {found.where}; left out are {counts}."
    features = Features({column: splits["train"].features[column]})
    return Dataset.from_dict({column: list(kept.values())}, features=features), [*checked.remarks(), remark]


def _written(text: str | list[str]) -> str:
    return text if isinstance(text, str) else " ".join(text)
