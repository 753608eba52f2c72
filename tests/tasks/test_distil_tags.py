"""recipes.distil_ner: the loss is the formula, no teacher answers what it was trained on, a student is trained."""

import json
import math
import os
import subprocess
import sys
from functools import partial
from itertools import chain
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file
from transformers import AutoConfig, AutoTokenizer
from transformers.modeling_outputs import TokenClassifierOutput

import rnnzoo
from recipes.distil_ner import TASK
from recipes.ner import TASK as NER
from rnnzoo.crf_rnnzoo import LinearChainCRF, forbidden_in_iob2
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.folds import fold_rows
from rnnzoo.data.synthetic.names import make_sentences
from rnnzoo.training import answers
from rnnzoo.training.run import parse
from rnnzoo.training.step import split
from rnnzoo.training.teachers import WordNetwork
from tests.support import recipes, small_bert
from tests.support.crf_paths import divergence_by_paths
from tests.support.data_files import write
from tests.support.recipes import flags


ROOT = Path(__file__).parents[2]
LABELS = ["O", "B-LOC", "I-LOC"]
NEW = {
    "model": {"model_type": "rnnzoo-gru", "embedding_size": 8, "hidden_size": 8, "use_crf": True},
    "tokenizer": {"vocab_size": 100},
}
SOFTMAX = NEW | {"model": NEW["model"] | {"use_crf": False}}
BRIEF = {"batch_size": 32, "num_train_epochs": 2, "verify_rows": 4, "num_threads": 1}
SIZES = {"train": 81, "validation": 20, "test": 24}

run = partial(recipes.run, TASK)
pytestmark = pytest.mark.usefixtures("served_here")


# ---- the loss ----


def student(temperature, soft_weight, crf=True):
    task = TASK(Corpus("own", "here", LABELS, {}, scheme="IOB2"))
    task.temperature, task.soft_weight = temperature, soft_weight
    if crf:
        torch.manual_seed(1)
        task.crf = LinearChainCRF(3, forbidden_in_iob2(LABELS))
        for weights in task.crf.parameters():
            torch.nn.init.normal_(weights)
    return task


def batch_of(rows):
    """Sentences of four tokens, with labels and answers, labels alone, answers alone, in turn; some are shorter.

    Of the first kind, one token has no answer; the third kind has none for its first token, which is then not counted.
    """
    torch.manual_seed(0)
    labels, teacher = torch.randint(3, (rows, 4)), (2 * torch.randn(rows, 4, 3)).softmax(-1)
    teacher[1::3], labels[2::3] = math.nan, -100
    teacher[::3, 1], teacher[2::3, 0] = math.nan, math.nan
    labels[3:5, 3], teacher[3:6, 3] = -100, math.nan  # padding
    return {"labels": labels, "teacher": teacher}, 2 * torch.randn(rows, 4, 3)


@pytest.mark.parametrize(("temperature", "soft_weight"), [(1.0, 0.5), (4.0, 0.25), (0.5, 1.0)])
def test_without_a_crf_the_loss_is_the_mean_over_tokens(temperature, soft_weight):
    batch, logits = batch_of(7)
    losses = []
    for token, label, p in zip(*(part.flatten(0, 1) for part in (logits, *batch.values())), strict=True):
        hard = None if label == -100 else -token.log_softmax(-1)[label]
        q = (token / temperature).softmax(-1)
        soft = None if p.isnan().any() else temperature**2 * (p * (p / q).log()).sum()
        if None not in (hard, soft):
            losses.append((1 - soft_weight) * hard + soft_weight * soft)
        elif hard is not None or soft is not None:
            losses.append(soft if hard is None else hard)
    found = student(temperature, soft_weight, crf=False).loss(TokenClassifierOutput(logits=logits), batch)
    torch.testing.assert_close(found, sum(losses) / len(losses))


@pytest.mark.parametrize(("temperature", "soft_weight"), [(1.0, 0.5), (4.0, 0.25), (0.5, 1.0)])
def test_with_a_crf_the_loss_is_that_of_all_paths(temperature, soft_weight):
    task, (batch, logits) = student(temperature, soft_weight), batch_of(7)
    losses, tokens = [], 0
    for emissions, labels, p in zip(logits, batch["labels"], batch["teacher"], strict=True):
        labelled, is_answered = labels != -100, ~p.isnan().any(-1)
        one_hot = torch.nn.functional.one_hot(labels.clamp(min=0), 3).float()
        # A word without an answer has its label as its distribution.
        targets = torch.where(is_answered[:, None], p, one_hot)
        rows = emissions[None], targets[None], (labelled | is_answered)[None]
        hard = divergence_by_paths(task.crf, emissions[None], one_hot[None], labelled[None], 1)
        soft = temperature**2 * divergence_by_paths(task.crf, *rows, temperature)
        weight = float(is_answered.any()) * (soft_weight if labelled.any() else 1)
        losses.append((1 - weight) * hard + weight * soft)
        tokens += int((labelled | is_answered).sum())
    parameters = list(task.crf.parameters())
    found, expected = task.loss(TokenClassifierOutput(logits=logits), batch), torch.cat(losses).sum() / tokens
    torch.testing.assert_close(found, expected)
    for ours, theirs in zip(*(torch.autograd.grad(value, parameters) for value in (found, expected)), strict=True):
        torch.testing.assert_close(ours, theirs, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("crf", [True, False])
def test_a_batch_has_the_gradients_of_its_micro_batches_together(crf):
    task, (batch, logits) = student(2.0, 0.3, crf), batch_of(13)
    logits.requires_grad_()
    task.loss(TokenClassifierOutput(logits=logits), batch).backward()
    complete, logits.grad = logits.grad, None
    for rows in chain(*(split(list(range(13)), rank, 2, micro_batches=3) for rank in range(2))):
        part = {name: tensor[rows] for name, tensor in batch.items()}
        loss = task.loss(TokenClassifierOutput(logits=logits[rows]), part)
        (loss * task.label_weight(part) / task.label_weight(batch)).backward()
    torch.testing.assert_close(logits.grad, complete)
    counts = (batch["labels"] != -100) | ~batch["teacher"].isnan().any(-1)
    assert complete.isfinite().all() and torch.equal(complete.abs().sum(-1) > 0, counts)


# ---- sub-tokens ----


@pytest.mark.parametrize("kind", ["zoo", "bert"])
def test_the_answer_to_a_word_is_that_to_its_sub_tokens(tmp_path, kind):
    """Of the zoo's models, further ones have the probability of B-LOC moved to I-LOC; of others, they have none."""
    words = ["York(city)", "is", "York(city)"]
    if kind == "zoo":
        tokenizer, config = rnnzoo.train_tagger_tokenizer([words], vocab_size=30), rnnzoo.LSTMConfig(use_crf=True)
    else:
        tokenizer = AutoTokenizer.from_pretrained(small_bert.save(tmp_path, num_labels=3))
        config = AutoConfig.from_pretrained(tmp_path)
    task = TASK(Corpus("own", "here", LABELS, {}, scheme="IOB2"), tokenizer, config)
    task.temperature = 2.0
    columns = task.encode({"tokens": [words, words[1:]], "tags": [["B-LOC", "O", "O"], ["O", "B-LOC"]]})
    logits = torch.randn(3, 3)
    logits[1] = math.nan
    found = task.collate(columns | {"teacher": [logits.tolist(), logits[:2].tolist()]})
    p = (logits / 2).softmax(-1)
    for row, starts, word_ids in zip(found["teacher"], columns["starts"], columns["words"], strict=True):
        for position, taught in enumerate(row):
            word = word_ids[position] if position < len(word_ids) else -1
            if word in (1, -1) or (kind == "bert" and position != starts[word]):
                assert taught.isnan().all()
            elif position == starts[word]:
                torch.testing.assert_close(taught, p[word])
            else:
                torch.testing.assert_close(taught, torch.stack([p[word, 0], 0 * p[word, 1], p[word, 1:].sum()]))
    assert columns["words"][0].count(0) > 1
    assert "teacher" not in task.collate(columns)


# ---- teachers and the sentences that they have seen ----


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """A small data set, with a sentence that is in train twice; and sentences without tags."""
    place, made = tmp_path_factory.mktemp("data"), make_sentences()
    splits = {
        split: [{"tokens": row["tokens"], "ner_tags": row["tags"]} for row in made[split].select(range(n))]
        for split, n in SIZES.items()
    }
    splits["train"][8] = splits["train"][3]
    (place / "more.txt").write_text("".join(" ".join(words) + "\n" for words in made["train"][200:230]["tokens"]))
    return write(place / "names", "jsonl", **splits)


def unlabelled(data):
    """The path of the sentences without tags, and their words."""
    path = data.parent / "more.txt"
    return str(path), [tuple(line.split()) for line in path.read_text().splitlines()]


@pytest.fixture(scope="module")
def labels(data):
    return NER.load(str(data), seed=0).labels


@pytest.fixture(scope="module")
def teachers(data, labels, tmp_path_factory):
    """Taggers with a CRF of two folds, one of all rows; a transformer that no recipe wrote, which reads 64 tokens."""
    place = tmp_path_factory.mktemp("teachers")
    settings = BRIEF | {"max_train_steps": 12, "learning_rate": 0.05}
    model = NEW | {"model": NEW["model"] | {"character_size": 4, "character_embedding_size": 4}}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnzoo.training.parity.answers", recipes.answered_here)
        for name, options in {"fold-0": {"fold": "0/2"}, "fold-1": {"fold": "1/2"}, "all": {}}.items():
            recipes.run(NER, place / name, data, **settings, **model, **options)
    small_bert.save(place / "hub", **named(labels))
    return place


def named(labels):
    return {"id2label": dict(enumerate(labels)), "label2id": {name: i for i, name in enumerate(labels)}}


class Watched(TASK):
    """Keeps what each teacher was asked for, and the rows that the student is trained on."""

    asked, trained = {}, None  # noqa: RUF012

    def ask(self, teacher, columns, texts, options):
        logits = super().ask(teacher, columns, texts, options)
        flat = list(chain(*texts.values()))
        self.asked[teacher.name] = dict(zip(flat, answers.by_text(logits, flat), strict=True))
        return logits

    def join(self, parts, asked):
        counts = super().join(parts, asked)
        type(self).trained = self.rows["train"][:]
        return counts


@pytest.fixture(scope="module")
def written(data, teachers, tmp_path_factory):
    """A student of all of them."""
    folder = tmp_path_factory.mktemp("runs") / "student"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnzoo.training.parity.answers", recipes.answered_here)
        paths = [str(teachers / name) for name in ("fold-0", "fold-1", "hub")]
        options = NEW | BRIEF | {"teachers": paths, "unlabelled": unlabelled(data)[0]}
        results = recipes.run(Watched, folder, data, **options, adversarial_epsilon=0.1)
    return folder, results


def sentences(rows):
    return list(map(tuple, rows["tokens"]))


def test_a_teacher_answers_the_sentences_that_it_was_not_trained_on_and_no_others(written, data):
    splits = NER.load(str(data), seed=0).splits
    train = sentences(splits["train"])
    for k in (0, 1):
        own = set(fold_rows([None] * len(train), k, 2))
        seen = {words for i, words in enumerate(train) if i not in own}
        found = Watched.asked[f"fold-{k}"]
        assert set(found) == {*train, *sentences(splits["validation"]), *unlabelled(data)[1]}
        for words, logits in found.items():
            assert len(logits) == len(words) and logits.isfinite().all().item() == (words not in seen)
    assert all(logits.isfinite().all() for logits in Watched.asked["hub"].values())
    distillation = written[1]["distillation"]
    counts = {teacher["name"]: teacher["answered"] for teacher in distillation["teachers"]}
    assert counts["hub"] == {"labelled": 81, "unlabelled": 30, "validation": 20}
    assert counts["fold-0"]["labelled"] + counts["fold-1"]["labelled"] in (81, 81 - 2)  # -2: the twins are in both
    assert distillation["rows"] == {"labelled": 81, "label_alone": 0, "unlabelled": 30, "left_out": 0}
    assert "Teacher hub has not seen, and answers, 81 of 81 labelled sentences" in "\n".join(distillation["remarks"])


def test_each_word_has_the_answer_of_the_fold_that_left_its_sentence_out(data, teachers, tmp_path):
    folds = [str(teachers / f"fold-{k}") for k in (0, 1)]
    path, others = unlabelled(data)
    recipes.run(Watched, tmp_path, data, **NEW, **BRIEF, teachers=folds, unlabelled=path, max_train_steps=1)
    train = sentences(NER.load(str(data), seed=0).splits["train"])
    alone = [i for i, rows in enumerate(Watched.trained["teacher"]) if torch.tensor(rows).isnan().all()]
    assert set(alone) <= {3, 8}  # the twins, if they are in both folds
    for k, path in enumerate(folds):
        rows = sorted(set(fold_rows([None] * len(train), k, 2)) - set(alone))
        expected = WordNetwork(path, 8, bf16=False)([train[i] for i in rows])
        found = torch.cat([torch.tensor(Watched.trained["teacher"][i]) for i in rows])
        torch.testing.assert_close(found, expected, atol=1e-4, rtol=1e-4)
    mean = torch.stack([WordNetwork(path, 8, bf16=False)(others) for path in folds]).mean(0)
    found = torch.cat(list(map(torch.tensor, Watched.trained["teacher"][81:])))
    torch.testing.assert_close(found, mean, atol=1e-4, rtol=1e-4)
    assert set(chain(*Watched.trained["labels"][81:])) == {-100} and -100 not in chain(*Watched.trained["labels"][:81])


# ---- a complete run ----


def test_the_results_and_the_card_name_the_teachers(written, teachers):
    folder, results = written
    assert json.loads(json.dumps(results)) == json.loads((folder / "results.json").read_text())
    assert results["task"] == "distil_ner" and results["dataset"]["splits"] == SIZES
    assert 0 <= results["distillation"]["together"]["validation"] <= 1
    lines = (folder / "README.md").read_text().splitlines()
    for teacher in results["distillation"]["teachers"]:
        assert any(line.startswith(f"| {teacher['name']} (`{teacher['model_type']}`) |") for line in lines)
        if teacher["name"] != "hub":
            theirs = json.loads((teachers / teacher["name"] / "results.json").read_text())
            assert teacher["test"] == theirs["metrics"]["test"]["f1"]
            assert teacher["validation"] == pytest.approx(theirs["metrics"]["validation"]["f1"])
    assert results["served"]["largest_difference"] < 1e-4


@pytest.fixture(scope="module")
def taught(tmp_path_factory):
    """A teacher of synthetic names, forty of their sentences with tags, and a thousand without."""
    place, made = tmp_path_factory.mktemp("taught"), make_sentences()
    model = {"model_type": "rnnzoo-birnn", "embedding_size": 16, "hidden_size": 16}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("rnnzoo.training.parity.answers", recipes.answered_here)
        options = NEW | BRIEF | {"model": model, "tokenizer": {"vocab_size": 900}, "learning_rate": 0.02}
        recipes.run(NER, place / "teacher", "made", **options)
    columns = {"train": made["train"][:40], "validation": made["validation"][:40], "test": made["test"][:]}
    few = {split: {"tokens": found["tokens"], "ner_tags": found["tags"]} for split, found in columns.items()}
    (place / "more.txt").write_text("".join(" ".join(words) + "\n" for words in made["train"][40:1040]["tokens"]))
    return place / "teacher", write(place / "few", **few), place / "more.txt"


@pytest.mark.parametrize("model", [NEW, SOFTMAX], ids=["crf", "softmax"])
def test_a_student_learns_what_unlabelled_sentences_teach(taught, tmp_path, model):
    """From forty tagged sentences and the answers of a tagger about a thousand others."""
    teacher, few, more = taught
    options = model | BRIEF | {"learning_rate": 0.02, "num_train_epochs": 3}
    ours = run(tmp_path / "a", few, **options, teachers=str(teacher), unlabelled=str(more))
    assert ours["distillation"]["teachers"][0]["test"] is None, "it was measured on other data"
    alone = recipes.run(NER, tmp_path / "b", few, **options | {"num_train_epochs": 50})  # as many steps
    assert ours["metrics"]["test"]["f1"] > alone["metrics"]["test"]["f1"] + 0.1


def gap(*folders):
    """The largest difference between the weights of two runs."""
    ours, theirs = (load_file(folder / "model.safetensors") for folder in folders)
    return max((ours[name] - theirs[name]).abs().max().item() for name in ours)


class Stopped(TASK):
    """Stops before the sixth batch: in the second epoch of four steps each."""

    batches = 0

    def inputs(self, batch):
        type(self).batches += 1
        if self.batches == 6:
            raise KeyboardInterrupt
        return super().inputs(batch)


def test_a_resumed_student_is_that_of_an_uninterrupted_run(data, teachers, tmp_path, monkeypatch):
    options = NEW | BRIEF | {"teachers": [str(teachers / "hub")], "answers": str(tmp_path / "shared")}
    options |= {"unlabelled": unlabelled(data)[0], "checkpointing_steps": 1}
    run(tmp_path / "whole", data, **options)
    monkeypatch.setattr(answers, "_write", None)  # which would be called for a sentence that has no answer
    with pytest.raises(KeyboardInterrupt):
        recipes.run(Stopped, tmp_path / "parts", data, **options)
    run(tmp_path / "parts", data, **options, resume=True)
    assert gap(tmp_path / "whole", tmp_path / "parts") == 0


def test_two_processes_teach_what_one_teaches(data, teachers, tmp_path):
    options = NEW | BRIEF | {"teachers": [str(teachers / name) for name in ("hub", "fold-0")]}
    options |= {"unlabelled": unlabelled(data)[0], "adversarial_epsilon": 0.1, "gradient_accumulation_steps": 2}
    run(tmp_path / "one", data, **options)
    command = ["-m", "torch.distributed.run", "--standalone", "--nproc_per_node", "2", "-m"]
    command += ["tests.support.recipe_without_fresh_process", "recipes.distil_ner"]
    done = subprocess.run(
        [sys.executable, *command, *flags(tmp_path / "two", data, **options)],
        cwd=ROOT,
        env=os.environ | {"ACCELERATE_USE_CPU": "true", "OMP_NUM_THREADS": "1"},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-3000:]
    assert json.loads((tmp_path / "two" / "results.json").read_text())["world_size"] == 2
    assert gap(tmp_path / "one", tmp_path / "two") < 1e-4
    one, two = (
        {path.parent.name: path.read_bytes() for path in (tmp_path / name / "answers").glob("*/*.safetensors")}
        for name in ("one", "two")
    )
    assert one == two and len(one) == 2


def test_a_student_whose_tags_are_in_another_order_learns_the_same(data, labels, teachers, tmp_path):
    """Its outputs are those of the checkpoint that it starts from; here a transformer is the student."""
    folder = small_bert.save(tmp_path / "bert", **named(labels[::-1]))
    options = {"teachers": [str(teachers / "fold-0")], "max_train_steps": 2, "model_name_or_path": str(folder)}
    recipes.run(Watched, tmp_path / "a", data, **BRIEF, **options)
    train = sentences(NER.load(str(data), seed=0).splits["train"])
    found = list(map(torch.tensor, Watched.trained["teacher"]))
    rows = [i for i, logits in enumerate(found) if logits.isfinite().all()]
    expected = WordNetwork(str(teachers / "fold-0"), 8, bf16=False)([train[i] for i in rows])
    torch.testing.assert_close(torch.cat([found[i] for i in rows]), expected.flip(1), atol=1e-4, rtol=1e-4)


# ---- what is refused ----


def test_teachers_that_may_answer_nothing_or_know_other_tags_are_refused(data, teachers, tmp_path):
    with pytest.raises(RecipeError, match="The teacher all was trained on all of these .*or train it with --fold"):
        run(tmp_path / "a", data, **NEW, **BRIEF, teachers=[str(teachers / "all")])
    small_bert.save(tmp_path / "other", **named(["O", "B-FISH", "I-FISH"]))
    with pytest.raises(RecipeError, match="other has the classes O, B-FISH, I-FISH, and the data O, B-"):
        run(tmp_path / "b", data, **NEW, **BRIEF, teachers=[str(tmp_path / "other")])
    assert not (tmp_path / "b" / "answers").exists()


def test_a_student_whose_crf_has_tags_of_its_own_is_refused(data, teachers, tmp_path):
    given = NEW | BRIEF | {"model": NEW["model"] | {"iobes": True}, "teachers": [str(teachers / "fold-0")]}
    with pytest.raises(RecipeError, match="set model.iobes to false"):
        run(tmp_path / "a", data, **given)


def test_the_configuration_is_that_of_the_tagger_without_teachers(teachers):
    ours, theirs = (ROOT / "recipes" / "configs" / path for path in ("distil_ner/distil-ner.yaml", "ner/lstm.yaml"))
    expected = yaml.safe_load(theirs.read_text()) | {"output_dir": "runs/distil-ner"}
    del expected["model"]["iobes"]  # teachers have no answers for tags that are no labels
    assert yaml.safe_load(ours.read_text()) == expected
    assert parse(TASK, ["--config", str(ours), "--teachers", str(teachers / "hub")]).model["use_crf"]
