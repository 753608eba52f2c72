"""Texts and sentences without labels: where they may be, what is left out of them and counted, and what is refused."""

import pyarrow as pa
import pytest

from rnnzoo.data import sentences, texts
from rnnzoo.data.columns import Columns
from rnnzoo.data.errors import DataError
from rnnzoo.data.formats import TEXT_READERS
from tests.support.data_files import texts as rows
from tests.support.data_files import write


TEXTS = ["one more", "another, with a comma", " spaces ", "\x85é"]
LABELLED = {"train": rows(8), "validation": rows(4, word="clip"), "test": rows(4, word="play")}


def load(dataset, unlabelled, **options):
    return texts.load("imdb", str(dataset), **{"seed": 0, "unlabelled": str(unlabelled)} | options)


def refused(dataset, unlabelled, message, **options):
    with pytest.raises(DataError, match=message) as caught:
        load(dataset, unlabelled, **options)
    assert "\n" not in str(caught.value)


@pytest.fixture
def data(tmp_path):
    """A folder of labelled texts."""
    return write(tmp_path / "mine", "jsonl", **LABELLED)


def texts_file(folder, suffix, found=TEXTS, column="text", name="more"):
    path = folder / f"{name}.{suffix}"
    if suffix == "txt":
        path.write_bytes("\n".join([found[0], "", *found[1:]]).encode())
    else:
        write(folder, suffix, **{name: pa.table({column: found}).to_pydict()})
    return path


@pytest.mark.parametrize("suffix", [suffix for suffix in TEXT_READERS if suffix])
def test_a_file_in_any_format(data, tmp_path, suffix):
    (tmp_path / "elsewhere").mkdir()
    path = texts_file(tmp_path / "elsewhere", suffix)
    corpus = load(data, path)
    assert corpus.unlabelled.to_dict() == {"text": TEXTS}
    assert {split: part.to_dict() for split, part in corpus.splits.items()} == LABELLED
    assert corpus.remarks[-1] == (
        f"Unlabelled texts: 4 of the file more.{suffix}; left out are 0 that stand in test, 0 that stand in "
        "validation, 0 that stand in train, 0 that stand there twice."
    )
    assert texts.load("imdb", str(data), seed=0).unlabelled is None


def test_a_folder_of_text_files_such_as_that_of_acl_imdb(data, tmp_path):
    folder = tmp_path / "unsup"
    folder.mkdir()
    for number, text in enumerate(TEXTS):
        (folder / f"{number}_0.txt").write_text(f"{text}\nand a second line")
    assert load(data, folder).unlabelled["text"][:] == [f"{text}\nand a second line" for text in TEXTS]
    (folder / "2_0.txt").write_bytes(b"caf\xe9")
    refused(data, folder, "'2_0.txt' of the folder 'unsup' cannot be read as UTF-8")


@pytest.mark.parametrize("suffix", ["parquet", "csv", "jsonl"])
def test_a_further_split_in_one_file_or_in_shards(tmp_path, suffix):
    folder = write(tmp_path / "mine", suffix, **LABELLED)
    texts_file(folder, suffix, name="unsupervised")
    found = load(folder, "unsupervised")
    assert found.unlabelled["text"][:] == TEXTS
    assert "4 of the unsupervised split (folder mine)" in found.remarks[-1]
    (folder / f"unsupervised.{suffix}").unlink()
    for shard in (0, 1):
        texts_file(folder, suffix, TEXTS[2 * shard : 2 * shard + 2], name=f"unsupervised-0000{shard}-of-00002")
    assert load(folder, "unsupervised").unlabelled["text"][:] == TEXTS


@pytest.mark.parametrize("separator", [",", ";"])
def test_another_column_of_the_rows_that_are_in_train(tmp_path, separator):
    lines = [["text", "label", "summary"], *([f"film {i}", str(i % 2), f"short {i}"] for i in range(30))]
    file = tmp_path / "reviews.csv"
    file.write_text("\n".join(map(separator.join, lines)))
    found = load(file, "summary")
    assert found.unlabelled["text"][:] == [text.replace("film", "short") for text in found.splits["train"]["text"]]
    assert found.remarks[-1].endswith("0 that stand there twice, 6 that stand beside a text that is not for training.")
    assert "24 of the column summary of the train split (file reviews.csv)" in found.remarks[-1]
    for name in ("sumary", "text"):
        says = rf"'{name}', which is no file .* no further column .* are: none; columns: summary\. A file is"
        refused(file, name, says)


def test_texts_of_the_data_set_and_doubles_are_left_out_and_counted(data):
    found = ["new", "play 0", "play 1", "play 1", "clip 3", "film 0", "film 7", "new", "newer", "film 0 "]
    texts_file(data, "jsonl", found)
    corpus = load(data, "more")
    assert corpus.unlabelled["text"][:] == ["new", "newer", "film 0 "]
    counts = "3 that stand in test, 1 that stand in validation, 2 that stand in train, 1 that stand there twice"
    assert corpus.remarks[-1].endswith(f"left out are {counts}.")


def test_validation_is_left_out_however_it_is_held_out(data):
    texts_file(data, "jsonl", [f"film {i}" for i in range(8)] + [f"clip {i}" for i in range(4)] + ["new"])
    corpus = load(data, "more", validation_fraction=0.5)
    assert corpus.unlabelled["text"][:] == ["new"]
    assert "6 that stand in validation, 6 that stand in train" in corpus.remarks[-1]


def test_its_column_is_the_one_that_was_named_or_has_a_common_name(data):
    texts_file(data, "csv", column="body")
    assert load(data, data / "more.csv").unlabelled["text"][:] == TEXTS
    write(data, "csv", both={"body": ["wrong"] * 4, "note": TEXTS})
    train = [row | {"note": f"note {i}"} for i, row in enumerate(pa.table(rows(8)).to_pylist())]
    other = write(data.parent / "noted", "jsonl", train=train, test=[row | {"note": "x"} for row in train])
    named = Columns(text_column="note")
    assert load(other, data / "both.csv", columns=named).unlabelled["text"][:] == TEXTS
    assert load(other, data / "more.csv", columns=named).unlabelled["text"][:] == TEXTS
    write(data, "csv", none={"first": ["a"], "second": ["b"]})
    refused(data, data / "none.csv", "In the file none.csv, there is no column 'text', only: first, second")


def test_what_is_no_text_is_refused_with_its_row(data):
    write(data, "jsonl", more=[{"text": "a"}, {"text": None}, {"text": 3}])
    refused(data, "more", r"Row 2 \(counted from 0\) of the more split .* has the text 3, which is no string")
    write(data, "jsonl", more=[{"text": "a"}, {"text": None}, {"text": "b"}])
    refused(data, "more", "1 row has no text .* --drop_incomplete")
    found = load(data, "more", columns=Columns(drop_incomplete=True))
    assert found.unlabelled["text"][:] == ["a", "b"] and "1 row has no text" in " ".join(found.remarks)


def test_labelled_splits_and_synthetic_data_are_refused(data):
    for split in LABELLED:
        refused(data, split, f"unlabelled is '{split}', a split that is used with its labels, or measured on")
    refused("made", "more", r"the synthetic data \(--dataset made\) has no texts besides")
    refused(data, "unsupervised", r"no split of the data set \(folder mine\) .* there are: none; columns: none")
    texts_file(data, "jsonl")
    refused(data, "unsupervised", "there are: more; columns: none")
    (data / "more.docx").touch()
    refused(data, data / "more.docx", r"A file is one of \.parquet, \.csv, \.tsv, \.jsonl, \.json, \.txt")


@pytest.mark.realdata
def test_the_unsupervised_reviews_of_imdb(real_data):
    corpus = texts.load("imdb", seed=0, validation_split="films", unlabelled="unsupervised")
    labelled = [set(split["text"][:]) for split in corpus.splits.values()]
    found = corpus.unlabelled["text"][:]
    assert len(found) == len(set(found)) > 48_000 and not any(map(set(found).intersection, labelled))
    # 266 different ones of test, some of them twice.
    assert "left out are 270 that stand in test, 128 that stand in validation, 240 that" in corpus.remarks[-1]


# ---- sentences ----

TAGGED = {
    "train": [{"tokens": ["Ada", f"ran{i}"], "ner_tags": ["B-PER", "O"]} for i in range(5)],
    "validation": [{"tokens": ["Bo", "sat"], "ner_tags": ["B-PER", "O"]}],
    "test": [{"tokens": ["Cy", "lay"], "ner_tags": ["B-PER", "O"]}],
}
MORE = [["Dee", "stood"], ["An", "unseen\xa0word"], ["Eve"]]
HELD = [["Ada", "ran3"], ["Bo", "sat"], ["Cy", "lay"], ["Cy", "lay"], ["Eve"]]  # the last one twice


def tagged(folder, unlabelled, **options):
    return sentences.load("conll2003", str(folder), **{"seed": 0, "unlabelled": str(unlabelled)} | options)


@pytest.mark.parametrize("suffix", ["jsonl", "json", "parquet", "csv", "tsv", "conll", "bio"])
def test_sentences_without_their_tags_in_any_format(tmp_path, suffix):
    """Tags that the data set does not have are not read, nor numbers for them that nothing names."""
    tags = [["B-FISH"] * len(words) if suffix in ("conll", "bio") else [7] * len(words) for words in [*MORE, *HELD]]
    rows = [{"tokens": words, "ner_tags": row} for words, row in zip([*MORE, *HELD], tags, strict=True)]
    folder = write(tmp_path / "names", "jsonl", **TAGGED)
    (tmp_path / "elsewhere").mkdir()
    corpus = tagged(folder, write(tmp_path / "elsewhere", suffix, more=rows) / f"more.{suffix}")
    assert corpus.unlabelled.to_dict() == {"tokens": MORE}
    assert corpus.labels == ["O", "B-PER", "I-PER"] and set(corpus.splits) == set(TAGGED)
    assert corpus.remarks[-1] == (
        f"Unlabelled sentences: 3 of the file more.{suffix}; left out are 2 that stand in test, 1 that stand in "
        "validation, 1 that stand in train, 1 that stand there twice."
    )


def test_sentences_of_a_text_file_are_split_at_white_space(tmp_path):
    folder = write(tmp_path / "names", "jsonl", **TAGGED)
    (tmp_path / "more.txt").write_text("Dee  stood\n\nBo sat\nEve .\n")
    assert tagged(folder, tmp_path / "more.txt").unlabelled["tokens"][:] == [["Dee", "stood"], ["Eve", "."]]
    path = write(tmp_path / "texts", "jsonl", more=[{"text": "Dee stood"}]) / "more.jsonl"
    assert tagged(folder, path).unlabelled["tokens"][:] == [["Dee", "stood"]]


def test_a_further_split_of_sentences(tmp_path):
    folder = write(tmp_path / "names", "jsonl", **TAGGED, more=[{"tokens": words} for words in MORE])
    corpus = tagged(folder, "more")
    assert corpus.unlabelled["tokens"][:] == MORE
    assert "3 of the more split (folder names)" in corpus.remarks[-1]


@pytest.mark.parametrize(
    ("rows", "says"),
    [
        ([{"tokens": ["a", " "]}], r"Row 0 .* has the tokens \['a', ' '\]"),
        ([{"tokens": ["Bo", "sat"]}], "No sentence of the file more.jsonl is left"),
        ([{"tokens": []}], "1 row has no words"),
        ([{"fish": 1}], "there is no column 'tokens'"),
    ],
)
def test_what_are_no_sentences_is_refused(tmp_path, rows, says):
    folder = write(tmp_path / "names", "jsonl", **TAGGED)
    path = write(tmp_path / "elsewhere", "jsonl", more=rows) / "more.jsonl"
    with pytest.raises(DataError, match=says):
        tagged(folder, path)
    for name in ("train", "nowhere"):
        with pytest.raises(DataError, match=f"unlabelled is '{name}'"):
            tagged(folder, name)
    with pytest.raises(DataError, match="synthetic"):
        sentences.load("conll2003", "made", seed=0, unlabelled=str(path))
