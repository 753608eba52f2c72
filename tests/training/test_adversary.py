"""The adversary: how far and in which direction it perturbs word embeddings, and what the loop makes of it."""

import pytest
import torch
from torch import nn
from torch.optim.optimizer import register_optimizer_step_pre_hook
from transformers import BertConfig, BertForSequenceClassification

from rnnzoo import GRUConfig, GRUForSequenceClassification
from rnnzoo.data.errors import RecipeError
from rnnzoo.training.adversary import Adversary
from tests.support.small_task import SmallTask, Tagger, gap, trained


close = {"rtol": 1e-4, "atol": 1e-6}


def gru():
    return GRUForSequenceClassification(GRUConfig(vocab_size=20, embedding_size=5, hidden_size=4, pooling="mean"))


def bert():
    size = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    dropout = {"hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}
    return BertForSequenceClassification(BertConfig(**size, **dropout, vocab_size=20, max_position_embeddings=16))


@pytest.fixture(params=[gru, bert], ids=["gru", "bert"])
def model(request):
    return request.param().train()


@pytest.fixture
def batch():
    ids = torch.randint(3, 20, (4, 7))
    mask = torch.tensor([[1] * 7, [1] * 4 + [0] * 3, [1] * 2 + [0] * 5, [1] * 6 + [0]])
    return {"input_ids": ids * mask, "attention_mask": mask, "labels": torch.tensor([0, 1, 1, 0])}


def attacked(model, batch, epsilon):
    """The adversary after one forward and backward pass, and the loss of that."""
    adversary = Adversary(model.get_input_embeddings(), epsilon)
    adversary.watch()
    loss = model(**batch).loss
    loss.backward()
    adversary.attack()
    return adversary, loss.item()


def test_each_example_is_perturbed_by_its_fraction_along_its_own_gradient(model, batch):
    adversary, _ = attacked(model, batch, 0.1)
    adversary.leave()
    x = model.get_input_embeddings().weight[batch["input_ids"]].detach()
    for row, words in enumerate(batch["attention_mask"].bool()):
        perturbation = adversary.perturbation[row]
        assert not perturbation[~words].any(), "padding is not perturbed"
        assert perturbation.norm() == pytest.approx(0.1 * x[row, words].norm().item(), rel=1e-5)
        # Alone it has the same gradient, so the same perturbation: nothing of its neighbours is in that.
        alone, _ = attacked(model, {name: part[row : row + 1] for name, part in batch.items()}, 0.1)
        torch.testing.assert_close(alone.perturbation[0], perturbation, **close)
        alone.leave()


def test_the_loss_grows_as_its_gradient_says(model, batch):
    adversary, loss = attacked(model.double(), batch, 1e-3)
    along = adversary.perturbation
    uphill = model(**batch).loss.item()
    assert uphill > loss
    across = torch.randn_like(along) * batch["attention_mask"][..., None]
    adversary.perturbation = across * (along.flatten(1).norm(dim=1) / across.flatten(1).norm(dim=1))[:, None, None]
    assert model(**batch).loss.item() < uphill, "no other direction is as steep"
    adversary.perturbation = -along
    assert model(**batch).loss.item() == pytest.approx(2 * loss - uphill, abs=1e-2 * (uphill - loss))
    adversary.rest()
    assert model(**batch).loss.item() == pytest.approx(loss)


def test_nothing_is_perturbed_in_evaluation_or_afterwards(model, batch):
    model.eval()
    expected = model(**batch).logits
    model.train()
    adversary, _ = attacked(model, batch, 0.5)
    assert not torch.allclose(model(**batch).logits, expected)
    torch.testing.assert_close(model.eval()(**batch).logits, expected)
    model.train()
    adversary.leave()
    torch.testing.assert_close(model(**batch).logits, expected)


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_the_size_of_a_gradient_does_not_matter(size):
    model = gru().train()
    adversary = Adversary(model.get_input_embeddings(), 0.1)
    adversary.watch()
    ids = torch.randint(3, 20, (2, 5))
    (model.get_input_embeddings()(ids).sigmoid().sum() * size).backward()
    adversary.attack()
    x = model.get_input_embeddings().weight[ids].detach()
    for row in range(2):
        assert adversary.perturbation[row].norm() == pytest.approx(0.1 * x[row].norm().item(), rel=1e-4)


def test_a_model_that_does_not_look_up_its_words_exactly_once_is_refused(batch):
    model = gru().train()
    twice = Adversary(model.get_input_embeddings(), 0.1)
    twice.watch()
    model(**batch)
    with pytest.raises(RecipeError, match="looks up its word vectors exactly once.*Leave .* at 0"):
        model(**batch)
    twice.leave()
    never = Adversary(model.get_input_embeddings(), 0.1)
    never.watch()
    model(inputs_embeds=torch.randn(2, 3, 5), labels=torch.tensor([0, 1])).loss.backward()
    with pytest.raises(RecipeError, match="looks up its word vectors exactly once"):
        never.attack()
    never.leave()
    flat = Adversary(model.get_input_embeddings(), 0.1)
    flat.watch()
    with pytest.raises(RecipeError, match="looks up its word vectors exactly once"):
        model.get_input_embeddings()(torch.tensor([3, 4]))
    flat.leave()


def test_frozen_embeddings_are_perturbed_too(batch):
    model = gru().train()
    model.get_input_embeddings().weight.requires_grad_(False)
    adversary, loss = attacked(model, batch, 0.1)
    assert model(**batch).loss.item() > loss
    assert model.get_input_embeddings().weight.grad is None


def test_the_loop_takes_the_mean_of_both_gradients(tmp_path):
    """Compared with the first step computed by hand."""
    gradients = []

    def note(optimizer, args, kwargs):
        gradients.append([p.grad.clone() for group in optimizer.param_groups for p in group["params"]])

    handle = register_optimizer_step_pre_hook(note)
    epsilon = 0.3
    task = SmallTask()
    run = trained(tmp_path, task, adversarial_epsilon=epsilon, max_train_steps=1, max_grad_norm=None)
    handle.remove()

    torch.manual_seed(0)
    model = Tagger()
    rows = task.rows["train"][run.micro_batches[0]]
    batch = task.collate(rows)
    x = model.get_input_embeddings()(batch["input_ids"])

    def loss_at(vectors):
        y = model.backbone(inputs_embeds=vectors, attention_mask=batch["attention_mask"]).last_hidden_state
        return nn.functional.cross_entropy(model.classifier(y).flatten(0, 1), batch["labels"].flatten())

    (g,) = torch.autograd.grad(loss_at(x), x, retain_graph=True)
    words = batch["attention_mask"].bool()
    perturbations = torch.zeros_like(x)
    for row in range(len(x)):
        counted = g[row].any(-1)  # what follows the last label has no gradient
        assert not (counted & ~words[row]).any()
        perturbations[row] = epsilon * x[row, counted].norm() * g[row] / g[row].norm()
    expected = torch.autograd.grad((loss_at(x) + loss_at(x + perturbations.detach())) / 2, list(model.parameters()))
    torch.testing.assert_close(gradients[0], list(expected), **close)


def test_the_adversary_changes_what_is_learned_and_nothing_else(tmp_path):
    plain, hard = trained(tmp_path / "plain"), trained(tmp_path / "hard", adversarial_epsilon=0.2)
    assert gap(plain, hard) > 1e-3
    assert plain.micro_batches == hard.micro_batches
    assert hard.hooks == 0, "the adversary has left"
    assert plain.history[0]["train_loss"] == pytest.approx(hard.history[0]["train_loss"], rel=0.2)
