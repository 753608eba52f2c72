"""Initial word embeddings: word2vec learns which words are alike, is reproducible, and is where a run starts."""

from copy import deepcopy
from types import SimpleNamespace

import pyarrow.parquet as pq
import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from transformers import AutoTokenizer

import rnnzoo
from recipes.imdb import TASK as IMDB
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.synthetic.reviews import make_reviews
from rnnzoo.training.options import WORD2VEC, Options
from rnnzoo.training.word_vectors import start_vectors, word2vec
from tests.support.recipes import run
from tests.support.small_task import SmallTask, trained


@pytest.fixture(scope="module")
def read():
    """A tokenizer of the synthetic reviews, their ids, and an untrained table."""
    texts = list(make_reviews()["train"]["text"])[:1500]
    tokenizer = rnnzoo.train_tokenizer(texts, vocab_size=600)
    torch.manual_seed(0)
    table = nn.Embedding(len(tokenizer), 32, padding_idx=0)
    nn.init.normal_(table.weight[1:], std=0.05)
    return tokenizer, tokenizer(texts)["input_ids"], table


def test_words_used_alike_have_similar_vectors(read):
    tokenizer, rows, table = read
    vectors = nn.functional.normalize(word2vec(rows, table, seed=0), dim=1)

    def similarity(a, b):
        return float(vectors[tokenizer.convert_tokens_to_ids(a)] @ vectors[tokenizer.convert_tokens_to_ids(b)])

    for word, alike in (("monday", "friday"), ("lisbon", "riga"), ("gripping", "splendid"), ("baker", "nurse")):
        for other in ("monday", "lisbon", "gripping", "baker"):
            if other != word:
                assert similarity(word, alike) > similarity(word, other) + 0.1, (word, alike, other)


def test_the_same_rows_and_seed_give_the_same_table(read):
    _, rows, table = read
    first, again, other = (word2vec(rows[:500], table, seed) for seed in (0, 0, 1))
    assert torch.equal(first, again) and not torch.allclose(first, other)


def test_the_table_keeps_its_spread_and_the_vectors_of_words_that_do_not_occur(read):
    _, rows, table = read
    made = word2vec([row for row in rows[:500] if 7 not in row], table, seed=0)
    assert torch.equal(made[[0, 1, 7]], table.weight[[0, 1, 7]])  # <pad>, <s>, and a word left out
    learned = made[sorted({i for row in rows[:500] if 7 not in row for i in row})]
    assert learned.std().item() == pytest.approx(table.weight.std().item(), rel=1e-3)
    assert learned.mean(0).abs().max() < 1e-6


def test_a_run_starts_from_them(tmp_path, reviews, served_here):
    options = {
        "model": {"model_type": "rnnzoo-gru", "embedding_size": 16, "hidden_size": 4},
        "tokenizer": {"vocab_size": 300},
        "word_vectors": "word2vec",
        "learning_rate": 0,
        "max_train_steps": 1,
        "verify_rows": 2,
        "num_threads": 1,
    }
    results = run(IMDB, tmp_path, reviews, **options)
    saved = load_file(tmp_path / "model.safetensors")["backbone.embed_tokens.weight"]
    tokenizer = AutoTokenizer.from_pretrained(tmp_path)
    rows = tokenizer(pq.read_table(reviews / "train.parquet")["text"].to_pylist())["input_ids"]
    untrained = nn.Embedding(len(tokenizer), 16, padding_idx=0)
    nn.init.normal_(untrained.weight[1:], std=0.05)
    fresh = word2vec(rows, untrained, seed=0)
    # Equal except for the spread, which is that of the table it replaced.
    scale = saved[3:].std() / fresh[3:].std()
    torch.testing.assert_close(saved[3:], fresh[3:] * scale, atol=1e-6, rtol=1e-4)
    assert results["config"]["word_vectors"] == "word2vec"


def test_they_are_learned_from_the_unlabelled_texts_too(read):
    tokenizer, rows, table = read
    splits = {"train": {"input_ids": rows[:300]}, "validation": {"input_ids": rows[600:]}}
    for unlabelled in ({}, {"unlabelled": {"input_ids": rows[300:500]}}):
        embeddings = deepcopy(table)
        model = SimpleNamespace(get_input_embeddings=lambda found=embeddings: found)
        start_vectors(model, tokenizer, splits | unlabelled, WORD2VEC, Options())
        assert torch.equal(embeddings.weight, word2vec(rows[: 500 if unlabelled else 300], table, seed=0))


def test_kept_vectors_serve_runs_with_the_same_texts_and_seed(read, tmp_path):
    _, rows, table = read

    def start(rows, seed=0):
        embeddings = deepcopy(table)
        model = SimpleNamespace(get_input_embeddings=lambda: embeddings)
        options = Options(word_vectors=WORD2VEC, word2vec_folder=str(tmp_path / "kept"), seed=seed)
        seconds = start_vectors(model, None, {"train": {"input_ids": rows}}, WORD2VEC, options)
        return embeddings.weight.detach(), seconds

    first, _ = start(rows[:300])
    assert torch.equal(first, word2vec(rows[:300], table, seed=0))
    (file,) = (tmp_path / "kept").iterdir()
    # That the file is read shows when it has other vectors; its seconds count, however fast it was read.
    save_file({"vectors": 2 * first}, file, metadata={"seconds": "77.0"})
    again, seconds = start(rows[:300])
    assert torch.equal(again, 2 * first) and seconds == 77
    assert torch.equal(start(rows[:299])[0], word2vec(rows[:299], table, seed=0))
    assert torch.equal(start(rows[:300], seed=1)[0], word2vec(rows[:300], table, seed=1))
    assert len(list(file.parent.iterdir())) == 3
    file.write_bytes(file.read_bytes()[:-4])
    with pytest.raises(RecipeError, match=f"{file.name} cannot be read .* Remove it"):
        start(rows[:300])


def test_seconds_before_the_loop_count_as_training(tmp_path):
    task = SmallTask()
    task.seconds_before = 1000.0
    assert trained(tmp_path, task).seconds > 1000


@pytest.mark.parametrize("adversarial_epsilon", [0.0, 0.1])
def test_frozen_vectors_stay_as_they_were(tmp_path, adversarial_epsilon):
    name = "backbone.embed_tokens.weight"
    begun = trained(tmp_path / "begun", learning_rate=0.0, max_train_steps=1).weights[name]
    settings = {"max_train_steps": 5, "weight_decay": 0.1, "adversarial_epsilon": adversarial_epsilon}
    frozen = trained(tmp_path / "frozen", freeze_word_vectors=True, **settings)
    tuned = trained(tmp_path / "tuned", **settings)
    assert torch.equal(frozen.weights[name], begun) and not torch.allclose(tuned.weights[name], begun)
    moved = [key for key in frozen.weights if not torch.equal(frozen.weights[key], tuned.weights[key])]
    assert "classifier.weight" in moved and "backbone.layers.0.forward_direction.weight_ih" in moved


def test_a_file_that_is_not_there_is_refused(tmp_path):
    model = {"model_type": "rnnzoo-rnn"}
    with pytest.raises(RecipeError, match="word_vectors: .*nowhere.txt"):
        run(IMDB, tmp_path, word_vectors="nowhere.txt", model=model, tokenizer={"vocab_size": 9})
