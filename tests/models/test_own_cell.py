"""A cell of a user's own, for which torch has no fused kernel, keeps what the zoo promises of its families."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch.nn.functional import layer_norm
from transformers import AutoModel, AutoModelForSequenceClassification, AutoModelForTokenClassification

import rnnzoo
from tests.conftest import SMALL, Variant
from tests.support.equations import check_agreement
from tests.support.invariance import check_many
from tests.support.layer_normalized_lstm import FAMILY


NAME = "LayerNormalizedLSTM"
HEADS = [
    Variant(("Bi" if bidirectional else "") + NAME, NAME, bidirectional, auto)
    for bidirectional in (False, True)
    for auto in FAMILY.models
]
BACKBONES = [head for head in HEADS if head.auto is AutoModel]
LABELS = {"use_crf": True, "id2label": {0: "O", 1: "B-X", 2: "I-X"}}

each_head = pytest.mark.parametrize("head", HEADS, ids=lambda head: head.name + head.auto.__name__)
each_backbone = pytest.mark.parametrize("head", BACKBONES, ids=lambda head: head.name)


@pytest.fixture(scope="module", autouse=True)
def family():
    """Registered, and among the families as long as this module's tests run."""
    rnnzoo.register(FAMILY)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(rnnzoo.FAMILIES, NAME, FAMILY)
        yield


def step(direction, x, state, keep):
    """The state after a word, from the equations of Ba et al. 2016."""

    def normalized(y, norm):
        return layer_norm(y, y.shape, norm.weight, norm.bias)

    h, c = state
    words = normalized(direction.input_projection.weight @ x, direction.norm_input)
    i, f, g, o = (words + normalized(direction.weight_hh @ (keep * h), direction.norm_hidden)).chunk(4)
    c = f.sigmoid() * c + i.sigmoid() * g.tanh()
    return o.sigmoid() * normalized(c, direction.norm_memory).tanh(), c


@each_backbone
@pytest.mark.parametrize("ragged", [True, False], ids=["ragged", "full"])
@pytest.mark.parametrize("dropout", [0.0, 0.4])
def test_agrees_with_its_equations(head, mask, dropout, ragged):
    dropouts = dict.fromkeys(("embedding_dropout", "hidden_dropout", "recurrent_dropout"), dropout)
    check_agreement(head.model(num_hidden_layers=2, **dropouts).double().train(), step, mask, ragged)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16], ids=str)
def test_a_row_answers_alone_as_in_any_batch(dtype):
    rows, _ = check_many(dtype, range(60), HEADS)
    assert rows > 60


def loss_of(model, ids, mask):
    if isinstance(model, FAMILY.models[AutoModel]):
        return model(ids, attention_mask=mask).pooler_output.sin().sum()
    one_a_word = isinstance(model, FAMILY.models[AutoModelForTokenClassification])
    labels = torch.randint(3, ids.shape if one_a_word else ids.shape[:1])
    return model(ids, attention_mask=mask, labels=labels.where(mask.bool(), -100) if one_a_word else labels).loss


@each_head
def test_a_step_of_training_moves_every_parameter(head, ids, mask):
    model = head.model(num_hidden_layers=2, pooling="attention", recurrent_dropout=0.1, **LABELS).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    before = {name: weight.detach().clone() for name, weight in model.named_parameters()}
    first = loss_of(model, ids, mask)
    first.backward()
    optimizer.step()
    assert first.isfinite()
    assert not [name for name, weight in model.named_parameters() if torch.equal(weight, before[name])]


@pytest.mark.parametrize(
    ("head", "strict"),
    [*((head, False) for head in HEADS if head.bidirectional), (BACKBONES[0], True)],
    ids=lambda part: part.auto.__name__ if isinstance(part, Variant) else "strict" if part else "non-strict",
)
def test_exports_with_free_batch_at_a_fixed_length(head, strict):
    """The length is that of the example, since the loop over tokens is Python's."""
    model = head.model(**LABELS)
    example = torch.randint(3, 20, (2, 6))
    free = ({0: torch.export.Dim("batch")},)
    program = torch.export.export(model, (example,), dynamic_shapes=free, strict=strict).module()
    for rows in (1, 5):
        ids = torch.randint(3, 20, (rows, 6))
        torch.testing.assert_close(program(ids).to_tuple(), model(ids).to_tuple())


@each_head
def test_saves_and_loads(head, ids, mask, tmp_path):
    model = head.model(num_hidden_layers=2, **LABELS)
    model.save_pretrained(tmp_path)
    assert (tmp_path / "layer_normalized_lstm.py").exists()
    stored = load_file(tmp_path / "model.safetensors")
    recurrent = [name for name in stored if name.endswith(".weight_hh")]
    assert {name.rpartition("layers.")[2] for name in recurrent if "backward" not in name} == {
        f"{layer}.forward_direction.weight_hh" for layer in (0, 1)
    }
    assert any("backward" in name for name in recurrent) == head.bidirectional
    loaded = head.auto.from_pretrained(tmp_path)
    torch.testing.assert_close(loaded.state_dict(), model.state_dict(), rtol=0, atol=0)
    expected = model(ids, attention_mask=mask).to_tuple()
    torch.testing.assert_close(loaded(ids, attention_mask=mask).to_tuple(), expected)


@each_backbone
def test_a_weight_that_a_checkpoint_lacks_is_initialised_and_no_other(head, tmp_path):
    model = head.model()
    model.save_pretrained(tmp_path)
    stored = load_file(tmp_path / "model.safetensors")
    for missing in stored:
        rest = {name: weight for name, weight in stored.items() if name != missing}
        save_file(rest, tmp_path / "model.safetensors", metadata={"format": "pt"})
        loaded = head.auto.from_pretrained(tmp_path).state_dict()
        weight = loaded.pop(missing)
        torch.testing.assert_close(loaded, rest, rtol=0, atol=0)
        assert weight.isfinite().all() and not torch.equal(weight, stored[missing])
        if missing.endswith("weight_hh"):
            torch.testing.assert_close(weight.T @ weight, torch.eye(SMALL["hidden_size"]))


ELSEWHERE = """
import sys
import torch
from transformers import AutoModel, AutoModelForSequenceClassification

folder = sys.argv[1]
for auto in AutoModel, AutoModelForSequenceClassification:  # the head that was saved, and another
    model = auto.from_pretrained(folder, trust_remote_code=True)
    assert type(model).__module__.startswith("transformers_modules.")
torch.save(model(torch.arange(3, 9)[None]).logits, folder + "/logits.pt")
model.save_pretrained(folder + "/again")
AutoModelForSequenceClassification.from_pretrained(folder + "/again", trust_remote_code=True)
"""


@torch.no_grad()
def test_a_checkpoint_carries_its_cell(tmp_path):
    """To a process that has rnnzoo, and has never heard of the family."""
    head = next(head for head in HEADS if head.auto is AutoModelForSequenceClassification and head.bidirectional)
    model = head.model(pooling="attention")
    model.save_pretrained(tmp_path)
    root = str(Path(rnnzoo.__file__).parents[1])
    environment = os.environ | {"PYTHONPATH": root, "HF_MODULES_CACHE": str(tmp_path / "modules")}
    child = subprocess.run(
        [sys.executable, "-c", ELSEWHERE, str(tmp_path)],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-3000:]
    torch.testing.assert_close(torch.load(tmp_path / "logits.pt"), model(torch.arange(3, 9)[None]).logits)
