"""The features of characters are perturbed beside the word vectors, where a tagger's options ask for it."""

import pytest
import torch

from recipes.ner import TASK
from rnnzoo import LSTMConfig, LSTMForTokenClassification
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import RecipeError
from rnnzoo.training.adversary import Adversary
from tests.support.recipes import run


OPTIONS = {"adversarial_epsilon": 0.2, "adversarial_character_epsilon": 0.1}


@pytest.fixture
def task():
    return TASK(Corpus("small", "here", ["O", "B-X", "I-X"], {}, scheme="IOB2"))


def test_each_part_of_a_word_s_vector_is_perturbed_by_its_own_fraction(task):
    size = {"embedding_size": 5, "hidden_size": 4, "character_size": 6, "character_vocab_size": 9}
    model = LSTMForTokenClassification(LSTMConfig(vocab_size=20, num_labels=3, **size)).train()
    batch = {
        "input_ids": torch.randint(3, 20, (2, 7)),
        "character_ids": torch.randint(2, 9, (2, 7, 4)),
        "labels": torch.randint(3, (2, 7)),
    }
    adversaries = words, characters = [Adversary(*pair) for pair in task.attacked(model, TASK.Options(**OPTIONS))]
    for adversary in adversaries:
        adversary.watch()
    untouched = model(**batch).loss
    untouched.backward()
    for adversary in adversaries:
        adversary.attack()
    both = model(**batch).loss.item()
    for found, module, ids, epsilon in (
        (words, model.backbone.embed_tokens, batch["input_ids"], 0.2),
        (characters, model.backbone.character_encoder, batch["character_ids"], 0.1),
    ):
        vectors = module.eval()(ids).detach()
        torch.testing.assert_close(found.perturbation.flatten(1).norm(dim=1), epsilon * vectors.flatten(1).norm(dim=1))
    model.train()
    characters.rest()
    assert both > model(**batch).loss.item() > untouched.item(), "each of the two is uphill"


def test_without_the_option_only_words_are_perturbed(task):
    model = LSTMForTokenClassification(LSTMConfig(vocab_size=20, character_size=6))
    assert [module for module, _ in task.attacked(model, TASK.Options(adversarial_epsilon=0.2))] == [
        model.get_input_embeddings()
    ]


def test_a_model_that_reads_no_characters_is_refused(task, tmp_path):
    with pytest.raises(RecipeError, match="adversarial_character_epsilon is 0.1, but the model reads no characters"):
        run(
            TASK,
            tmp_path,
            model={"model_type": "rnnzoo-lstm"},
            tokenizer={"vocab_size": 99},
            adversarial_character_epsilon=0.1,
        )
    model = LSTMForTokenClassification(LSTMConfig(vocab_size=20))
    with pytest.raises(RecipeError, match="runs/x reads no characters: leave it out"):
        task.attacked(model, TASK.Options(model_name_or_path="runs/x", **OPTIONS))
    with pytest.raises(RecipeError, match="adversarial_character_epsilon is 2: it must lie between 0 and 1"):
        TASK.Options(adversarial_character_epsilon=2)
