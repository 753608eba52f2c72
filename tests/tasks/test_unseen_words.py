"""Words that train does not have: their names are scored apart, and dropping words in training prepares for them."""

import pytest
import torch
from datasets import Dataset

import rnnzoo
from recipes.ner import TASK
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import RecipeError
from rnnzoo.training.rows_read import RowsRead
from tests.support import small_bert
from tests.support.recipes import run


LABELS = ["O", "B-LOC", "I-LOC", "B-PER", "I-PER"]


@pytest.fixture
def task():
    """The task on a few sentences, read by a tokenizer that knows their words."""
    sentences = [["Ada"], ["met"] * 3, ["Babbage"] * 9, ["in", "London"] * 30]
    train = Dataset.from_dict({"tokens": sentences, "tags": [["O"] * len(row) for row in sentences]})
    tokenizer = rnnzoo.train_tagger_tokenizer(sentences, vocab_size=99, min_count=1, word_length=4)
    config = rnnzoo.LSTMConfig(vocab_size=len(tokenizer))
    found = TASK(Corpus("small", "here", LABELS, {"train": train}, scheme="IOB2"), tokenizer, config)
    found.rows = {"train": Dataset.from_dict(found.encode(train[:]))}
    return found


def numbered(tags):
    return [(LABELS.index(tag), 1.0) for tag in tags.split()]


def test_names_with_an_unseen_word_are_scored_apart(task):
    examples = Dataset.from_dict(
        {
            "tokens": [["ada", "met", "Babbage", "Jr"], ["in", "LONDON", "Babbage", "met", "Byron"]],
            "tags": ["B-PER O B-PER I-PER".split(), "O B-LOC B-PER O B-PER".split()],
        }
    )
    # Seen: Ada and LONDON are found, the second Babbage is missed, met is no name. Unseen: of Babbage Jr only the
    # second word, the unseen one, is found; Byron has the wrong type.
    predictions = [numbered("B-PER O O B-PER"), numbered("O B-LOC O B-PER B-LOC")]
    assert task.breakdown(predictions, examples) == {
        "by_words_of_train": {
            "seen": {"precision": 2 / 3, "recall": 2 / 3, "f1": 2 / 3, "number": 3},
            "unseen": {"precision": 0.0, "recall": 0.0, "f1": 0.0, "number": 2},
        }
    }
    right = [numbered(" ".join(tags)) for tags in examples["tags"]]
    found = task.breakdown(right, examples)["by_words_of_train"]
    assert [found[name]["f1"] for name in ("seen", "unseen")] == [1.0, 1.0]


def test_there_are_no_such_scores_where_train_is_a_stream_or_tags_are_no_names(task):
    examples = task.corpus.splits["train"]
    predictions = [[(0, 1.0)] * len(row) for row in examples["tokens"]]
    assert task.breakdown(predictions, examples)
    for corpus in (
        Corpus("small", "here", LABELS, {"validation": examples}, scheme="IOB2"),
        Corpus("small", "here", LABELS, {"train": examples}, scheme=None),
    ):
        assert TASK(corpus, task.tokenizer, task.config).breakdown(predictions, examples) == {}


def options(**given):
    return TASK.Options(model={"model_type": "rnnzoo-lstm"}, **given)


@pytest.mark.parametrize(("p", "a"), [(0.0, 3.0), (0.3, 0.0), (0.3, 1.0)])
def test_words_are_dropped_by_their_number_in_train(task, p, a):
    torch.manual_seed(0)
    task.begin(options(word_dropout=p, rare_word_dropout=a))
    columns = task.encode({"tokens": [["Ada", "met", "Babbage", "new", "London"]] * 4000})
    batch = task.collate(columns)
    dropped = (task.augment(batch)["input_ids"] != batch["input_ids"]).float().mean(0)
    counts = {"Ada": 1, "met": 3, "Babbage": 9, "London": 30}
    expected = [1 - (1 - p) * n / (n + a) for n in counts.values()]
    expected.insert(3, 0.0)  # "new" is unknown already
    assert dropped.tolist() == pytest.approx(expected, abs=0.03)


def test_a_dropped_word_is_the_unknown_one_with_its_characters(task):
    task.begin(options(word_dropout=0.999999))
    batch = task.collate(task.encode({"tokens": [["Ada", "met"], ["Babbage"]], "tags": [["B-PER", "O"], ["B-PER"]]}))
    before = {name: tensor.clone() for name, tensor in batch.items()}
    found = task.augment(batch)
    unknown, padding = task.tokenizer.unk_token_id, task.tokenizer.pad_token_id
    assert found["input_ids"].tolist() == [[unknown, unknown], [unknown, padding]]
    for name in before.keys() - {"input_ids"}:
        assert torch.equal(found[name], before[name]), name
    assert torch.equal(batch["input_ids"], before["input_ids"]), "the batch itself is as it was"


def test_a_step_of_training_drops_words_and_evaluation_does_not(tmp_path, monkeypatch):
    """Both passes of an adversarial step read the same words."""
    read = {True: [], False: []}
    embed = RowsRead.forward  # what looks words up during a run

    def recorded(self, ids):
        read[self.training].append((ids == 2).float().mean().item())
        return embed(self, ids)

    monkeypatch.setattr(RowsRead, "forward", recorded)
    model = {"model_type": "rnnzoo-rnn", "embedding_size": 8, "hidden_size": 8}
    brief = {"max_train_steps": 3, "batch_size": 64, "validation_only": True, "num_threads": 1}
    run(TASK, tmp_path, model=model, tokenizer={"vocab_size": 999}, word_dropout=0.5, adversarial_epsilon=0.1, **brief)
    assert read[True][::2] == read[True][1::2] and len(read[True]) == 6
    assert min(read[True]) > 0.4 and max(read[False]) < 0.3


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"word_dropout": 1.0}, "word_dropout is 1.0: it must be at least 0 and below 1"),
        ({"rare_word_dropout": -0.5}, "rare_word_dropout is -0.5: it must be at least 0"),
        ({"rare_word_dropout": 0.25, "streaming": True}, "the words of a stream are not counted"),
    ],
)
def test_what_cannot_be_dropped_is_refused(given, says):
    with pytest.raises(RecipeError, match=says):
        options(**given)


def test_sub_words_are_not_dropped(tmp_path):
    bert = str(small_bert.save(tmp_path / "bert", num_labels=9))
    with pytest.raises(RecipeError, match="reads sub-words, none of which are unknown"):
        run(TASK, tmp_path / "run", model_name_or_path=bert, word_dropout=0.1, max_train_steps=1, num_threads=1)
