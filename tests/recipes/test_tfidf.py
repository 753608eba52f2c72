"""recipes.tfidf: the baseline's results are of the networks' kind, and what is saved answers as it was measured."""

import json

import pytest
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from recipes.baselines import tfidf
from recipes.baselines.tfidf import Tfidf
from rnnzoo.data import texts as data
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.synthetic import reviews as made


TWO_ROWS = 2.5e-3  # of a thousand, and rounding


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """A folder that the baseline wrote, on the made set."""
    folder = tmp_path_factory.mktemp("runs") / "tfidf-0"
    return folder, tfidf.recipe(["--dataset", "made", "--output_dir", str(folder)])


def test_results_are_those_of_scikit_learn_on_the_same_rows(written):
    folder, results = written
    assert results == json.loads((folder / "results.json").read_text())
    splits = data.load("imdb", "made", seed=0).splits
    vectorizer = TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True)
    vectors = vectorizer.fit_transform(splits["train"]["text"])
    scores = []
    for record in results["history"]:
        model = LogisticRegression(C=record["C"], max_iter=1000).fit(vectors, splits["train"]["label"])
        found = {
            name: model.score(vectorizer.transform(splits[name]["text"]), splits[name]["label"])
            for name in ("validation", "test")
        }
        assert record["validation"]["accuracy"] == pytest.approx(found["validation"], abs=TWO_ROWS)
        scores.append((record["validation"]["accuracy"], found["test"]))
    # Validation chose, and the first of equals; test was read for that one.
    best = max(range(len(scores)), key=lambda i: (scores[i][0], -i))
    assert results["best_epoch"] == best + 1
    assert results["metrics"]["test"]["accuracy"] == pytest.approx(scores[best][1], abs=TWO_ROWS)
    assert results["num_parameters"] == 2 * vectors.shape[1] + 1


def test_the_saved_folder_answers_as_it_was_measured(written):
    folder, results = written
    test = data.load("imdb", "made", seed=0).splits["test"]
    found = Tfidf.load(folder)(list(test["text"]))
    right = sum((row[1] > row[0]) == label for row, label in zip(found, test["label"], strict=True))
    assert right / len(test) == results["metrics"]["test"]["accuracy"]
    assert all(sum(row) == pytest.approx(1) for row in found)
    assert {path.name for path in folder.iterdir()} == {"model.safetensors", "results.json", "vocabulary.json"}


def test_three_classes(tmp_path):
    rows = {"text": ["red red one", "green green two", "blue blue three"] * 4, "label": [0, 1, 2] * 4}
    for split in ("train", "validation", "test"):
        lines = [json.dumps({"text": t, "label": n}) for t, n in zip(rows["text"], rows["label"], strict=True)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    results = tfidf.recipe(["--dataset", str(tmp_path), "--output_dir", str(tmp_path / "out")])
    assert results["metrics"]["test"]["accuracy"] == 1
    assert [row.index(max(row)) for row in Tfidf.load(tmp_path / "out")(rows["text"])] == rows["label"]


def test_a_class_that_train_lacks_has_no_probability(tmp_path):
    rows = {"text": ["red red one", "blue blue three"] * 4, "label": [0, 2] * 4}
    test = {"text": ["red red", "green", "blue"], "label": [0, 1, 2]}
    (tmp_path / "labels.json").write_text('["red", "green", "blue"]')
    for split, given in {"train": rows, "validation": rows, "test": test}.items():
        lines = [json.dumps({"text": t, "label": n}) for t, n in zip(given["text"], given["label"], strict=True)]
        (tmp_path / f"{split}.jsonl").write_text("\n".join(lines))
    results = tfidf.recipe(["--dataset", str(tmp_path), "--output_dir", str(tmp_path / "out")])
    assert results["metrics"]["test"]["accuracy"] == pytest.approx(2 / 3)
    assert 10 < results["metrics"]["test"]["loss"] < 100, "sure, and wrong, but not infinitely so"
    found = Tfidf.load(tmp_path / "out")(test["text"])
    assert [row[1] for row in found] == [0, 0, 0] and [row.index(max(row)) for row in found][::2] == [0, 2]


def test_the_made_set_announces_itself(written, capsys, tmp_path):
    tfidf.recipe(["--dataset", "made", "--output_dir", str(tmp_path)])
    assert made.BANNER in capsys.readouterr().out


def test_what_cannot_be_done_is_said_at_once(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(RecipeError, match="output_dir .*file cannot be written"):
        tfidf.recipe(["--dataset", "made", "--output_dir", str(tmp_path / "file")])
    with pytest.raises(RecipeError, match="'ngrams' in the command line is not an option"):
        tfidf.recipe(["--ngrams", "3"])
