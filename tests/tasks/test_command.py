"""The `rnnzoo` command: a table becomes a model without a configuration file, and the model answers."""

import io
import json

import pytest
from huggingface_hub import ModelCard
from transformers import pipeline

import rnnzoo
from rnnzoo import cli
from rnnzoo.data.errors import RecipeError
from rnnzoo.tasks.choose import choose
from rnnzoo.tasks.classify import Classify
from rnnzoo.tasks.tag import Tag
from rnnzoo.training import parity
from tests.support import recipes


BRIEF = ["--verify_rows", "5", "--num_threads", "1"]
WORDS = {"bad": "awful", "fair": "decent", "great": "superb"}


def reviews(path, header="review,sentiment", incomplete=True):
    """A CSV of a spreadsheet: a byte order mark, quoted line ends, string labels, incomplete rows."""
    lines = ["\ufeff" + header]
    for i in range(180):
        label = list(WORDS)[i % 3]
        lines.append(f'"I bought it,\nand it is {WORDS[label]}. {i}",{label}')
    lines += [",bad", '"It is what it is",'] * incomplete
    path.write_text("\n".join(lines) + "\n", encoding="utf-8", newline="")
    return path


@pytest.fixture(autouse=True)
def served_here(monkeypatch):
    monkeypatch.setattr(parity, "answers", recipes.answered_here)


def rnnzoo_train(*flags):
    recipes.fresh_accelerator()
    cli.main(["train", *map(str, flags), *BRIEF])


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("command")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(parity, "answers", recipes.answered_here)
        data = reviews(folder / "reviews.csv")
        rnnzoo_train("--dataset", data, "--output_dir", folder / "out", "--drop_incomplete", "--num_train_epochs", 3)
    return folder / "out"


def test_a_table_of_strings_becomes_a_classifier_that_answers(trained, capsys):
    results = json.loads((trained / "results.json").read_text())
    assert results["task"] == "classify" and results["metrics"]["test"]["accuracy"] > 0.9
    assert sum(results["dataset"]["splits"].values()) == 180
    assert set(results["model_config"]["id2label"].values()) == set(WORDS)
    cli.main(["predict", str(trained), "I bought it, and it is superb.", "It is awful"])
    lines = [line.split("\t") for line in capsys.readouterr().out.splitlines()]
    expected = pipeline("text-classification", model=str(trained))(["I bought it, and it is superb.", "It is awful"])
    assert [line[0] for line in lines] == ["great", "bad"] == [answer["label"] for answer in expected]
    assert [float(line[1]) for line in lines] == pytest.approx([answer["score"] for answer in expected], abs=1e-4)


def test_incomplete_rows_are_refused_with_their_count_and_the_way_out(tmp_path, capsys):
    with pytest.raises(SystemExit, match="1 rows? ha(s|ve) no text and 1 rows? ha(s|ve) no label.*--drop_incomplete"):
        rnnzoo_train("--dataset", reviews(tmp_path / "reviews.csv"), "--output_dir", tmp_path / "out")
    assert not (tmp_path / "out" / "results.json").exists()


def test_texts_come_from_a_file_or_from_standard_input(trained, tmp_path, monkeypatch, capsys):
    (tmp_path / "texts.txt").write_text("\ufeffIt is awful\r\n\nIt is superb\n", encoding="utf-8")
    cli.main(["predict", str(trained), "--file", str(tmp_path / "texts.txt"), "--json"])
    from_file = capsys.readouterr().out
    monkeypatch.setattr("sys.stdin", io.StringIO("It is awful\n\nIt is superb\n"))
    cli.main(["predict", str(trained), "--json"])
    assert from_file == capsys.readouterr().out
    answers = [json.loads(line)[0]["label"] for line in from_file.splitlines()]
    assert len(answers) == 3 and (answers[0], answers[2]) == ("bad", "great")
    with pytest.raises(SystemExit, match="not both"):
        cli.main(["predict", str(trained), "a text", "--file", "f"])
    with pytest.raises(SystemExit, match="nowhere.txt cannot be read"):
        cli.main(["predict", str(trained), "--file", str(tmp_path / "nowhere.txt")])


def test_a_tagger_answers_with_its_entities(capsys):
    (found,) = rnnzoo.list_models("lstm-glove-conll2003")
    cli.main(["predict", found.path, "Peter Blackburn went to London.", "nothing here"])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split("\t")[::2] for line in lines] == [
        ["PER", "Peter Blackburn"],
        ["LOC", "London"],
        ["-", "nothing here"],
    ]


def test_the_list_and_the_card(trained, tmp_path, capsys):
    cli.main(["list", "*gru*"])
    (line,) = capsys.readouterr().out.splitlines()
    assert line.startswith("gru-imdb\ttext-classification\timdb\taccuracy 0.9016")
    cli.main(["card", str(trained)])
    assert ModelCard(capsys.readouterr().out).data.model_name == trained.name
    with pytest.raises(SystemExit, match="has no results.json"):
        cli.main(["card", str(tmp_path)])


# ---- the task follows from the columns ----

SENTENCE = {"tokens": ["Ada", "ran"], "ner_tags": ["B-PER", "O"]}


def write(folder, name, *rows):
    path = folder / name
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.mark.parametrize(
    ("row", "task"),
    [
        ({"text": "good", "label": 1}, Classify),
        ({"Review": "good", "category": "books", "id": 3}, Classify),
        (SENTENCE, Tag),
        ({"words": ["Ada", "ran"], "pos": ["NOUN", "VERB"]}, Tag),
        ({"text": "Ada ran", "entities": [{"start": 0, "end": 3, "label": "PER"}]}, Tag),
        ({"text": "Ada ran", "label": [[0, 3, "PER"]]}, Tag),
    ],
    ids=["text and label", "other names", "tokens and tags", "words and parts of speech", "spans", "doccano's spans"],
)
def test_the_columns_say_what_a_table_is_for(tmp_path, row, task):
    data = str(write(tmp_path, "data.jsonl", row, row))
    assert choose(["--dataset", data, "--seed", "3"]) == (task, ["--dataset", data, "--seed", "3"])


def test_a_column_file_is_for_a_tagger_and_a_named_task_needs_no_data(tmp_path):
    (tmp_path / "data.conll").write_text("Ada B-PER\nran O\n")
    assert choose(["--dataset", str(tmp_path / "data.conll")])[0] is Tag
    assert choose(["--dataset", "made"]) == (Classify, ["--dataset", "made"])
    assert choose(["--task", "tag", "--dataset", "nowhere"]) == (Tag, ["--dataset", "nowhere"])


@pytest.mark.parametrize(
    ("flags", "says"),
    [
        (["--seed", "3"], "Which data\\? Give --dataset"),
        (["--task", "tagg", "--dataset", "x"], "Did you mean 'tag'"),
        (["--dataset", "./nowhere"], "The data fits no task. As data to classify: .*nowhere.* As data to tag: "),
    ],
    ids=str,
)
def test_what_fits_no_task_is_refused(flags, says):
    with pytest.raises(RecipeError, match=says):
        choose(flags)


def test_a_default_field_is_changed_alone_and_another_family_is_another_model(tmp_path):
    from rnnzoo.training.run import parse

    flags = ["--dataset", "x", "--model.hidden_size", "8"]
    options = parse(Classify, flags, usual=True)
    assert options.model == Classify.defaults["model"] | {"hidden_size": 8}
    assert (options.patience, options.tokenizer) == (3, Classify.defaults["tokenizer"])
    options = parse(Classify, [*flags, "--model.model_type", "rnnzoo-rnn", "--tokenizer.vocab_size", "99"], usual=True)
    assert options.model == {"model_type": "rnnzoo-rnn", "hidden_size": 8}
    options = parse(Classify, ["--model_name_or_path", "runs/x"], usual=True)
    assert options.model == {} and options.patience == 3


@pytest.mark.parametrize(
    ("flags", "without"),
    [
        ([], []),
        (["--streaming", "true"], ["rare_word_dropout"]),
        (
            ["--model_name_or_path", "runs/x"],
            ["character_ngrams", "ngram_dropout", "character_size", "rare_word_dropout"],
        ),
        (["--model.character_size", "0"], ["character_ngrams", "ngram_dropout", "character_size"]),
        (["--model.character_ngrams", "0"], ["character_ngrams", "ngram_dropout"]),
    ],
    ids=str,
)
def test_the_usual_options_of_a_tagger_are_those_that_go_with_what_is_given(flags, without):
    from rnnzoo.training.run import parse

    options = parse(Tag, ["--dataset", "x", *flags], usual=True)
    found = {name: options.model.get(name) for name in ("character_ngrams", "ngram_dropout", "character_size")}
    found["rare_word_dropout"] = options.rare_word_dropout
    assert [name for name, value in found.items() if not value] == without and options.tune_outside_score


# ---- tags that are no entities ----


def test_parts_of_speech_are_scored_by_accuracy_and_served(tmp_path):
    words = {"Ada": "NOUN", "Bob": "NOUN", "ran": "VERB", "fell": "VERB", "fast": "ADV", "often": "ADV"}
    names, verbs, adverbs = (list(words)[i : i + 2] for i in (0, 2, 4))
    rows = [
        {"words": sentence, "pos": [words[word] for word in sentence]}
        for i in range(60)
        for sentence in [[names[i % 2], verbs[i // 2 % 2], adverbs[i // 4 % 2]][: 2 + i % 2]]
    ]
    data = write(tmp_path, "pos.jsonl", *rows)
    rnnzoo_train("--dataset", data, "--output_dir", tmp_path / "out", "--num_train_epochs", 10)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    assert results["task"] == "tag" and results["description"]["metric"] == results["selected_by"] == "accuracy"
    assert results["metrics"]["test"]["accuracy"] > 0.9
    assert set(results["metrics"]["test"]["per_class"]) == {"NOUN", "VERB", "ADV"}
    support = {name: scores["number"] for name, scores in results["metrics"]["test"]["per_class"].items()}
    baseline = results["baselines"]["majority tag"]["accuracy"]
    assert baseline in [pytest.approx(count / sum(support.values())) for count in support.values()]
    assert results["served"]["largest_difference"] < 1e-4 and set(results["served"]) >= {"accuracy", "words"}


def test_types_without_a_prefix_are_scored_as_entities(tmp_path):
    people = [f"Name{i}" for i in range(12)]
    rows = [
        {
            "tokens": [people[i % 12], people[(i + 3) % 12], "met", people[(i + 5) % 12]],
            "ner_tags": ["PER", "PER", "O", "PER"],
        }
        for i in range(60)
    ]
    data = write(tmp_path, "io.jsonl", *rows)
    rnnzoo_train("--dataset", data, "--output_dir", tmp_path / "out", "--num_train_epochs", 8)
    results = json.loads((tmp_path / "out" / "results.json").read_text())
    scores = results["metrics"]["test"]
    assert results["description"]["metric"] == "f1" and scores["f1"] > 0.9
    assert scores["per_type"]["PER"]["number"] == 2 * results["dataset"]["splits"]["test"], "two entities a sentence"
