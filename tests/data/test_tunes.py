"""Corpora of tunes: where they are read from, and how they are divided."""

import random

import pyarrow
import pyarrow.parquet
import pytest

from rnnzoo.data import tunes
from rnnzoo.data.abc_notation import melody
from rnnzoo.data.columns import Columns
from rnnzoo.data.errors import DataError


def tune(title, music, metre="4/4"):
    return f"X:1\nT:{title}\nM:{metre}\nK:C\n{music}\n"


def music(seed, bars=8):
    """A made-up tune, whose bars no other seed has."""
    rng = random.Random(seed)
    return "|".join("".join(rng.choices("CDEFGABcdefgab", k=8)) for _ in range(bars)) + "|"


@pytest.fixture
def folder(tmp_path):
    for book, first, last in (("jigs", 0, 40), ("reels", 100, 125)):
        text = "\n".join(
            tune(f"tune {'abcdefghij'[n % 10]}{'abcdefghij'[n // 10 % 10]}", music(n)) for n in range(first, last)
        )
        (tmp_path / f"{book}.abc").write_text(text, encoding="utf-8")
    return tmp_path


def test_a_folder_of_abc_files_and_a_table_are_the_same_tunes(folder, tmp_path_factory):
    found = tunes.read(folder)
    assert len(found) == 65 and [each.book for each in found[39:41]] == ["jigs", "reels"]
    written = {"book": [], "text": []}
    for book in ("jigs", "reels"):
        for text in (folder / f"{book}.abc").read_text().split("X:")[1:]:
            written["book"].append(book)
            written["text"].append(f"X:{text}")
    file = tmp_path_factory.mktemp("table") / "tunes.parquet"
    pyarrow.parquet.write_table(pyarrow.table(written), file)
    assert tunes.read(file) == found == tunes.read(file.parent)


def test_every_book_is_divided_and_every_run_has_the_same_splits(folder):
    first, second = (tunes.load("nottingham", str(folder), seed=seed) for seed in (0, 1))
    sizes = {split: len(rows) for split, rows in first.splits.items()}
    texts = [text for rows in first.splits.values() for text in rows["text"]]
    assert sum(sizes.values()) == len(set(texts)) and 5 <= sizes["test"] <= 7 and 5 <= sizes["validation"] <= 7
    for split, rows in first.splits.items():
        assert rows["text"][:] == second.splits[split]["text"][:]
        assert {text.partition("\n")[0] for text in rows["text"]} == {"jigs", "reels"}


def test_versions_are_tunes_of_one_title_or_of_the_same_bars():
    def of(title, text):
        return tunes.Tune(title, "jigs", f"jigs\nM:4/4\nL:1/8\nK:C\n{text}")

    half = "|".join(melody(f"\n{music(1)}")[:4]) + "|" + music(7, bars=4)
    less = "|".join(melody(f"\n{music(1)}")[:3]) + "|" + music(8, bars=5)
    found = [
        of("The Cuckoo", music(1)),
        of("Other", music(2)),
        of("Cuckoo 2", music(3)),
        of("Descant", half),
        of("Third", less),
        of("", music(4)),
        of("", music(5)),
        of("Other!", music(6)),
    ]
    assert tunes.versions(found) == [[0, 2, 3], [1, 7], [4], [5], [6]]


def test_versions_are_on_one_side(tmp_path):
    # Thirty tunes, of which each has three versions.
    text = "\n".join(
        tune(f"{'xyz'[n % 3]} {n}", music(n) + music(1000 + n + 100 * v)) for n in range(30) for v in range(3)
    )
    (tmp_path / "jigs.abc").write_text(text.replace("x ", "").replace("y ", "").replace("z ", ""), encoding="utf-8")
    corpus = tunes.load("nottingham", str(tmp_path), seed=0)
    sides = [{bar for text in rows["text"] for bar in melody(text)} for rows in corpus.splits.values()]
    assert not (sides[0] & sides[1] or sides[0] & sides[2] or sides[1] & sides[2])
    assert "90 of them are versions of 30 tunes" in corpus.remarks[0]


def test_further_tunes_are_for_training_but_for_versions_of_those_held_out(folder, tmp_path_factory):
    alone = tunes.load("nottingham", str(folder), seed=0)
    of_test = alone.splits["test"]["text"][0]
    half = "|".join([*melody(of_test)[:4], *melody(f"\n{music(800, bars=4)}")]) + "|"
    of_validation = next(each for each in tunes.read(folder) if each.text == alone.splits["validation"]["text"][0])
    file = tmp_path_factory.mktemp("further") / "own.abc"
    added = [("a", music(900)), ("b", half), (f"The {of_validation.title}", music(901)), ("c", music(902))]
    file.write_text("\n".join(tune(*each) for each in added))
    corpus = tunes.load("nottingham", str(folder), seed=0, unlabelled=str(file))
    kept = [melody(text) for text in corpus.unlabelled["text"]]
    assert kept == [melody(f"\n{music(seed)}") for seed in (900, 902)]
    assert "2 further tunes to train on, of own.abc; left out are 2" in corpus.remarks[-1]
    for split, rows in alone.splits.items():
        assert corpus.splits[split]["text"][:] == rows["text"][:], "the division is that without them"
    with pytest.raises(DataError, match="--unlabelled .*none.abc' is not there"):
        tunes.load("nottingham", str(folder), seed=0, unlabelled=str(file.with_name("none.abc")))


@pytest.mark.parametrize(
    "options",
    [{"validation_split": "films"}, {"columns": Columns(text_column="x")}, {"dataset": "made"}],
)
def test_what_other_corpora_have_is_refused(folder, options):
    with pytest.raises(DataError):
        tunes.load("nottingham", **{"dataset": str(folder), "seed": 0} | options)
    with pytest.raises(DataError, match="--streaming"):
        tunes.stream("nottingham", str(folder), seed=0)


def test_a_bad_tune_is_refused_by_its_number(folder):
    with (folder / "jigs.abc").open("a") as file:
        file.write("\nX:2\nT:Free\nK:C\nabc|\n")
    with pytest.raises(DataError, match="Tune 40 .*jigs.abc, 'Free', has the metre ''"):
        tunes.read(folder)


def test_a_place_without_tunes_is_refused(tmp_path, monkeypatch):
    monkeypatch.delenv("RNNZOO_DATA", raising=False)
    with pytest.raises(DataError, match="no tunes"):
        tunes.read(tmp_path)
    with pytest.raises(DataError, match="not there"):
        tunes.load("nottingham", str(tmp_path / "none.abc"), seed=0)
    with pytest.raises(DataError, match="Set RNNZOO_DATA"):
        tunes.load("nottingham", seed=0)
    pyarrow.parquet.write_table(pyarrow.table({"text": ["X:1"]}), tmp_path / "tunes.parquet")
    with pytest.raises(DataError, match="columns book and text"):
        tunes.read(tmp_path)


@pytest.mark.realdata
def test_nottingham_has_1034_tunes_whose_versions_are_on_one_side(real_data):
    corpus = tunes.load("nottingham", seed=0)
    sizes = {split: len(rows) for split, rows in corpus.splits.items()}
    assert sizes == {"train": 818, "validation": 110, "test": 106}
    assert "153 of them are versions of 68 tunes" in corpus.remarks[0]
