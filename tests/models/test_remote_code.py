"""Checkpoints carry their code: `trust_remote_code` where rnnzoo is not installed, and beside it where it is."""

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors.torch import save_file
from transformers import AutoModelForSequenceClassification, AutoModelForTokenClassification, pipeline

from rnnzoo import FAMILIES, train_tagger_tokenizer
from tests.conftest import HEADS


# Each script runs in a fresh process. Its argument is a folder with a folder per checkpoint, which also holds the
# answers of the model before it was saved.
COMMON = """
import json
import sys
import warnings
from pathlib import Path

warnings.simplefilter("error")


class NotInstalled:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] == "rnnzoo":
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)


not_installed = NotInstalled()
sys.meta_path.insert(0, not_installed)

import torch
from safetensors.torch import load_file
from torch.testing import assert_close
from transformers import AutoModel, AutoModelForSequenceClassification, pipeline

close = {"rtol": 1e-5, "atol": 1e-5}
folders = sorted(folder for folder in Path(sys.argv[1]).iterdir() if folder.is_dir())
assert len(folders) > 1


def check(model, folder):
    known = load_file(folder / "answers" / "known.safetensors")
    out = model(known["ids"], attention_mask=known["mask"])
    assert_close(out.logits if "logits" in out else out.last_hidden_state, known[type(out).__name__], **close)


def check_export(model):
    free = {0: torch.export.Dim("batch"), 1: torch.export.Dim("length")}
    ids = torch.randint(3, 20, (2, 6))
    program = torch.export.export(model, (ids,), dynamic_shapes=(free,)).module()
    assert_close(program(ids[:1, :4]).to_tuple(), model(ids[:1, :4]).to_tuple(), **close)
    return program


def auto_map(folder):
    return json.loads((folder / "config.json").read_text())["auto_map"]


def is_remote(model):
    return type(model).__module__.startswith("transformers_modules.")
"""

NOT_INSTALLED = """
models = []
for folder in folders:
    for auto in AutoModelForSequenceClassification, AutoModel:
        model = auto.from_pretrained(folder, trust_remote_code=True)
        assert is_remote(model)
        check(model, folder)
        models.append((model, folder))

        model.save_pretrained(folder / "again")
        again = auto.from_pretrained(folder / "again", trust_remote_code=True)
        assert is_remote(again)
        check(again, folder)
        written = {file.name for file in (folder / "again").iterdir()}
        assert {file.name for file in folder.glob("*.py")} <= written, written
        assert auto_map(folder / "again") == auto_map(folder)

    classify = pipeline("text-classification", model=str(folder), trust_remote_code=True, device="cpu")
    assert len(classify(["a good film", ""], batch_size=2)) == 2

# Each of these modules has defined the operator rnnzoo::recurrence again.
for model, folder in models:
    check(model, folder)
    check_export(model)

assert "rnnzoo" not in sys.modules
sys.meta_path.remove(not_installed)
import rnnzoo

for folder in folders:
    model = AutoModelForSequenceClassification.from_pretrained(folder)
    assert not is_remote(model)
    check(model, folder)
    check_export(model)
check_export(models[0][0])
"""

BESIDE_THE_PACKAGE = """
from transformers.dynamic_module_utils import get_class_from_dynamic_module

sys.meta_path.remove(not_installed)
import rnnzoo

for folder in folders:
    # With and without `trust_remote_code`, an imported package takes precedence.
    installed = AutoModelForSequenceClassification.from_pretrained(folder, trust_remote_code=True)
    assert not is_remote(installed)
    program = check_export(installed)

    # The same code may also have been loaded from its file.
    place = installed.auto_map["AutoModelForSequenceClassification"]
    remote = get_class_from_dynamic_module(place, str(folder)).from_pretrained(folder)
    assert is_remote(remote)
    for model in remote, installed:
        check(model, folder)
        check_export(model)
    # An exported program keeps running when the operator is defined again.
    ids = torch.randint(3, 20, (3, 5))
    assert_close(program(ids).logits, installed(ids).logits, **close)
"""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory, tokenizer):
    """A classifier of every family, and what it and its backbone answered before they were saved."""
    torch.manual_seed(0)
    folder = tmp_path_factory.mktemp("checkpoints")
    ids = torch.randint(3, 20, (3, 6))
    mask = torch.tensor([[1, 1, 1, 1, 1, 1], [0, 0, 1, 1, 1, 0], [0, 0, 0, 0, 0, 0]])
    for head in HEADS:
        if head.auto is AutoModelForSequenceClassification and head.name in FAMILIES:
            model = head.model(pooling="attention", wide_size=50)
            model.save_pretrained(folder / head.name)
            tokenizer.save_pretrained(folder / head.name)
            known = {"ids": ids, "mask": mask}
            with torch.no_grad():
                for out in model(ids, attention_mask=mask), model.backbone(ids, attention_mask=mask):
                    known[type(out).__name__] = out["logits" if "logits" in out else "last_hidden_state"]
            (folder / head.name / "answers").mkdir()
            save_file(known, folder / head.name / "answers" / "known.safetensors")
    return folder


@pytest.mark.parametrize("script", [NOT_INSTALLED, BESIDE_THE_PACKAGE], ids=["not-installed", "beside-the-package"])
def test_checkpoints_carry_their_code(checkpoints, tmp_path, script):
    environment = {**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")}
    child = subprocess.run(
        [sys.executable, "-I", "-c", COMMON + script, str(checkpoints)],
        cwd=tmp_path, env=environment, capture_output=True, text=True,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-4000:]


TAGGER = """
from transformers import AutoModelForTokenClassification, AutoTokenizer

for folder in folders:
    asked = json.loads((folder / "answers" / "asked.json").read_text())
    tag = pipeline("token-classification", model=str(folder), trust_remote_code=True, device="cpu")
    assert is_remote(tag.model) and type(tag.tokenizer).__name__ == "CharacterTokenizer"
    found = tag(asked["texts"], aggregation_strategy="simple", batch_size=2)
    assert json.loads(json.dumps(found, default=float)) == asked["entities"], found

    AutoTokenizer.from_pretrained(folder, trust_remote_code=True).save_pretrained(folder / "again")
    AutoModelForTokenClassification.from_pretrained(folder, trust_remote_code=True).save_pretrained(folder / "again")
    again = pipeline("token-classification", model=str(folder / "again"), trust_remote_code=True, device="cpu")
    assert again(asked["texts"])[0] == tag(asked["texts"])[0]
    backbone = AutoModel.from_pretrained(folder, trust_remote_code=True)
    assert backbone(**tag.tokenizer("Ada met", return_tensors="pt")).last_hidden_state.shape == (1, 2, 10)
assert "rnnzoo" not in sys.modules
"""


def test_a_tagger_carries_its_tokenizer(tmp_path):
    """Characters, decoded path and scores in a process without rnnzoo are those of this one."""
    sentences = [["Ada", "Lovelace", "met", "Babbage", "in", "London", "."]] * 2
    tokenizer = train_tagger_tokenizer(sentences, vocab_size=30)
    labels = ["O", "B-X", "I-X", "B-Y", "I-Y"]
    texts = ["Ada met Babbage (in London).", "", "Nobody did."]
    for family in ("LSTM", "GRU"):
        config = FAMILIES[family].config(
            vocab_size=len(tokenizer),
            character_vocab_size=tokenizer.character_vocab_size,
            **{"embedding_size": 6, "hidden_size": 5, "character_size": 4, "use_crf": True, "bidirectional": True},
            **({"context_size": 3} if family == "GRU" else {}),
            **{"num_labels": 5, "id2label": dict(enumerate(labels)), "label2id": {x: i for i, x in enumerate(labels)}},
        )
        model = FAMILIES[family].models[AutoModelForTokenClassification](config).eval()
        with torch.no_grad():
            for parameter in model.parameters():
                parameter.normal_(std=0.7)
        folder = tmp_path / "taggers" / family
        model.save_pretrained(folder)
        tokenizer.save_pretrained(folder)
        tag = pipeline("token-classification", model=model, tokenizer=tokenizer, device="cpu")
        entities = tag(texts, aggregation_strategy="simple", batch_size=2)
        (folder / "answers").mkdir()
        asked = json.dumps({"texts": texts, "entities": entities}, default=float)
        (folder / "answers" / "asked.json").write_text(asked)
    child = subprocess.run(
        [sys.executable, "-I", "-c", COMMON + TAGGER, str(tmp_path / "taggers")],
        cwd=tmp_path, env={**os.environ, "HF_MODULES_CACHE": str(tmp_path / "modules")},
        capture_output=True, text=True,
    )  # fmt: skip
    assert child.returncode == 0, child.stderr[-4000:]
