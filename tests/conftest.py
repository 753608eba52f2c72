"""What the tests share: no network, a seed each, and small models of every family, head and direction."""

import atexit
import os
import shutil
import tempfile
from typing import NamedTuple


# transformers reads these once, when it is imported.
os.environ["HF_HUB_OFFLINE"] = "1"
# For the processes that tests start: on two cores, beside another test, two threads of one wait for each other.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ["HF_MODULES_CACHE"] = tempfile.mkdtemp(prefix="rnnzoo-tests-")
atexit.register(shutil.rmtree, os.environ["HF_MODULES_CACHE"], ignore_errors=True)

import pytest  # noqa: E402
import torch  # noqa: E402
from huggingface_hub.errors import StrictDataclassError  # noqa: E402
from transformers import AutoModel, AutoModelForCausalLM, AutoModelForSequenceClassification  # noqa: E402

from rnnzoo import FAMILIES  # noqa: E402
from rnnzoo.recurrence_rnnzoo import RecurrentDirection  # noqa: E402


# The models below are so small that threads would only wait for each other.
torch.set_num_threads(1)

SMALL = {"vocab_size": 20, "embedding_size": 5, "hidden_size": 4, "num_labels": 3}


class Variant(NamedTuple):
    """One class of a family, reading in one direction or in both."""

    name: str
    family: str
    bidirectional: bool
    auto: type = AutoModel

    def config(self, **changes):
        return FAMILIES[self.family].config(**SMALL | {"bidirectional": self.bidirectional} | changes)

    def model(self, **changes):
        """In eval mode, every weight random: what starts at zero (a bias) could hide a mistake."""
        model = self.auto.from_config(self.config(**changes)).eval()
        with torch.no_grad():
            for module in model.modules():
                # Small steps through long rows would keep all states near zero.
                std = 0.7 if isinstance(module, RecurrentDirection) else 0.5
                for parameter in module.parameters(recurse=False):
                    parameter.normal_(std=std)
        return model


def _variants():
    """Each family in one direction and, as "Bi…", in both, where its configuration allows it.

    An RNN in both directions has the name of a family, which then stands for it.
    """
    variants = {}
    for family in FAMILIES:
        for bidirectional in (False, True):
            name = f"Bi{family.removeprefix('Bi')}" if bidirectional else family
            variant = Variant(name, family, bidirectional)
            try:
                variant.config()
            except StrictDataclassError:
                continue
            variants[name] = variant
    return list(variants.values())


VARIANTS = _variants()
HEADS = [
    variant._replace(auto=auto)
    for variant in VARIANTS
    for auto in FAMILIES[variant.family].models
    if auto is not AutoModelForCausalLM or not variant.bidirectional
]


def _name(variant):
    return variant.name + variant.auto.__name__.removeprefix("Auto")


@pytest.fixture(params=VARIANTS, ids=_name)
def variant(request):
    """The backbone of every family, in every direction that it can read."""
    return request.param


@pytest.fixture(params=HEADS, ids=_name)
def head(request):
    """Every model class of every family, backbones included, in every direction."""
    return request.param


@pytest.fixture(params=[head for head in HEADS if head.auto is AutoModelForSequenceClassification], ids=_name)
def classifier(request):
    """The sequence classifier of every family, in every direction."""
    return request.param


@pytest.fixture(autouse=True)
def seed():
    """Every test draws the same numbers, alone and among others."""
    torch.manual_seed(0)


@pytest.fixture
def mask():
    """Rows without padding, with padding on the right, the left, both sides, in between, and nothing else."""
    rows = ["111111", "111000", "000011", "011100", "101101", "000000"]
    return torch.tensor([[int(token) for token in row] for row in rows])


@pytest.fixture
def ids(mask):
    """Real tokens for every place of `mask`."""
    return torch.randint(3, SMALL["vocab_size"], mask.shape)


TEXTS = ["a good film", "", "not a good film, not at all", "bad", "a film so bad that it is good"]


@pytest.fixture
def texts():
    """Texts of unequal length, one of them empty."""
    return list(TEXTS)


@pytest.fixture(scope="session")
def tokenizer():
    """Trained on `texts`."""
    from rnnzoo import train_tokenizer

    return train_tokenizer(TEXTS, vocab_size=SMALL["vocab_size"])


@pytest.fixture
def served_here(monkeypatch):
    """Recipes compare with a pipeline in this process: a new one takes seconds."""
    from tests.support.recipes import answered_here

    monkeypatch.setattr("rnnzoo.training.parity.answers", answered_here)


def pytest_configure(config):
    """What is not marked gpu is for a CPU, also where there is a GPU, which accelerate and pipeline() would take."""
    if "not gpu" in config.option.markexpr:
        os.environ["CUDA_VISIBLE_DEVICES"] = ""


def pytest_collection_modifyitems(items):
    """Tests on the real data sets need a folder that has them."""
    if not os.environ.get("RNNZOO_DATA"):
        for item in items:
            if "realdata" in item.keywords:
                item.add_marker(pytest.mark.skip(reason="RNNZOO_DATA is not set"))
