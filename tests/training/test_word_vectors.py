"""recipes.word_vectors: what the vectors know, that they can be made again, and that a run begins with them."""

import json

import pytest
import torch
from safetensors.torch import load_file
from torch import nn

import rnnzoo
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.synthetic.reviews import make_reviews
from rnnzoo.tasks import classify as imdb
from rnnzoo.training.word_vectors import word2vec
from tests.support.small_task import SmallTask, fresh_accelerator, trained


@pytest.fixture(scope="module")
def read():
    """The made reviews' tokenizer and ids, and a table that nobody has trained."""
    texts = list(make_reviews()["train"]["text"])[:1500]
    tokenizer = rnnzoo.train_tokenizer(texts, vocab_size=600)
    torch.manual_seed(0)
    table = nn.Embedding(len(tokenizer), 32, padding_idx=0)
    nn.init.normal_(table.weight[1:], std=0.05)
    return tokenizer, tokenizer(texts)["input_ids"], table


def test_words_used_alike_have_like_vectors(read):
    tokenizer, rows, table = read
    made = nn.functional.normalize(word2vec(rows, table, seed=0), dim=1)

    def likeness(a, b):
        return float(made[tokenizer.convert_tokens_to_ids(a)] @ made[tokenizer.convert_tokens_to_ids(b)])

    for word, alike in (("monday", "friday"), ("lisbon", "riga"), ("gripping", "splendid"), ("baker", "nurse")):
        for other in ("monday", "lisbon", "gripping", "baker"):
            if other != word:
                assert likeness(word, alike) > likeness(word, other) + 0.1, (word, alike, other)


def test_the_same_rows_and_seed_give_the_same_table(read):
    _, rows, table = read
    first, again, other = (word2vec(rows[:500], table, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.allclose(first, other)


def test_the_table_keeps_its_spread_and_what_the_rows_lack(read):
    _, rows, table = read
    made = word2vec([row for row in rows[:500] if 7 not in row], table, seed=0)
    assert torch.equal(made[[0, 1, 7]], table.weight[[0, 1, 7]])  # <pad>, <s>, and a word left out
    learned = made[sorted({i for row in rows[:500] if 7 not in row for i in row})]
    assert learned.std().item() == pytest.approx(table.weight.std().item(), rel=1e-3)
    assert learned.mean(0).abs().max() < 1e-6


def test_a_run_begins_with_them(tmp_path):
    flags = {
        "output_dir": str(tmp_path),
        "dataset": "made",
        "model": {"model_type": "rnnzoo-gru", "embedding_size": 16, "hidden_size": 4},
        "tokenizer": {"vocab_size": 300},
        "word_vectors": "word2vec",
        "learning_rate": 0,
        "max_train_steps": 1,
        "verify_rows": 2,
        "num_threads": 1,
    }
    fresh_accelerator()
    results = imdb.recipe([part for name, value in flags.items() for part in (f"--{name}", json.dumps(value))])
    saved = load_file(tmp_path / "model.safetensors")["backbone.embed_tokens.weight"]
    texts = list(make_reviews()["train"]["text"])
    rows = rnnzoo.train_tokenizer(texts, vocab_size=300)(texts)["input_ids"]
    untrained = nn.Embedding(300, 16, padding_idx=0)
    nn.init.normal_(untrained.weight[1:], std=0.05)
    fresh = word2vec(rows, untrained, seed=0)
    # The same but for the spread, which is that of the table it replaced.
    scale = saved[3:].std() / fresh[3:].std()
    torch.testing.assert_close(saved[3:], fresh[3:] * scale, atol=1e-6, rtol=1e-4)
    assert results["config"]["word_vectors"] == "word2vec"


def test_seconds_before_the_loop_count(tmp_path):
    task = SmallTask()
    task.seconds_before = 1000.0
    assert trained(tmp_path, task).seconds > 1000


@pytest.mark.parametrize("adversarial_epsilon", [0.0, 0.1])
def test_frozen_vectors_stay_as_they_began(tmp_path, adversarial_epsilon):
    name = "backbone.embed_tokens.weight"
    begun = trained(tmp_path / "begun", learning_rate=0.0, max_train_steps=1).weights[name]
    settings = {"max_train_steps": 5, "weight_decay": 0.1, "adversarial_epsilon": adversarial_epsilon}
    frozen = trained(tmp_path / "frozen", freeze_word_vectors=True, **settings)
    tuned = trained(tmp_path / "tuned", **settings)
    assert torch.equal(frozen.weights[name], begun) and not torch.allclose(tuned.weights[name], begun)
    moved = [key for key in frozen.weights if not torch.equal(frozen.weights[key], tuned.weights[key])]
    assert "classifier.weight" in moved and "backbone.layers.0.forward_direction.weight_ih" in moved


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ({"word_vectors": "nowhere.txt"}, "nowhere.txt"),
        ({"model_name_or_path": "somewhere"}, "leave out .*word_vectors"),
    ],
)
def test_what_cannot_be_is_refused(given, says, tmp_path):
    options = {"output_dir": str(tmp_path), "dataset": "made", "word_vectors": "word2vec"}
    if "model_name_or_path" not in given:
        options |= {"model": {"model_type": "rnnzoo-rnn"}, "tokenizer": {"vocab_size": 9}}
    flags = [part for name, value in (options | given).items() for part in (f"--{name}", json.dumps(value))]
    fresh_accelerator()
    with pytest.raises(RecipeError, match=says):
        imdb.recipe(flags)
