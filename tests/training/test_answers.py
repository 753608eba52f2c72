"""Answers to texts and sentences: asked once, whatever is interrupted, in whatever order, by one process or two."""

import math
import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from accelerate import Accelerator

from rnnzoo.data.errors import RecipeError
from rnnzoo.training import answers as module
from rnnzoo.training.answers import answers, by_text


ROOT = Path(__file__).parents[2]
TEXTS = [f"{'word ' * (i * 7 % 11)}{i}" for i in range(23)]


@pytest.fixture(autouse=True)
def short_shards(monkeypatch):
    monkeypatch.setattr(module, "SHARD", 5)


class Model:
    """Answers with numbers of its own for each text; `fails_at` is the shard at which it is interrupted."""

    def __init__(self, fails_at=None):
        self.asked, self.fails_at = [], fails_at

    def __call__(self, texts):
        if self.fails_at == len(self.asked):
            raise KeyboardInterrupt
        self.asked.append(texts)
        return torch.tensor([[len(text) / 3, hash_of(text)] for text in texts])


def hash_of(text):
    return sum(ord(character) * (i + 1) for i, character in enumerate(text)) / 7


def contents(folder):
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def test_every_text_has_its_own_answer(tmp_path):
    model = Model()
    found = answers(tmp_path, model, [*TEXTS, TEXTS[3], ""])
    assert found.dtype == torch.float32
    torch.testing.assert_close(found, Model()([*TEXTS, TEXTS[3], ""]))
    assert sorted(map(len, model.asked)) == [4, 5, 5, 5, 5]  # the text that is there twice was asked once


@pytest.mark.parametrize("moment", range(5))
def test_interrupted_and_resumed_answers_are_those_of_an_uninterrupted_run(tmp_path, moment):
    whole = answers(tmp_path / "whole", Model(), TEXTS)
    first, second = Model(fails_at=moment), Model()
    with pytest.raises(KeyboardInterrupt):
        answers(tmp_path / "parts", first, TEXTS)
    (tmp_path / "parts").mkdir(exist_ok=True)
    (tmp_path / "parts" / "0123.4567").write_bytes(b"what a killed process left of a shard")
    assert torch.equal(answers(tmp_path / "parts", second, TEXTS), whole)
    assert [*first.asked, *second.asked] == [TEXTS[i : i + 5] for i in range(0, 23, 5)]  # each shard once
    (tmp_path / "parts" / "0123.4567").unlink()
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_only_texts_that_have_no_answer_are_asked(tmp_path):
    before, model = answers(tmp_path, Model(), TEXTS[:12]), Model()
    found = answers(tmp_path, model, TEXTS[::-1])
    assert sorted(text for shard in model.asked for text in shard) == sorted(TEXTS[12:])
    assert torch.equal(found.flip(0)[:12], before)
    again = Model()
    assert torch.equal(answers(tmp_path, again, TEXTS), found.flip(0)) and not again.asked


def test_an_answer_that_is_not_finite_is_refused_and_not_kept(tmp_path):
    with pytest.raises(RecipeError, match="not finite: it cannot teach"):
        answers(tmp_path / "nan", lambda texts: torch.full((len(texts), 2), float("nan")), TEXTS)
    assert not (tmp_path / "nan").exists()


def test_a_damaged_shard_is_named(tmp_path):
    answers(tmp_path, Model(), TEXTS)
    path = sorted(tmp_path.iterdir())[2]
    path.write_bytes(path.read_bytes()[:-9])
    with pytest.raises(RecipeError, match=f"{path.name} cannot be read .* Remove it, and its texts are answered"):
        answers(tmp_path, Model(), TEXTS)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(RecipeError, match="Answers cannot be written to .*file/inside"):
        answers(tmp_path / "file" / "inside", Model(), TEXTS)


# ---- sentences ----

SENTENCES = [tuple(f"{word}{i}" for word in ["a", "b", "c"][: 1 + i % 3]) for i in range(12)]


class Tagger(Model):
    """Answers with numbers of its own for each word; the word "b4" it does not read."""

    def __call__(self, sentences):
        if self.fails_at == len(self.asked):
            raise KeyboardInterrupt
        self.asked.append(sentences)
        rows = [[hash_of(word), len(words)] for words in sentences for word in words]
        rows = torch.tensor(rows, dtype=torch.float)
        rows[[word == "b4" for words in sentences for word in words]] = float("nan")
        return rows


def test_every_word_has_its_own_answer(tmp_path):
    model = Tagger()
    found = answers(tmp_path, model, [*SENTENCES, SENTENCES[4]])
    torch.testing.assert_close(found, Tagger()([*SENTENCES, SENTENCES[4]]), equal_nan=True)
    assert sorted(map(len, model.asked)) == [2, 5, 5]
    for words, rows in zip(SENTENCES, by_text(found, [*SENTENCES, SENTENCES[4]]), strict=False):
        torch.testing.assert_close(rows, Tagger()([words]), equal_nan=True)
    again = Tagger()
    assert torch.equal(answers(tmp_path, again, SENTENCES[::-1])[:3], found[-3 - 2 : -2]) and not again.asked


@pytest.mark.parametrize("moment", range(3))
def test_interrupted_and_resumed_answers_to_sentences_are_those_of_an_uninterrupted_run(tmp_path, moment):
    whole = answers(tmp_path / "whole", Tagger(), SENTENCES)
    first, second = Tagger(fails_at=moment), Tagger()
    with pytest.raises(KeyboardInterrupt):
        answers(tmp_path / "parts", first, SENTENCES)
    torch.testing.assert_close(answers(tmp_path / "parts", second, SENTENCES), whole, equal_nan=True, rtol=0, atol=0)
    assert [*first.asked, *second.asked] == [SENTENCES[i : i + 5] for i in range(0, 12, 5)]
    assert contents(tmp_path / "parts") == contents(tmp_path / "whole")


def test_sentences_with_the_same_letters_have_answers_of_their_own(tmp_path):
    alike = [
        ("ab", "c"),
        ("a", "bc"),
        ("ab c",),
        ("ab,", "c"),
        ("ab", ",c"),
        ('ab","c',),
        ("ab", "c", ""),
        ("\ud800",),
    ]
    model = Tagger()
    found = answers(tmp_path, model, alike)
    assert sum(map(len, model.asked)) == len(alike)
    torch.testing.assert_close(found, Tagger()(alike))


@pytest.mark.parametrize("bad", [[math.inf, 0.0], [math.nan, 0.0]], ids=str)
def test_a_word_is_not_read_or_has_logits_that_are_finite(tmp_path, bad):
    with pytest.raises(RecipeError, match="not finite: it cannot teach"):
        answers(tmp_path / "bad", lambda sentences: torch.tensor([[1.0, 2.0], bad]), [("a", "b")])
    assert not (tmp_path / "bad").exists()


# ---- several processes ----


def main(folder):
    """What each of the launched processes does."""
    Accelerator()
    module.SHARD = 5
    model = Model()
    found = answers(folder / "answers", model, TEXTS)
    rank, world = (int(os.environ[name]) for name in ("RANK", "WORLD_SIZE"))
    torch.save((world, found, model.asked), folder / f"process-{rank}.pt")
    torch.distributed.destroy_process_group()


def test_two_processes_write_what_one_writes(tmp_path):
    command = [
        "-m",
        "torch.distributed.run",
        "--standalone",
        "--nproc_per_node",
        "2",
        "-m",
        "tests.training.test_answers",
    ]
    environment = os.environ | {"PYTHONPATH": str(ROOT), "ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [sys.executable, *command, str(tmp_path)], cwd=ROOT, env=environment, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr[-3000:]
    alone = answers(tmp_path / "alone", Model(), TEXTS)
    both = [torch.load(tmp_path / f"process-{rank}.pt") for rank in range(2)]
    assert [world for world, _, _ in both] == [2, 2]
    assert all(torch.equal(found, alone) for _, found, _ in both)
    assert [len(asked) for _, _, asked in both] == [3, 2]  # shards are dealt in turn
    assert contents(tmp_path / "answers") == contents(tmp_path / "alone")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
