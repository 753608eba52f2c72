"""The cheap baselines: TF-IDF of words and n-grams, and a logistic regression, on the same data as the networks.

python -m recipes.tfidf --output_dir runs/tfidf-0
python -m recipes.tfidf --weighting naive_bayes --ngrams 3 --output_dir runs/nb-tfidf-trigrams-0
"""

import dataclasses
import json
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import ArrayLike
from safetensors.numpy import load_file, save_file
from scipy.sparse import csr_matrix
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression

from recipes.imdb import TASK
from rnnzoo.data.columns import Columns
from rnnzoo.data.errors import DataError, RecipeError
from rnnzoo.data.folds import check_parts, reduced
from rnnzoo.training import wide
from rnnzoo.training.command_line import parse
from rnnzoo.training.evaluation import packed
from rnnzoo.training.launch import check_writable
from rnnzoo.training.options import incidental, option
from rnnzoo.training.provenance import cores, device_name, git_commit, versions


WEIGHTINGS = ("tfidf", "naive_bayes")
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
    validation_split: str | None = option(None, "a recorded validation split of a known data set: films for imdb")
    weighting: str = option("tfidf", "of the terms: tfidf, or naive_bayes, which also multiplies by log-count ratios")
    ngrams: int = option(2, "the longest terms, in words: 1 for words alone, 2 for words and bigrams, 3 with trigrams")
    train_examples: int | None = option(None, "use only so many training examples, drawn by the seed")
    fold: str | None = option(None, "K/N: leave the K-th (from 0) of N folds of the training split out")
    validation_only: bool = option(False, "stop after validation: test is not evaluated; for teachers")
    seed: int = option(0, "random seed of the held-out validation split and of train_examples")

    def __post_init__(self):
        if self.weighting not in WEIGHTINGS:
            raise RecipeError(f"weighting is {self.weighting!r}: choose {' or '.join(WEIGHTINGS)}.")
        if self.ngrams < 1:
            raise RecipeError(f"ngrams is {self.ngrams}: it must be at least 1, for words alone.")
        check_parts(self.train_examples, self.fold)


class Tfidf:
    """P(label | text) = softmax(W x + b), x the text's TF-IDF vector of length one (Salton & Buckley 1988).

    Its terms are the words and n-grams that two texts have; 1 + log of their counts. With a `ratio`, x is then
    multiplied by it, term by term, see `log_count_ratio`, and words of one character are read too, such as the 8 of
    "8/10". Saved as plain arrays and a list of terms, since scikit-learn's own format is a pickle.
    """

    def __init__(
        self,
        vectorizer: TfidfVectorizer,
        classifier: LogisticRegression,
        num_labels: int,
        ratio: np.ndarray | None = None,
    ):
        self.vectorizer, self.classifier, self.num_labels, self.ratio = vectorizer, classifier, num_labels, ratio

    def __call__(self, texts: list[str]) -> list[list[float]]:
        """The probabilities of all labels for each text, including labels that no training text had."""
        probabilities = np.zeros((len(texts), self.num_labels))
        vectors = weighted(self.vectorizer.transform(texts), self.ratio)
        probabilities[:, self.classifier.classes_] = self.classifier.predict_proba(vectors)
        return probabilities.tolist()

    def weights(self) -> dict[str, np.ndarray]:
        """All learned parameters."""
        found = {
            "idf": self.vectorizer.idf_,
            "coef": self.classifier.coef_,
            "intercept": self.classifier.intercept_,
        }
        return found if self.ratio is None else found | {"ratio": self.ratio}

    def save(self, folder: Path) -> None:
        """Writes `vocabulary.json` and `model.safetensors`."""
        terms = self.vectorizer.get_feature_names_out().tolist()
        (folder / "vocabulary.json").write_text(json.dumps(terms), encoding="utf-8")
        arrays = {name: np.ascontiguousarray(array, np.float32) for name, array in self.weights().items()}
        arrays |= {"classes": self.classifier.classes_, "num_labels": np.array([self.num_labels])}
        save_file(arrays, folder / "model.safetensors")

    @classmethod
    def load(cls, folder: Path | str) -> "Tfidf":
        """The inverse of `save`."""
        folder = Path(folder)
        arrays = load_file(folder / "model.safetensors")
        terms = json.loads((folder / "vocabulary.json").read_text(encoding="utf-8"))
        ngrams = 1 + max(term.count(" ") for term in terms)
        vectorizer = vectorizer_of(ngrams, short_words="ratio" in arrays, vocabulary=terms)
        classifier = LogisticRegression()
        vectorizer.idf_ = arrays["idf"]
        classifier.coef_, classifier.intercept_ = arrays["coef"], arrays["intercept"]
        classifier.classes_ = arrays["classes"]
        return cls(vectorizer, classifier, int(arrays["num_labels"][0]), arrays.get("ratio"))


def vectorizer_of(ngrams: int, short_words: bool, **changes: Any) -> TfidfVectorizer:
    """Texts -> sparse vectors; of words of two characters or more, unless `short_words` are read too."""
    if short_words:
        changes["token_pattern"] = r"\b\w+\b"
    return TfidfVectorizer(ngram_range=(1, ngrams), min_df=2, sublinear_tf=True, dtype=np.float32, **changes)


def log_count_ratio(vectors: csr_matrix, labels: ArrayLike) -> np.ndarray:
    """[V] by which naive Bayes weighs terms (Wang & Manning 2012, https://aclanthology.org/P12-2018).

    Raises:
        DataError: there are not two classes.
    """
    classes = np.unique(labels)
    if len(classes) != 2:
        raise DataError(
            f"weighting is naive_bayes, which tells two classes apart, and the training split has {len(classes)}: "
            "leave it out, for TF-IDF."
        )
    return wide.log_count_ratio(vectors, np.asarray(labels) == classes[1]).astype(np.float32)


def weighted(vectors: csr_matrix, ratio: np.ndarray | None) -> csr_matrix:
    """The vectors multiplied by the ratio, term by term, if there is one."""
    return vectors if ratio is None else vectors.multiply(ratio).tocsr()


def recipe(argv: list[str] | None = None) -> dict[str, Any]:
    """Trains, evaluates the test split once, writes the folder, and returns what is in its results.json.

    With `validation_only` test is not evaluated.
    """
    options = parse(TfidfOptions, argv, about=__doc__)
    folder = Path(options.output_dir)
    check_writable(folder)
    started_from = {"versions": versions("scikit-learn"), "git_commit": git_commit()}
    corpus = TASK.load(
        options.dataset,
        seed=options.seed,
        validation_split=options.validation_split,
        columns=Columns.of(vars(options)),
    )
    corpus = reduced(corpus, options.train_examples, options.fold, options.seed)
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
    naive_bayes = options.weighting == "naive_bayes"
    vectorizer = vectorizer_of(options.ngrams, short_words=naive_bayes)
    vectors = vectorizer.fit_transform(texts)
    ratio = log_count_ratio(vectors, labels) if naive_bayes else None
    vectors = weighted(vectors, ratio)
    seconds, tried = time.perf_counter() - started, []
    for number, strength in enumerate(STRENGTHS, start=1):
        started = time.perf_counter()
        classifier = LogisticRegression(C=strength, max_iter=1000).fit(vectors, labels)
        model = Tfidf(vectorizer, classifier, len(corpus.labels), ratio)
        seconds += time.perf_counter() - started
        record = {"epoch": number, "C": strength, "validation": evaluate(model, "validation")[0]}
        tried.append((record | {"train_seconds": round(seconds, 2)}, model))
        print(f"C {strength}: validation {record['validation']}")
    best, model = max(tried, key=lambda pair: pair[0]["validation"]["accuracy"])
    measured = {"metrics": {"validation": best["validation"]}}
    if not options.validation_only:
        measured["metrics"]["test"], correct = evaluate(model, "test")
        measured["test_correct"] = packed(correct)
    results = {
        **TASK.record(),
        "model": folder.resolve().name,
        "model_type": "tfidf",
        "dataset": corpus.described({name: len(split) for name, split in corpus.splits.items()}),
        "num_parameters": sum(array.size for array in model.weights().values()),
        "seed": options.seed,
        **measured,
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
    print(*(f"{name} {found}" for name, found in results["metrics"].items()), sep="\n")
    print(f"written to {options.output_dir}")
    return results
