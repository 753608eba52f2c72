"""The cheap baseline: TF-IDF of words and pairs of words, and a logistic regression, on the same data as the networks.

python -m recipes.tfidf --output_dir runs/tfidf-0
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from safetensors.numpy import load_file, save_file
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from recipes.imdb import TASK
from rnnzoo.data.columns import Columns
from rnnzoo.training.command_line import parse
from rnnzoo.training.evaluation import packed
from rnnzoo.training.launch import check_writable
from rnnzoo.training.options import incidental, option
from rnnzoo.training.provenance import cores, device_name, git_commit, versions


# The inverse strength of the regularisation, scikit-learn's C; selected on validation.
STRENGTHS = (1.0, 3.0, 10.0, 30.0, 100.0)


@dataclass
class TfidfOptions:
    """Options of this baseline."""

    output_dir: str = option("runs/tfidf", "folder for everything that is written", decides=False)
    dataset: str = option("auto", "auto, made (synthetic data), a folder, a file, or the id of a data set on the Hub")
    text_column: str | None = option(None, "column of the texts (default: text, or another common name)")
    label_column: str | None = option(None, "column of the labels (default: label, or another common name)")
    drop_incomplete: bool = option(False, "leave out rows without text or label, instead of refusing the data")
    encoding: str | None = option(None, "of text files (default: UTF-8, or what a byte order mark says)")
    seed: int = option(0, "random seed of the held-out validation split")


class Tfidf:
    """P(label | text) = softmax(W x + b), x the text's TF-IDF vector of length one (Salton & Buckley 1988).

    Words and pairs of neighbours that two texts have; 1 + log of their counts. Saved as plain arrays and a list of
    terms, since scikit-learn's own format is a pickle.
    """

    def __init__(self, vectorizer: TfidfVectorizer, classifier: LogisticRegression, num_labels: int):
        self.vectorizer, self.classifier, self.num_labels = vectorizer, classifier, num_labels

    def __call__(self, texts: list[str]) -> list[list[float]]:
        """The probabilities of all labels for each text, including labels that no training text had."""
        probabilities = np.zeros((len(texts), self.num_labels))
        probabilities[:, self.classifier.classes_] = self.classifier.predict_proba(self.vectorizer.transform(texts))
        return probabilities.tolist()

    def weights(self) -> dict[str, np.ndarray]:
        """All learned parameters."""
        return {
            "idf": self.vectorizer.idf_,
            "coef": self.classifier.coef_,
            "intercept": self.classifier.intercept_,
        }

    def save(self, folder: Path) -> None:
        """Writes `vocabulary.json` and `model.safetensors`."""
        terms = self.vectorizer.get_feature_names_out().tolist()
        (folder / "vocabulary.json").write_text(json.dumps(terms), encoding="utf-8")
        arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in self.weights().items()}
        arrays |= {"classes": self.classifier.classes_, "num_labels": np.array([self.num_labels])}
        save_file(arrays, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path) -> "Tfidf":
        """The inverse of `save`."""
        arrays = load_file(folder / "model.safetensors")
        terms = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        vectorizer, classifier = vectorizer_of(vocabulary=terms), LogisticRegression()
        vectorizer.idf_ = arrays["idf"]
        classifier.coef_, classifier.intercept_ = arrays["coef"], arrays["intercept"]
        classifier.classes_ = arrays["classes"]
        return cls(vectorizer, classifier, int(arrays["num_labels"][0]))


def vectorizer_of(**changes: Any) -> TfidfVectorizer:
    """Texts -> sparse vectors."""
    return TfidfVectorizer(ngram_range=(1, 2), min_df=2, sublinear_tf=True, dtype=np.float32, **changes)


def recipe(argv: list[str] | None = None) -> dict[str, Any]:
    """Trains, evaluates the test split once, writes the folder, and returns what is in its results.json."""
    options = parse(TfidfOptions, argv, about=__doc__)
    folder = Path(options.output_dir)
    check_writable(folder)
    started_from = {"versions": versions("scikit-learn"), "git_commit": git_commit()}
    corpus = TASK.load(options.dataset, seed=options.seed, columns=Columns.of(vars(options)))
    print(corpus.banner or f"Data: {corpus.name} from {corpus.source}.", *corpus.remarks, sep="\n")
    rows = {name: (list(split["text"]), list(split["label"])) for name, split in corpus.splits.items()}
    task = TASK(corpus)

    def evaluate(model: Tfidf, split: str) -> tuple[dict[str, float], list[bool]]:
        texts, labels = rows[split]
        found = model(texts)
        likelihoods = np.array(found)[range(len(labels)), labels].clip(min=np.finfo(np.float32).tiny)
        metrics = {**task.metrics(found, labels), "loss": float(-np.log(likelihoods).mean())}
        return metrics, task.correct(found, labels)

    texts, labels = rows["train"]
    started = time.perf_counter()
    vectorizer = vectorizer_of()
    vectors = vectorizer.fit_transform(texts)
    seconds, tried = time.perf_counter() - started, []
    for number, strength in enumerate(STRENGTHS, start=1):
        started = time.perf_counter()
        classifier = LogisticRegression(C=strength, max_iter=1000).fit(vectors, labels)
        model = Tfidf(vectorizer, classifier, len(corpus.labels))
        seconds += time.perf_counter() - started
        record = {"epoch": number, "C": strength, "validation": evaluate(model, "validation")[0]}
        tried.append((record | {"train_seconds": round(seconds, 2)}, model))
        print(f"C {strength}: validation {record['validation']}")
    best, model = max(tried, key=lambda pair: pair[0]["validation"]["accuracy"])
    test, correct = evaluate(model, "test")
    results = {
        **TASK.record(),
        "model": folder.resolve().name,
        "model_type": "tfidf",
        "dataset": {
            "name": corpus.name,
            "source": corpus.source,
            "splits": {name: len(split) for name, split in corpus.splits.items()},
            "remarks": corpus.remarks,
        },
        "num_parameters": sum(array.size for array in model.weights().values()),
        "seed": options.seed,
        "metrics": {"validation": best["validation"], "test": test},
        "test_correct": packed(correct),
        "best_epoch": best["epoch"],
        "history": [record for record, _ in tried],
        "train_seconds": round(seconds, 1),
        "world_size": 1,
        "mixed_precision": "no",
        "device": device_name(torch.device("cpu")),
        "num_threads": cores(),
        **started_from,
        "config": dataclasses.asdict(options),
        "incidental_options": incidental(options),
    }
    text = json.dumps(results, indent=2, allow_nan=False) + "\n"
    (folder / "results.json").unlink(missing_ok=True)  # where it is, the folder is complete
    model.save(folder)
    (folder / "results.json").write_text(text, encoding="utf-8")
    print(f"test {results['metrics']['test']}; written to {options.output_dir}")
    return results
