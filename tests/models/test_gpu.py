"""On a GPU: answers, losses and gradients are those of a CPU; half precision stays close; interrupted runs resume; a
model trained there loads on a CPU.

In cuDNN's kernels torch rounds fp32 to TF32 by default; these tests turn that off.
"""

import copy

import pytest
import torch
from accelerate.state import AcceleratorState
from torch import nn
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, pipeline

import rnnzoo  # noqa: F401  registers the families
from recipes.imdb import TASK as IMDB
from recipes.ner import TASK as NER
from rnnzoo.crf_rnnzoo import EntityCRF, LinearChainCRF, forbidden_in_iob2
from rnnzoo.recurrence_rnnzoo import GRU, LSTM, TANH, run_fused
from tests.conftest import HEADS
from tests.support.invariance import check_many
from tests.support.recipes import run
from tests.support.reliability import note
from tests.support.small_task import SmallTask, Stopped, trained


pytestmark = pytest.mark.gpu

CUDA = torch.device("cuda")
LABELS = ["O", "B-X", "I-X", "B-Y", "I-Y"]
C = len(LABELS)
# Sums are in another order.
close = {"rtol": 1e-4, "atol": 1e-5}


@pytest.fixture(autouse=True)
def exact(monkeypatch):
    monkeypatch.setattr(torch.backends.cudnn, "allow_tf32", False)


def on(device, found):
    """Tensors in whatever holds them, moved."""
    if isinstance(found, dict):
        return {name: on(device, part) for name, part in found.items()}
    if isinstance(found, (tuple, list)):
        return type(found)(on(device, part) for part in found)
    return found.to(device) if isinstance(found, torch.Tensor) else found


def learned(model, **inputs):
    """Outputs, and the gradient of a score that all of them enter."""
    model.zero_grad()
    out = model(**inputs)
    parts = [part for part in out.to_tuple() if isinstance(part, torch.Tensor) and part.is_floating_point()]
    sum(part.double().sin().sum() for part in parts).backward()
    return out.to_tuple(), {name: weight.grad for name, weight in model.named_parameters() if weight.grad is not None}


@pytest.fixture(params=[TANH, LSTM, GRU], ids=lambda cell: cell.fused.__name__)
def cell(request):
    return request.param


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16, torch.float16], ids=str)
@pytest.mark.parametrize("size", [1, 5, 64])
def test_cudnn_takes_the_weights_as_they_come(cell, dtype, size):
    """In one block of memory, or torch would warn of a copy, and here warnings are errors."""
    G = len(cell.gates)
    parameters = [torch.randn(shape, device=CUDA, dtype=dtype) for shape in ((G * size, 3), (G * size, size))]
    parameters += [torch.randn(G * size, device=CUDA, dtype=dtype) for _ in range(2)]
    state = tuple(torch.zeros(2, size, device=CUDA, dtype=dtype) for _ in range(cell.num_states))
    x = torch.randn(2, 7, 3, device=CUDA, dtype=dtype, requires_grad=True)
    y, *_ = run_fused(cell.fused, x, state, tuple(parameters))
    y.float().sum().backward()
    assert y.dtype == dtype and y.isfinite().all() and x.grad.isfinite().all()


@pytest.mark.parametrize("side", ["with padding", "without"])
def test_answers_and_gradients_are_those_of_a_cpu(head, ids, mask, side):
    """In double precision, in which they agree to seven digits and more."""
    model = head.model(num_hidden_layers=2).double()
    given = {"input_ids": ids, "attention_mask": mask if side == "with padding" else torch.ones_like(mask)}
    there = copy.deepcopy(model).to(CUDA)
    expected, gradients = learned(model, **given)
    found, found_gradients = learned(there, **on(CUDA, given))
    torch.testing.assert_close(on("cpu", found), expected)
    torch.testing.assert_close(on("cpu", found_gradients), gradients)


@pytest.mark.parametrize("rows", [(0, 5), (3, 1), (1, 0)], ids=str)
def test_batches_without_rows_or_tokens(head, rows):
    model = head.model().to(CUDA)
    ids = torch.randint(3, 20, rows, device=CUDA)
    assert all(part.shape[0] == rows[0] for part in model(ids).to_tuple() if isinstance(part, torch.Tensor))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_half_precision_stays_close(head, ids, mask, dtype):
    """As a model of that dtype, and under autocast, which must not choose another dtype for a kernel."""
    model = head.model(num_hidden_layers=2).to(CUDA)
    given = on(CUDA, {"input_ids": ids, "attention_mask": mask})
    near = {"rtol": 0.1, "atol": 0.1, "check_dtype": False}
    expected, gradients = learned(model, **given)
    with torch.autocast("cuda", dtype=dtype):
        found, found_gradients = learned(model, **given)
        assert getattr(model, "backbone", model)(**given).last_hidden_state.dtype == dtype
    torch.testing.assert_close(found, expected, **near)
    for name, gradient in gradients.items():
        assert nn.functional.cosine_similarity(found_gradients[name].flatten(), gradient.flatten(), dim=0) > 0.97, name
    torch.testing.assert_close(model.to(dtype)(**given).to_tuple(), expected, **near)


@torch.no_grad()
@pytest.mark.parametrize("name", ["RNN", "LSTM", "GRU"])
def test_a_row_of_several_chunks(name):
    head = next(head for head in HEADS if head.auto is AutoModelForTokenClassification and head.name == name)
    model, ids = head.model().double(), torch.randint(3, 20, (2, 20_000))
    mask = torch.ones_like(ids)
    mask[1, 9_000:] = 0
    expected = model(ids, attention_mask=mask).logits
    found = model.to(CUDA)(ids.to(CUDA), attention_mask=mask.to(CUDA)).logits
    torch.testing.assert_close(found.cpu(), expected)


def test_a_row_answers_alone_as_in_any_batch():
    numbers = range(500)
    with CUDA:
        rows, largest = check_many(torch.float32, numbers)
    figures = f"{rows:,} rows in {len(numbers):,} batches, largest deviation {largest:.1e} in fp32"
    note("a row alone and in a batch, on a GPU", figures, "cuda")


@pytest.mark.parametrize("masked", [True, False])
@pytest.mark.parametrize("iobes", [False, True], ids=["IOB2", "IOBES"])
def test_the_crf_answers_as_on_a_cpu(iobes, masked):
    crf = EntityCRF(LABELS) if iobes else LinearChainCRF(C, forbidden_in_iob2(LABELS))
    for parameter in crf.parameters():
        nn.init.normal_(parameter)
    lengths = torch.tensor([40, 0, 1, 39, 17, 2])
    mask = torch.arange(40) < lengths[:, None] if masked else None
    emissions, tags = 3 * torch.randn(6, 40, len(crf.start)), torch.randint(C, (6, 40))
    found = {}
    for device in ("cpu", "cuda"):
        crf.to(device).zero_grad()
        given = on(device, (emissions.requires_grad_(), mask))
        likelihood = crf(given[0], tags.to(device), given[1])
        gradients = torch.autograd.grad(likelihood.sum(), [given[0], *crf.parameters()])
        found[device] = [likelihood.detach(), *gradients, crf.marginals(*given)]
        for n in (1, 5):
            paths, scores = crf.decode(*given, n=n)
            found[device] += [scores, paths * scores.isfinite()[..., None]]  # the tags of no path are any
        found[device] = on("cpu", found[device])
    torch.testing.assert_close(found["cuda"], found["cpu"], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16], ids=str)
def test_the_crf_computes_in_full_precision_under_autocast(dtype):
    crf = LinearChainCRF(C, forbidden_in_iob2(LABELS)).to(CUDA)
    emissions, tags = torch.randn(3, 20, C, device=CUDA), torch.randint(C, (3, 20), device=CUDA)
    expected = [crf(emissions, tags), crf.marginals(emissions)]
    with torch.autocast("cuda", dtype=dtype):
        torch.testing.assert_close([crf(emissions, tags), crf.marginals(emissions)], expected, rtol=0, atol=0)


# torch.compile itself reads the .grad of tensors that are no leaves, and recommends TF32.
@pytest.mark.filterwarnings("ignore:The .grad attribute of a Tensor that is not a leaf:UserWarning")
@pytest.mark.filterwarnings("ignore:TensorFloat32 tensor cores:UserWarning")
@pytest.mark.parametrize(
    "auto", [AutoModelForSequenceClassification, AutoModelForTokenClassification], ids=lambda auto: auto.__name__
)
def test_compiles_for_a_gpu(auto, ids, mask):
    """With torch's default backend, which generates Triton kernels."""
    head = next(head for head in HEADS if head.auto is auto and head.name == "BiLSTM")
    model = head.model().to(CUDA)
    given = on(CUDA, {"input_ids": ids, "attention_mask": mask})
    torch.compiler.reset()
    expected, gradients = learned(model, **given)
    found, found_gradients = learned(torch.compile(model), **given)
    torch.testing.assert_close(found, expected, **close)
    found_gradients = {name.removeprefix("_orig_mod."): gradient for name, gradient in found_gradients.items()}
    torch.testing.assert_close(found_gradients, gradients, rtol=1e-3, atol=1e-4)


# ---- runs ----

INTERRUPTED = {"dropout": 0.5, "checkpointing_steps": 3, "lr_scheduler_type": "cosine"}


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize("crf", [False, True], ids=["words", "CRF"])
def test_a_resumed_run_ends_as_if_it_had_not_stopped(tmp_path, precision, crf):
    """Including dropout on the GPU and the loss scale of fp16; up to rounding, since sums there are in any order."""
    settings = INTERRUPTED | {"mixed_precision": precision, "crf": crf}
    uninterrupted = trained(tmp_path / "uninterrupted", **settings)
    with pytest.raises(Stopped):
        trained(tmp_path / "parts", SmallTask(stop_at=8), **settings)
    run = trained(tmp_path / "parts", resume=True, **settings)
    assert all(weight.device.type == "cuda" for weight in run.weights.values())
    gaps = [(run.weights[name] - weight).abs().max().item() for name, weight in uninterrupted.weights.items()]
    assert max(gaps) < (1e-5 if precision == "no" else 1e-2), max(gaps)
    assert run.best_epoch == uninterrupted.best_epoch and len(run.passes) == 21 - 7  # epochs have 7


def test_a_run_trains_as_on_a_cpu(tmp_path, monkeypatch):
    there = trained(tmp_path / "gpu")
    AcceleratorState._reset_state(reset_partial_state=True)
    monkeypatch.setenv("ACCELERATE_USE_CPU", "true")
    here = trained(tmp_path / "cpu")
    AcceleratorState._reset_state(reset_partial_state=True)
    assert {weight.device.type for weight in here.weights.values()} == {"cpu"}
    torch.testing.assert_close(on("cpu", dict(there.weights)), dict(here.weights), rtol=1e-3, atol=1e-4)


MODEL = {"model_type": "rnnzoo-lstm", "embedding_size": 16, "hidden_size": 16, "bidirectional": True}
BRIEF = {"dataset": "made", "model": MODEL, "batch_size": 32, "max_train_steps": 40, "verify_rows": 40}


@pytest.mark.parametrize("precision", ["no", "bf16", "fp16"])
@pytest.mark.parametrize("recipe", [IMDB, NER], ids=lambda recipe: recipe.name)
def test_what_a_gpu_trains_is_served_there_and_on_a_cpu(tmp_path, monkeypatch, recipe, precision):
    """The recipe itself checks that the pipeline, on the GPU, gives the answers that were measured."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    options = BRIEF | {"mixed_precision": precision, "learning_rate": 0.01, "tokenizer": {"vocab_size": 500}}
    if recipe is NER:
        options["model"] = MODEL | {"use_crf": True, "iobes": True, "character_size": 8, "character_ngrams": 64}
    results = run(recipe, tmp_path, **options)
    assert results["device"] == torch.cuda.get_device_name() and results["mixed_precision"] == precision
    assert results["served"]["largest_difference"] < 1e-4
    task = "text-classification" if recipe is IMDB else "token-classification"
    text = "We all know that April called her mother ."
    answers = [pipeline(task, model=str(tmp_path), device=device)(text) for device in ("cuda", "cpu")]
    assert answers[1]
    for found, expected in zip(*answers, strict=True):
        assert found == expected | {"score": pytest.approx(expected["score"], abs=1e-4)}
