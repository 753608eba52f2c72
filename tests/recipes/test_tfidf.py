"""recipes.tfidf: the baseline's results are like those of networks, and the saved folder answers as measured."""

import json
import math

import pytest
from safetensors.numpy import load_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from recipes.baselines import tfidf
from recipes.baselines.tfidf import Tfidf
from recipes.imdb import TASK
from recipes.report.mcnemar import correct
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.synthetic.reviews import BANNER
from rnnzoo.training.run import load
from tests.support.data_files import write


UNWEIGHTED = {"idf", "coef", "intercept", "classes", "num_labels"}
TWO_EXAMPLES = 2.5e-3  # of a thousand, and rounding


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder that the baseline wrote, on synthetic data."""
    folder = tmp_path_factory.mktemp("runs") / "tfidf-0"
    return folder, tfidf.recipe(["--dataset", "made", "--output_dir", str(folder)])


def test_results_are_those_of_scikit_learn_on_the_same_examples(written):
    folder, results = written
    assert results == json.loads((folder / "results.json").read_text())
    splits = TASK.load("made", seed=0).splits
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    vectors = vectorizer.fit_transform(splits["train"]["text"])
    scores = []
    for record in results["history"]:
        model = LogisticRegression(C=record["C"], max_iter=1000).fit(vectors, splits["train"]["label"])
        found = {
            name: model.score(vectorizer.transform(splits[name]["text"]), splits[name]["label"])
            for name in ("validation", "test")
        }
        assert record["validation"]["accuracy"] == pytest.approx(found["validation"], abs=TWO_EXAMPLES)
        scores.append((record["validation"]["accuracy"], found["test"]))
    # Selected on validation, the first of equals; test was evaluated for that one.
    best = max(range(len(scores)), key=lambda i: (scores[i][0], -i))
    assert results["best_epoch"] == best + 1
    assert results["metrics"]["test"]["accuracy"] == pytest.approx(scores[best][1], abs=TWO_EXAMPLES)
    assert results["num_parameters"] == 2 * vectors.shape[1] + 1


def test_the_saved_folder_answers_as_measured(written):
    folder, results = written
    test = TASK.load("made", seed=0).splits["test"]
    found = Tfidf.load(folder)(list(test["text"]))
    right = sum((row[1] > row[0]) == label for row, label in zip(found, test["label"], strict=True))
    assert right / len(test) == results["metrics"]["test"]["accuracy"]
    expected = [(row[1] > row[0]) == label for row, label in zip(found, test["label"], strict=True)]
    assert correct(results).tolist() == expected
    assert all(sum(row) == pytest.approx(1) for row in found)
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "results.json", "vocabulary.json"}


def test_validation_only_leaves_test_alone(written, tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(
        Tfidf, "__call__", lambda self, texts, call=Tfidf.__call__: asked.extend(texts) or call(self, texts)
    )
    found = tfidf.recipe(["--dataset", "made", "--validation_only", "true", "--output_dir", str(tmp_path / "out")])
    assert found["metrics"] == {"validation": written[1]["metrics"]["validation"]} and "test_correct" not in found
    assert set(asked) == set(TASK.load("made", seed=0).splits["validation"]["text"])


# ---- weighted by naive Bayes ----


@pytest.fixture(scope="module")
def weighted(tmp_path_factory):
    """A folder of the baseline with weights of naive Bayes, on synthetic data."""
    folder = tmp_path_factory.mktemp("runs") / "nb-tfidf-0"
    return folder, tfidf.recipe(["--dataset", "made", "--weighting", "naive_bayes", "--output_dir", str(folder)])


def test_the_ratio_is_that_of_the_equation():
    """Wang & Manning 2012, equation 1, with sets of words in place of vectors."""
    texts, labels = ["good good film", "a good film", "bad film", "a bad bad end", "a film"], [1, 1, 0, 0, 0]
    terms = ["a", "bad", "end", "film", "good"]
    vectors = TfidfVectorizer(vocabulary=terms, token_pattern=r"\w+").fit_transform(texts)
    counts = {
        label: [1 + sum(t in text.split() for text, n in zip(texts, labels, strict=True) if n == label) for t in terms]
        for label in (0, 1)
    }
    expected = [
        math.log((p / sum(counts[1])) / (q / sum(counts[0]))) for p, q in zip(counts[1], counts[0], strict=True)
    ]
    assert tfidf.log_count_ratio(vectors, labels) == pytest.approx(expected, abs=1e-6)


def test_weighted_results_are_those_of_scikit_learn_on_weighted_vectors(weighted):
    _, results = weighted
    assert (results["model"], results["model_type"]) == ("nb-tfidf-0", "tfidf")
    splits = TASK.load("made", seed=0).splits
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, token_pattern=r"\b\w+\b")
    vectors = vectorizer.fit_transform(splits["train"]["text"])
    ratio = tfidf.log_count_ratio(vectors, splits["train"]["label"])
    validation = vectorizer.transform(splits["validation"]["text"]).multiply(ratio)
    for record in results["history"]:
        model = LogisticRegression(C=record["C"], max_iter=1000).fit(vectors.multiply(ratio), splits["train"]["label"])
        score = model.score(validation, splits["validation"]["label"])
        assert record["validation"]["accuracy"] == pytest.approx(score, abs=TWO_EXAMPLES)
    assert results["num_parameters"] == 3 * vectors.shape[1] + 1


def test_the_saved_folder_with_weights_answers_as_measured(weighted):
    folder, results = weighted
    test = TASK.load("made", seed=0).splits["test"]
    found = Tfidf.load(str(folder))(list(test["text"]))
    right = sum((row[1] > row[0]) == label for row, label in zip(found, test["label"], strict=True))
    assert right / len(test) == results["metrics"]["test"]["accuracy"]
    assert set(load_file(folder / "model.safetensors")) == {*UNWEIGHTED, "ratio"}


def test_without_the_option_nothing_is_weighted(written):
    assert set(load_file(written[0] / "model.safetensors")) == UNWEIGHTED


def test_with_naive_bayes_words_of_one_character_are_read(tmp_path):
    rows = {"text": ["scored 9/10", "scored 1/10"] * 6, "label": [1, 0] * 6}
    write(tmp_path / "mine", "jsonl", train=rows, validation=rows, test=rows)
    given = ["--dataset", str(tmp_path / "mine"), "--weighting", "naive_bayes", "--output_dir", str(tmp_path / "out")]
    assert tfidf.recipe(given)["metrics"]["test"]["accuracy"] == 1
    assert {"9", "1", "9 10"} <= set(json.loads((tmp_path / "out" / "vocabulary.json").read_text()))
    found = Tfidf.load(tmp_path / "out")(rows["text"])
    assert [row.index(max(row)) for row in found] == rows["label"]


@pytest.mark.parametrize("ngrams", [1, 3])
def test_the_saved_folder_reads_ngrams_as_long_as_those_that_were_learned(tmp_path, ngrams):
    """Order within three words decides: with trigrams all rows are told apart, with words alone none."""
    rows = {"text": ["not good but bad", "bad but not good", "not bad but good", "good but not bad"] * 3}
    rows["label"] = [0, 0, 1, 1] * 3
    write(tmp_path / "mine", "jsonl", train=rows, validation=rows, test=rows)
    given = ["--dataset", str(tmp_path / "mine"), "--ngrams", str(ngrams), "--output_dir", str(tmp_path / "out")]
    assert tfidf.recipe(given)["metrics"]["test"]["accuracy"] == (1 if ngrams == 3 else 0.5)
    assert max(len(term.split()) for term in json.loads((tmp_path / "out" / "vocabulary.json").read_text())) == ngrams
    found = Tfidf.load(tmp_path / "out")(rows["text"])
    right = sum(row.index(max(row)) == label for row, label in zip(found, rows["label"], strict=True))
    assert right == (12 if ngrams == 3 else 6)


def test_naive_bayes_wants_two_classes(tmp_path):
    rows = {"text": ["red red one", "green green two", "blue blue three"] * 4, "label": [0, 1, 2] * 4}
    write(tmp_path / "mine", "jsonl", train=rows, validation=rows, test=rows)
    given = ["--dataset", str(tmp_path / "mine"), "--weighting", "naive_bayes", "--output_dir", str(tmp_path / "out")]
    with pytest.raises(RecipeError, match="naive_bayes, which tells two classes apart, and .* has 3: leave it out"):
        tfidf.recipe(given)
    assert not list((tmp_path / "out").iterdir())


def test_three_classes_are_learned(tmp_path):
    rows = {"text": ["red red one", "green green two", "blue blue three"] * 4, "label": [0, 1, 2] * 4}
    for split in ("train", "validation", "test"):
        lines = [json.dumps({"text": t, "label": n}) for t, n in zip(rows["text"], rows["label"], strict=True)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    results = tfidf.recipe(["--dataset", str(tmp_path), "--output_dir", str(tmp_path / "out")])
    assert results["metrics"]["test"]["accuracy"] == 1
    assert [row.index(max(row)) for row in Tfidf.load(tmp_path / "out")(rows["text"])] == rows["label"]


def test_a_class_without_training_texts_has_probability_zero(tmp_path):
    rows = {"text": ["red red one", "blue blue three"] * 4, "label": [0, 2] * 4}
    test = {"text": ["red red", "green", "blue"], "label": [0, 1, 2]}
    (tmp_path / "labels.json").write_text('["red", "green", "blue"]')
    for split, given in {"train": rows, "validation": rows, "test": test}.items():
        lines = [json.dumps({"text": t, "label": n}) for t, n in zip(given["text"], given["label"], strict=True)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    results = tfidf.recipe(["--dataset", str(tmp_path), "--output_dir", str(tmp_path / "out")])
    assert results["metrics"]["test"]["accuracy"] == pytest.approx(2 / 3)
    assert 10 < results["metrics"]["test"]["loss"] < 100, "certain and wrong, but finite"
    found = Tfidf.load(tmp_path / "out")(test["text"])
    assert [row[1] for row in found] == [0, 0, 0] and [row.index(max(row)) for row in found][::2] == [0, 2]


def test_it_may_be_trained_on_some_of_the_examples(tmp_path):
    folder = tmp_path / "out"
    given = ["--train_examples", "300", "--fold", "0/3", "--seed", "2"]
    results = tfidf.recipe(["--dataset", "made", *given, "--output_dir", str(folder)])
    assert results["dataset"]["splits"] == {"train": 200, "validation": 1000, "test": 1000}
    train = load(TASK, TASK.Options(dataset="made", train_examples=300, fold="0/3", seed=2)).splits["train"]
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True).fit(train["text"])
    terms = json.loads((folder / "vocabulary.json").read_text())
    assert terms == vectorizer.get_feature_names_out().tolist()
    with pytest.raises(RecipeError, match="fold is '3/3'"):
        tfidf.recipe(["--fold", "3/3"])


def test_synthetic_data_is_announced(written, capsys, tmp_path):
    tfidf.recipe(["--dataset", "made", "--output_dir", str(tmp_path)])
    assert BANNER in capsys.readouterr().out


def test_bad_options_are_refused_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match="output_dir .*file cannot be written"):
        tfidf.recipe(["--dataset", "made", "--output_dir", str(tmp_path / "file")])
    with pytest.raises(RecipeError, match="weighting is 'bm25': choose tfidf or naive_bayes"):
        tfidf.recipe(["--weighting", "bm25"])
    with pytest.raises(RecipeError, match="'film', which is not recorded"):
        tfidf.recipe(["--validation_split", "film", "--output_dir", str(tmp_path)])
    with pytest.raises(RecipeError, match="ngrams is 0: it must be at least 1"):
        tfidf.recipe(["--ngrams", "0"])
    with pytest.raises(RecipeError, match="'ngram' in the command line is not an option"):
        tfidf.recipe(["--ngram", "3"])
