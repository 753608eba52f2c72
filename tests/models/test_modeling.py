"""The contract of every model of the zoo: padding, pooling, initialisation, saving, training, export, pipelines.

What the recurrent layers compute is in test_recurrence.py, what a CRF adds in test_tagging.py. What is the same code
for all families is tested on one.
"""

import copy
import json
from dataclasses import fields
from typing import get_args

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import nn
from torch._dynamo.testing import CompileCounterWithBackend
from transformers import (
    AutoConfig,
    AutoModel,
    AutoModelForSequenceClassification,
    AutoModelForTokenClassification,
    Trainer,
    TrainingArguments,
    pipeline,
)
from transformers.utils import ModelOutput

from rnnzoo import FAMILIES, RecurrentState, modeling_rnnzoo
from rnnzoo.configuration_rnnzoo import RecurrentConfig
from rnnzoo.recurrence_rnnzoo import FusedDirection, RecurrentLayer
from rnnzoo.wide_rnnzoo import Wide
from tests.conftest import HEADS, VARIANTS, Variant


POOLINGS = get_args(RecurrentConfig.__annotations__["pooling"])
ONE_FAMILY = [head for head in HEADS if head.name == "BiLSTM"]
CLASSIFIER = next(head for head in ONE_FAMILY if head.auto is AutoModelForSequenceClassification)

# What is promised of a row's answer in any batch.
close = {"rtol": 1e-5, "atol": 1e-5}


def named(part):
    return part.name + part.auto.__name__.removeprefix("Auto") if isinstance(part, Variant) else None


# Each backbone, and of one family each head.
each_backbone_and_head = pytest.mark.parametrize("head", [*VARIANTS, *ONE_FAMILY[1:]], ids=named)
each_head_of_one_family = pytest.mark.parametrize("head", ONE_FAMILY, ids=named)
each_pooling = pytest.mark.parametrize(
    ("head", "pooling"),
    [(head, pooling) for head in VARIANTS if "LSTM" in head.name for pooling in POOLINGS],
    ids=named,
)
# Each head of each family; each pooling, which is the same code for all; and windows, which classifiers have.
EACH_CHOICE = [
    *((head, {}) for head in HEADS),
    *((head, {"pooling": pooling}) for head in VARIANTS if "LSTM" in head.name for pooling in POOLINGS[1:]),
    *((head, {"pooling": "concat", "window": 3}) for head in HEADS if head.auto is CLASSIFIER.auto),
]
each_choice = pytest.mark.parametrize(
    ("head", "choice"),
    EACH_CHOICE,
    ids=[named(head) + "".join(f"-{value}" for value in choice.values()) for head, choice in EACH_CHOICE],
)


# ---------------------------------------------------------------------------------------------------- padding


def lay_out(rows, where):
    """Rows of ids as one batch, padded `where` it says with ids that must not be read."""
    width = max(len(row) for row in rows) + 3
    ids = torch.tensor([-100, 10**9, 0, 7])[torch.randint(4, (len(rows), width))]
    mask = torch.zeros(len(rows), width, dtype=torch.bool)
    for number, row in enumerate(rows):
        start = {"left": width - len(row), "right": 0, "both": 2, "holes": 0}[where]
        places = torch.randperm(width)[: len(row)].sort()[0] if where == "holes" else torch.arange(len(row)) + start
        ids[number, places] = row
        mask[number, places] = True
    return ids, mask


def vectors(model, ids, mask):
    """The word vectors of `ids`, with NaN and infinity in the padding."""
    x = model.get_input_embeddings()(ids.clamp(0, model.config.vocab_size - 1)).detach()
    return torch.where(mask[..., None], x, torch.tensor([torch.nan, torch.inf])[torch.randint(2, x.shape)])


def of_row(out, row, real):
    """All outputs for a row, by name; at its real tokens where there is a time axis."""
    parts = {}
    for name, value in out.items():
        if isinstance(value, ModelOutput):
            parts |= {f"{name}.{key}": tensor[row] for key, tensor in value.items()}
        elif isinstance(value, tuple):
            parts |= {f"{name}[{number}]": tensor[row, real] for number, tensor in enumerate(value)}
        else:
            parts[name] = value[row, real] if value.ndim == 3 else value[row]
    return parts


@each_choice
def test_a_row_answers_the_same_in_any_batch(head, choice):
    model = head.model(num_hidden_layers=2, **choice)
    rows = [torch.randint(3, 20, (length,)) for length in (1, 7, 0, 4, 9, 3)]
    # The hidden states of a window have a time axis of their own.
    ask = {"output_hidden_states": "window" not in choice}
    alone = [of_row(model(row[None], **ask), 0, slice(len(row))) for row in rows]
    for where, dtype in (("left", torch.long), ("right", torch.bool), ("both", torch.float32), ("holes", torch.long)):
        for batch in torch.randperm(len(rows)).tolist(), [2], [2, 4]:
            ids, mask = lay_out([rows[number] for number in batch], where)
            for given in {"input_ids": ids}, {"inputs_embeds": vectors(model, ids, mask)}:
                out = model(**given, attention_mask=mask.to(dtype), **ask)
                for place, number in enumerate(batch):
                    found = of_row(out, place, mask[place])
                    torch.testing.assert_close(found, alone[number], **close)
                    assert all(part.isfinite().all() for part in found.values())


@pytest.mark.parametrize("pooling", ["mean", "max", "attention"])
@pytest.mark.parametrize("variant", [head for head in VARIANTS if head.name in ("LSTM", "BiGRU")], ids=named)
def test_without_layers_word_vectors_are_pooled(variant, ids, mask, pooling, tmp_path):
    model = variant.model(num_hidden_layers=0, pooling=pooling)
    x = model.get_input_embeddings()(ids)
    out = model(ids, attention_mask=mask, output_hidden_states=True)
    torch.testing.assert_close(out.last_hidden_state, x * mask[..., None])
    assert len(out.hidden_states) == 1
    for row, real in enumerate(mask.bool()):
        words = x[row, real]
        if pooling == "attention" and len(words):
            scores = model.pooler.score(torch.tanh(model.pooler.projection(words)))
            words = scores.softmax(0) * words * len(words)
        expected = getattr(words, {"max": "amax"}.get(pooling, "mean"))(0) if len(words) else torch.zeros(x.shape[2])
        torch.testing.assert_close(out.pooler_output[row], expected, **close)

    # Its state is empty, and can be passed on like any other.
    assert all(part.shape == (len(ids), 0, 4) for part in out.final_state.values())
    again = model(ids, attention_mask=mask, initial_state=out.final_state)
    torch.testing.assert_close(again.last_hidden_state, out.last_hidden_state)
    model.save_pretrained(tmp_path)
    loaded = variant.auto.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded(ids, attention_mask=mask).pooler_output, out.pooler_output)


@each_backbone_and_head
def test_no_mask_means_that_every_token_is_real(head, ids):
    model = head.model(num_hidden_layers=2)
    for given in {"input_ids": ids}, {"inputs_embeds": model.get_input_embeddings()(ids)}:
        for dtype in (torch.long, torch.bool, torch.float32):
            out = model(**given, attention_mask=torch.ones(ids.shape, dtype=dtype))
            torch.testing.assert_close(out.to_tuple(), model(**given).to_tuple(), **close)


@each_choice
def test_of_a_mask_only_zero_or_not_matters(head, choice, ids, mask):
    model = head.model(**choice)
    expected = model(ids, attention_mask=mask).to_tuple()
    for other in mask * 3, mask * 0.5, -mask:
        torch.testing.assert_close(model(ids, attention_mask=other).to_tuple(), expected, **close)


@each_choice
def test_an_empty_text_has_an_answer(head, choice):
    model = head.model(**choice)
    padding = torch.zeros(2, 4, dtype=torch.long)
    expected = model(padding, attention_mask=padding)
    # An empty list of ids becomes integers or floats, depending on the caller and the version of transformers.
    integers, floats, no_words = padding[:, :0], torch.ones(2, 0), torch.ones(2, 0, 5)
    for given in {"input_ids": integers}, {"input_ids": floats}, {"inputs_embeds": no_words}:
        for mask in None, integers, floats:
            found = model(**given, attention_mask=mask)
            for row in range(2):
                torch.testing.assert_close(of_row(found, row, slice(0)), of_row(expected, row, slice(0)), **close)


@pytest.mark.parametrize("window", [1, 3, 50])
def test_a_window_is_the_same_as_truncation_by_hand(window):
    model = CLASSIFIER.model(window=window, pooling="concat")
    without = CLASSIFIER.model(pooling="concat")
    without.load_state_dict(model.state_dict())
    rows = [torch.randint(3, 20, (length,)) for length in (1, 7, 4, 3)]
    expected = torch.cat([without(row[None, -window:]).logits for row in rows])
    for where in ("left", "right", "both", "holes"):
        ids, mask = lay_out(rows, where)
        for given in {"input_ids": ids}, {"inputs_embeds": vectors(model, ids, mask)}:
            torch.testing.assert_close(model(**given, attention_mask=mask).logits, expected, **close)
    torch.testing.assert_close(model(rows[1][None]).logits, expected[1:2], **close)


def last(y, h, pooler):
    return torch.cat(list(h))


def attention(y, h, pooler):
    scores = [pooler.score.weight[0] @ torch.tanh(pooler.projection.weight @ t + pooler.projection.bias) for t in y]
    return sum(weight * t for weight, t in zip(torch.stack(scores).softmax(0), y, strict=True))


FORMULAS = {
    "last": last,
    "mean": lambda y, h, pooler: sum(y) / len(y),
    "max": lambda y, h, pooler: torch.stack(list(y)).max(0).values,
    "concat": lambda *given: torch.cat([FORMULAS[name](*given) for name in ("last", "mean", "max")]),
    "attention": attention,
}


@each_pooling
def test_pooling_follows_its_formula(head, pooling, ids, mask):
    model = head.model(pooling=pooling)
    found = model(ids, attention_mask=mask).pooler_output
    for row, real in enumerate(mask.bool()):
        expected = torch.zeros_like(found[row])
        if real.any():
            alone = model(ids[row : row + 1, real])
            expected = FORMULAS[pooling](alone.last_hidden_state[0], alone.final_state.h[0], model.pooler)
        torch.testing.assert_close(found[row], expected, **close)


@each_head_of_one_family
def test_one_hot_rows_are_the_same_as_ids(head, ids, mask):
    model = head.model(embedding_size=20)
    with torch.no_grad():
        model.get_input_embeddings().weight.copy_(torch.eye(20))
    expected = model(ids, attention_mask=mask).to_tuple()
    for one_hot in nn.functional.one_hot(ids, 20), nn.functional.one_hot(ids, 20).float():
        torch.testing.assert_close(model(inputs_embeds=one_hot, attention_mask=mask).to_tuple(), expected, **close)


@each_head_of_one_family
def test_arguments_that_do_not_fit_each_other_are_refused(head, ids, mask):
    model = head.model()
    x = torch.zeros(*ids.shape, 5)
    for given, message in (
        ({}, "either input_ids or inputs_embeds"),
        ({"input_ids": ids, "inputs_embeds": x}, "either input_ids or inputs_embeds"),
        ({"input_ids": ids[0]}, r"input_ids has shape \(6,\)"),
        ({"inputs_embeds": x[..., :4]}, r"inputs_embeds has shape \(6, 6, 4\).*embedding_size=5"),
        ({"inputs_embeds": x[0]}, r"inputs_embeds has shape \(6, 5\)"),
        ({"input_ids": ids, "attention_mask": mask[:, 1:]}, r"attention_mask has shape \(6, 5\).*\(6, 6\)"),
    ):
        with pytest.raises(ValueError, match=message):
            model(**given)


@each_head_of_one_family
@torch.no_grad()
def test_a_hook_on_the_backbone_sees_each_call_of_a_head(head, ids, mask, monkeypatch):
    """FSDP's gathering of weights is such a hook: a head must not go past the module."""
    monkeypatch.setattr(modeling_rnnzoo, "CHUNK", 4)
    model, calls = head.model(), []
    getattr(model, "backbone", model).register_forward_hook(lambda *_: calls.append(1))
    model(ids[:, :4], attention_mask=mask[:, :4])
    assert len(calls) == 1
    model(ids, attention_mask=mask)  # for a head two chunks, read once in each direction
    assert len(calls) == (2 if head.auto is AutoModel else 5)


# Of each field that only some heads read, a value that is not the default.
READ_BY_SOME = {
    **{"classifier_dropout": 0.9, "pooling": "mean", "window": 2, "use_crf": True},
    **{"iobes": True, "pool_repeated_words": True, "sentence_token_id": 5},
    **{"wide_size": 8, "wide_dropout": 0.9, "tie_word_embeddings": True},
}
# Fields without which another one changes nothing.
BESIDE = {
    "wide_dropout": {"wide_size": 8},
    "iobes": {"use_crf": True, "id2label": {0: "O", 1: "B-X", 2: "I-X"}},
}


def test_what_heads_read_are_fields_of_the_configuration():
    read = frozenset().union(*(cls.reads for family in FAMILIES.values() for cls in family.models.values()))
    assert read == set(READ_BY_SOME)
    assert read <= {field.name for field in fields(RecurrentConfig)}


@pytest.mark.parametrize("field", READ_BY_SOME)
def test_a_field_changes_the_answers_of_the_heads_that_read_it_and_of_no_other(field, ids, mask):
    def answer(head, **changes):
        """In evaluation and in training."""
        torch.manual_seed(0)
        model = head.auto.from_config(head.config(**changes))
        for part in model.modules():
            if isinstance(part, Wide):
                torch.nn.init.normal_(part.weight)  # it starts at zero
        return [model.train(training)(ids, attention_mask=mask).logits for training in (False, True)]

    for head in HEADS:
        if head.auto is not AutoModel:
            other = BESIDE.get(field, {})
            same = all(map(torch.equal, answer(head, **other), answer(head, **other, **{field: READ_BY_SOME[field]})))
            reads = FAMILIES[head.family].models[head.auto].reads
            assert same == (field not in reads), head


# ------------------------------------------------------------------------------------------------ initialisation


def check_initial(name, weight, model):
    """That a weight is initialised as `_init_weights` promises."""
    assert weight.isfinite().all(), name
    module, _, leaf = name.rpartition(".")
    module = model.get_submodule(module)
    if isinstance(module, FusedDirection):
        gates = dict(zip(module.cell.gates, weight.chunk(len(module.cell.gates)), strict=True))
        for gate, part in gates.items():
            if leaf == "weight_hh":
                torch.testing.assert_close(part @ part.T, torch.eye(len(part)), **close)
            elif leaf == "weight_ih":
                check_xavier(part)
            else:
                is_open = gate == "forget" and leaf == "bias_ih"
                assert torch.equal(part, torch.full_like(part, float(is_open))), f"{name}, {gate} gate"
        parts = list(gates.values())
        if leaf.startswith("weight"):
            assert all(not torch.equal(part, parts[0]) for part in parts[1:]), "each gate draws its own matrix"
    elif isinstance(module, nn.Embedding):
        assert not weight[model.config.pad_token_id].any()
        assert abs(weight.std() / 0.05 - 1) < 0.1
    elif leaf == "bias":
        assert not weight.any(), name
    else:
        check_xavier(weight)


def check_xavier(weight):
    bound = (6 / sum(weight.shape)) ** 0.5
    assert weight.abs().max() <= bound
    assert weight.abs().max() > 0.1 * bound


def test_every_weight_is_initialised_as_promised(head):
    model = head.auto.from_config(head.config(pooling="attention", num_hidden_layers=2, vocab_size=200))
    for name, weight in model.named_parameters():
        check_initial(name, weight, model)


# ---------------------------------------------------------------------------------------------- saving and loading


def test_a_checkpoint_gives_back_the_model(head, tmp_path, ids, mask):
    model = head.model(pooling="attention", num_hidden_layers=2)
    model.save_pretrained(tmp_path)
    written = {file.name for file in tmp_path.iterdir()}
    files = {"config.json", "model.safetensors"} | ({"generation_config.json"} if model.can_generate() else set())
    assert {name for name in written if not name.endswith(".py")} == files

    family = FAMILIES[head.family]
    auto_map = {"AutoConfig": f"configuration_rnnzoo.{family.config.__name__}"}
    for auto, cls in family.models.items():
        auto_map[auto.__name__] = f"{cls.__module__.removeprefix('rnnzoo.')}.{cls.__name__}"
    config = json.loads((tmp_path / "config.json").read_text())
    assert config["auto_map"] == auto_map
    assert {place.split(".")[0] + ".py" for place in auto_map.values()} <= written
    assert config["architectures"] == [type(model).__name__]

    loaded = head.auto.from_pretrained(tmp_path)
    assert type(loaded) is type(model) and not loaded.training
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    torch.testing.assert_close(
        loaded(ids, attention_mask=mask).to_tuple(), model(ids, attention_mask=mask).to_tuple(), **close
    )


@each_backbone_and_head
def test_a_weight_that_a_checkpoint_lacks_is_initialised_as_promised(head, tmp_path):
    model = head.model(pooling="attention", vocab_size=200)
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    assert stored.keys() == dict(model.named_parameters()).keys()
    for missing in stored:
        rest = {name: weight for name, weight in stored.items() if name != missing}
        save_file(rest, tmp_path / "model.safetensors", metadata={"format": "pt"})
        loaded = head.auto.from_pretrained(tmp_path).state_dict()
        check_initial(missing, loaded.pop(missing), model)
        torch.testing.assert_close(loaded, rest, rtol=0, atol=0)


@pytest.mark.parametrize("number", [torch.nan, torch.inf])
def test_weights_that_are_not_finite_are_not_loaded(tmp_path, number):
    CLASSIFIER.model().save_pretrained(tmp_path)
    weights = load_file(tmp_path / "model.safetensors")
    name = sorted(weights)[-1]
    weights[name].view(-1)[-1] = number
    save_file(weights, tmp_path / "model.safetensors", {"format": "pt"})
    with pytest.raises(OSError, match=f"The weights of .* are damaged .{name} has values that are not finite.*load"):
        CLASSIFIER.auto.from_pretrained(tmp_path)


def test_backbone_and_classifier_load_each_other(classifier, tmp_path, ids):
    model = classifier.model(pooling="attention")
    model.save_pretrained(tmp_path / "classifier")
    backbone = AutoModel.from_pretrained(tmp_path / "classifier")
    torch.testing.assert_close(backbone.state_dict(), model.backbone.state_dict(), rtol=0, atol=0)

    backbone.save_pretrained(tmp_path / "backbone")
    names = {0: "bad", 1: "fair", 2: "good", 3: "great"}
    for labels in {"num_labels": 4}, {"id2label": names, "label2id": {name: i for i, name in names.items()}}:
        again = AutoModelForSequenceClassification.from_pretrained(
            tmp_path / "backbone", ignore_mismatched_sizes=True, **labels
        )
        torch.testing.assert_close(again.backbone.state_dict(), backbone.state_dict(), rtol=0, atol=0)
        assert again.config.num_labels == 4 and again(ids).logits.shape == (len(ids), 4)
        for name, weight in again.classifier.named_parameters():
            check_initial(f"classifier.{name}", weight, again)
    assert again.config.id2label == names
    again.save_pretrained(tmp_path / "named")
    assert AutoConfig.from_pretrained(tmp_path / "named").id2label == names


# ------------------------------------------------------------------------------------------------------- training


def score(out):
    """A number that depends on all of a model's answer."""
    answer = out["logits"] if "logits" in out else out["pooler_output"]
    weights = torch.randn(answer.shape, generator=torch.Generator().manual_seed(1))
    return (answer.float() * weights).sum()


def gradients(model, *args, **kwargs):
    """The gradient of every parameter, by name; None where there is none."""
    model.zero_grad()
    score(model(*args, **kwargs)).backward()
    return {name: None if p.grad is None else p.grad.clone() for name, p in model.named_parameters()}


@each_choice
def test_every_parameter_gets_a_gradient(head, choice, ids, mask):
    model = head.model(num_hidden_layers=2, **choice)
    for name, gradient in gradients(model, ids, attention_mask=mask).items():
        assert gradient is not None, name
        assert gradient.isfinite().all(), name
        # Of a recurrent matrix, all of it: a gate could be shut.
        assert (gradient != 0).all() if ".weight_hh" in name else gradient.any(), name


LOSSES = {
    "single_label_classification": (3, torch.tensor([0, 2, 1, 1, 0, 2]), nn.functional.cross_entropy),
    "multi_label_classification": (3, torch.eye(3).repeat(2, 1), nn.functional.binary_cross_entropy_with_logits),
    "regression": (1, torch.arange(6.0), lambda logits, labels: nn.functional.mse_loss(logits[:, 0], labels)),
}


@pytest.mark.parametrize("given", [True, False], ids=["given", "inferred"])
@pytest.mark.parametrize("problem", LOSSES)
def test_the_loss_of_a_classifier_is_that_of_its_problem(problem, given, ids, mask):
    num_labels, labels, loss = LOSSES[problem]
    model = CLASSIFIER.model(num_labels=num_labels, problem_type=problem if given else None)
    out = model(ids, attention_mask=mask, labels=labels)
    torch.testing.assert_close(out.loss, loss(out.logits, labels))
    assert out.logits.shape == (6, num_labels)


# The new name is not in every version of transformers that we support.
@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
@pytest.mark.parametrize("use_reentrant", [False, True])
@each_backbone_and_head
def test_gradient_checkpointing_changes_nothing(head, ids, mask, use_reentrant):
    dropouts = dict.fromkeys(("embedding_dropout", "hidden_dropout", "recurrent_dropout"), 0.3)
    model = head.model(num_hidden_layers=2, **dropouts).train()
    calls = []
    for module in model.modules():
        if isinstance(module, RecurrentLayer):
            module.forward_direction.register_forward_pre_hook(lambda *_: calls.append(1))
    torch.manual_seed(3)
    expected = gradients(model, ids, attention_mask=mask)
    model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    torch.manual_seed(3)
    torch.testing.assert_close(gradients(model, ids, attention_mask=mask), expected, **close)
    assert len(calls) == 2 + 4, "each layer is run again in the backward pass"


@pytest.mark.filterwarnings("ignore:`gradient_checkpointing_enable` is deprecated:FutureWarning")
@pytest.mark.parametrize("use_reentrant", [False, True])
def test_gradient_checkpointing_reaches_the_initial_state(variant, ids, mask, use_reentrant):
    model = variant.model(num_hidden_layers=2).train()
    final_state = model(ids, attention_mask=mask).final_state

    def of_start():
        start = RecurrentState(*(part.detach().requires_grad_() for part in final_state.values()))
        score(model(ids, attention_mask=mask, initial_state=start)).backward()
        return [part.grad for part in start.values()]

    expected = of_start()
    assert all(gradient.any() for gradient in expected)
    model.gradient_checkpointing_enable({"use_reentrant": use_reentrant})
    torch.testing.assert_close(of_start(), expected, **close)


def test_trainer_takes_a_step_and_evaluates(tokenizer, texts, tmp_path):
    model = CLASSIFIER.model(num_labels=2, embedding_dropout=0.1, recurrent_dropout=0.1, classifier_dropout=0.1)
    rows = [{**tokenizer(text), "labels": number % 2} for number, text in enumerate(texts)]
    arguments = TrainingArguments(
        tmp_path, max_steps=1, per_device_train_batch_size=3, per_device_eval_batch_size=2, learning_rate=0.1,
        use_cpu=True, report_to=[], save_strategy="no", disable_tqdm=True, dataloader_pin_memory=False,
    )  # fmt: skip
    before = copy.deepcopy(model.state_dict())
    trainer = Trainer(model, arguments, train_dataset=rows, eval_dataset=rows, processing_class=tokenizer)
    trainer.train()
    unchanged = [name for name, weight in model.state_dict().items() if torch.equal(weight, before[name])]
    assert not unchanged

    answers = torch.from_numpy(trainer.predict(rows).predictions)
    model.eval()
    direct = torch.cat([model(**tokenizer([text], return_tensors="pt")).logits for text in texts])
    torch.testing.assert_close(answers, direct, **close)
    loss = nn.functional.cross_entropy(direct, torch.tensor([row["labels"] for row in rows]))
    assert trainer.evaluate()["eval_loss"] == pytest.approx(loss.item(), abs=1e-4)


@pytest.mark.parametrize("problem_type", ["single_label_classification", "multi_label_classification", "regression"])
def test_trainer_accumulates_to_the_same_step(tokenizer, texts, tmp_path, problem_type):
    labels = {"single_label_classification": 1, "multi_label_classification": [1.0, 0.0], "regression": [0.3, -2.0]}
    rows = [{**tokenizer(text), "labels": labels[problem_type]} for text in texts[:4]]
    weights = []
    for size, micro_batches in (4, 1), (2, 2):
        torch.manual_seed(0)
        model = AutoModelForSequenceClassification.from_config(
            FAMILIES["GRU"].config(vocab_size=20, embedding_size=5, hidden_size=4, problem_type=problem_type)
        )
        arguments = TrainingArguments(
            tmp_path, max_steps=1, per_device_train_batch_size=size, gradient_accumulation_steps=micro_batches,
            optim="sgd", learning_rate=0.1, max_grad_norm=0, use_cpu=True, report_to=[], save_strategy="no",
            disable_tqdm=True, dataloader_pin_memory=False,
        )  # fmt: skip
        Trainer(model, arguments, train_dataset=rows, processing_class=tokenizer).train()
        weights.append(model.state_dict())
    torch.testing.assert_close(*weights, **close)


# ------------------------------------------------------------------------- what transformers' models are used for


@each_backbone_and_head
def test_hidden_states_are_the_words_and_every_layer(head, ids, mask):
    model = head.model(num_hidden_layers=2)
    out = model(ids, attention_mask=mask, output_hidden_states=True)
    words, first, second = out.hidden_states
    real = mask[..., None]
    torch.testing.assert_close(words, model.get_input_embeddings()(ids) * real)
    assert first.shape == second.shape == (*ids.shape, model.config.output_size)
    backbone = getattr(model, "backbone", model)
    assert torch.equal(second, backbone(ids, attention_mask=mask).last_hidden_state)
    # The first layer's output is what a model of this layer alone gives.
    shallow = copy.deepcopy(backbone)
    shallow.layers = shallow.layers[:1]
    shallow.config.num_hidden_layers = 1
    torch.testing.assert_close(first, shallow(ids, attention_mask=mask).last_hidden_state)

    assert model(ids).hidden_states is None
    model.config.output_hidden_states = True
    assert len(model(ids).hidden_states) == 3


@each_backbone_and_head
def test_gradients_reach_hidden_states(head, ids, mask):
    model = head.model(num_hidden_layers=2)
    x = model.get_input_embeddings()(ids).detach().requires_grad_()
    out = model(inputs_embeds=x, attention_mask=mask, output_hidden_states=True)
    words, first, _ = out.hidden_states
    of_input, of_words, of_first = torch.autograd.grad(out[0].sum(), [x, words, first])
    torch.testing.assert_close(of_words, of_input)
    for gradient in of_words, of_first:
        assert torch.equal(gradient.any(-1), mask.bool())


@each_backbone_and_head
def test_a_tuple_on_request(head, ids):
    model = head.model()
    expected = model(ids).to_tuple()
    found = model(ids, return_dict=False)
    assert type(found) is tuple
    torch.testing.assert_close(found, expected)


@each_backbone_and_head
def test_a_copy_is_independent(head, ids):
    model = head.model()
    expected = model(ids).to_tuple()
    other = copy.deepcopy(model)
    torch.testing.assert_close(other(ids).to_tuple(), expected)
    with torch.no_grad():
        for parameter in other.parameters():
            parameter.zero_()
    torch.testing.assert_close(model(ids).to_tuple(), expected)
    assert not torch.allclose(score(other(ids)), score(model(ids)))


@each_backbone_and_head
def test_functional_call_uses_the_weights_that_it_is_given(head, ids, mask):
    model, other = head.model(), head.model()
    expected = other(ids, attention_mask=mask).to_tuple()
    model(ids, attention_mask=mask)  # nothing that it might cache here may be used below
    weights = dict(other.named_parameters())
    found = torch.func.functional_call(model, weights, (ids,), {"attention_mask": mask})
    torch.testing.assert_close(found.to_tuple(), expected)


@pytest.mark.filterwarnings("ignore:The new embeddings will be initialized:UserWarning")
@each_head_of_one_family
def test_more_words_leave_the_old_ones_alone(head, ids, mask, tmp_path):
    model = head.model()
    expected = model(ids, attention_mask=mask).to_tuple()
    model.resize_token_embeddings(30)
    torch.testing.assert_close(model(ids, attention_mask=mask).to_tuple(), expected)
    model.save_pretrained(tmp_path)
    loaded = head.auto.from_pretrained(tmp_path)
    assert loaded.config.vocab_size == 30
    torch.testing.assert_close(loaded(ids + 10).to_tuple(), model(ids + 10).to_tuple())


@each_backbone_and_head
def test_half_precision_stays_close(head, ids, mask):
    """As a bf16 model and under autocast, forward and backward; padding changes as little as in fp32."""
    model = head.model(pooling="concat", num_hidden_layers=2)
    expected, expected_gradients = model(ids, attention_mask=mask), gradients(model, ids, attention_mask=mask)
    near = {"rtol": 0.1, "atol": 0.1, "check_dtype": False}  # bf16 has three digits

    with torch.autocast("cpu", dtype=torch.bfloat16):
        out, found = model(ids, attention_mask=mask), gradients(model, ids, attention_mask=mask)
        backbone = getattr(model, "backbone", model)
        assert backbone(ids, attention_mask=mask).last_hidden_state.dtype == torch.bfloat16
    torch.testing.assert_close(out.to_tuple(), expected.to_tuple(), **near)
    check_direction(found, expected_gradients)

    model.bfloat16()
    out = model(ids, attention_mask=mask)
    torch.testing.assert_close(out.to_tuple(), expected.to_tuple(), **near)
    assert score(out).isfinite() and all(part.dtype == torch.bfloat16 for part in of_row(out, 0, slice(6)).values())
    check_direction(gradients(model, ids, attention_mask=mask), expected_gradients)
    for row, real in enumerate(mask.bool()):
        alone = of_row(model(ids[row : row + 1, real]), 0, slice(real.sum()))
        torch.testing.assert_close(of_row(out, row, real), alone, **near)


def check_direction(found, expected):
    """That gradients have the right direction; in bf16 their single numbers do not say much."""
    for name, gradient in expected.items():
        assert found[name].isfinite().all(), name
        assert nn.functional.cosine_similarity(found[name].float().flatten(), gradient.flatten(), dim=0) > 0.97, name


# ------------------------------------------------------------------------------------------- export and compilation


def check_export(model, strict):
    """That an exported model answers at other sizes than its example's, which is [2, 6]."""
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    example = torch.randint(3, 20, (2, 6))
    program = torch.export.export(model, (example,), dynamic_shapes=(free,), strict=strict).module()
    for size in (2, 6), (1, 1), (5, 3), (1, 40), (3, 1):
        ids = torch.randint(3, 20, size)
        torch.testing.assert_close(program(ids).to_tuple(), model(ids).to_tuple(), **close)


def test_exports_with_free_batch_and_length(head):
    check_export(head.model(num_hidden_layers=2, pooling="concat"), strict=True)


@each_head_of_one_family
def test_exports_when_not_strict_too(head):
    check_export(head.model(num_hidden_layers=2, pooling="concat"), strict=False)


@pytest.mark.parametrize("window", [3, 20])
def test_exports_with_a_window_and_free_length(window):
    check_export(CLASSIFIER.model(window=window, pooling="attention"), strict=False)


@pytest.mark.parametrize("strict", [True, False])
def test_a_tagger_that_pools_repeated_words_exports_too(strict):
    tagger = next(head for head in ONE_FAMILY if head.auto is AutoModelForTokenClassification)
    check_export(tagger.model(pool_repeated_words=True), strict)


# torch.compile itself reads the .grad of tensors that are no leaves.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.parametrize("name", ["RNN", "BiLSTM"])
def test_compiles_around_the_kernels(name, ids, mask):
    head = next(head for head in HEADS if head.name == name and head.auto is CLASSIFIER.auto)
    model = head.model(embedding_dropout=0.3, recurrent_dropout=0.3)
    torch.compiler.reset()
    counter = CompileCounterWithBackend("aot_eager")
    compiled = torch.compile(model, backend=counter)
    torch.testing.assert_close(compiled(ids).to_tuple(), model(ids).to_tuple(), **close)
    model.train()
    torch.manual_seed(3)
    expected = gradients(model, ids, attention_mask=mask)
    model.zero_grad()
    torch.manual_seed(3)
    score(compiled(ids, attention_mask=mask)).backward()
    torch.testing.assert_close({name: p.grad for name, p in model.named_parameters()}, expected, **close)
    assert counter.op_count > 10, "nothing was compiled"


# ------------------------------------------------------------------------------------------------------- pipelines


@pytest.mark.parametrize("window", [None, 3])
def test_text_classification_pipeline_answers_as_a_direct_call(classifier, tokenizer, texts, window):
    model = classifier.model(window=window)
    classify = pipeline("text-classification", model=model, tokenizer=tokenizer, device="cpu", top_k=None)
    for text, answer in zip(texts, classify(texts, batch_size=2), strict=True):
        expected = model(**tokenizer([text], return_tensors="pt")).logits.softmax(-1)[0].tolist()
        found = {entry["label"]: entry["score"] for entry in answer}
        assert [found[model.config.id2label[label]] for label in range(3)] == pytest.approx(expected, abs=1e-5)


def test_feature_extraction_pipeline_answers_as_a_direct_call(variant, tokenizer, texts):
    model = variant.model()
    extract = pipeline("feature-extraction", model=model, tokenizer=tokenizer, device="cpu")
    for text, answer in zip(texts, extract(texts, batch_size=2), strict=True):
        expected = model(**tokenizer([text], return_tensors="pt")).last_hidden_state
        padding = torch.tensor(answer)[:, expected.shape[1] :]
        torch.testing.assert_close(torch.tensor(answer)[:, : expected.shape[1]], expected, **close)
        assert not padding.any()
