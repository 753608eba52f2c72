"""Sentiment of film reviews (many-to-one), by any model of the zoo or of transformers.

accelerate launch -m recipes.imdb --config recipes/configs/imdb/book-lstm.yaml
accelerate launch -m recipes.imdb --config recipes/configs/imdb/book-lstm.yaml --dataset made --output_dir runs/try
"""

import dataclasses
import inspect
import time
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, ClassVar

import evaluate
import torch
from datasets import Dataset, DatasetDict
from huggingface_hub.errors import StrictDataclassError
from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, PreTrainedConfig

import rnnzoo
from recipes import data, made
from recipes.command_line import RecipeError, main, option, parse, unknown
from recipes.serving import answers
from recipes.training import Task, TrainingOptions, run, start
from recipes.word2vec import word2vec
from rnnzoo.configuration_rnnzoo import RecurrentConfig


# How far a probability may lie from its measured value when it is served: rounding, and nothing else.
TOLERANCE = 1e-4

CONFIGS = {family.config.model_type: family.config for family in rnnzoo.FAMILIES.values()}

# Ours alone: what transformers adds to every config, and what the tokenizer decides, is not for a recipe to set.
MODEL_FIELDS = {field.name for field in dataclasses.fields(RecurrentConfig)} - {
    *(field.name for field in dataclasses.fields(PreTrainedConfig)),
    *("vocab_size", "pad_token_id", "bos_token_id", "eos_token_id", "unk_token_id", "tie_word_embeddings"),
}

NO_MAX_LENGTH = (
    "max_length cuts texts in the tokenizer, which pipeline() would not do later. A recurrent network has no longest "
    "text; to read only the last words of each, use --model.window N, which is saved with the model."
)


@dataclass
class ImdbOptions(TrainingOptions):
    """Options of this recipe."""

    task: ClassVar[str] = "imdb"

    word_vectors: str | None = option(None, "what a new model's begin with: word2vec, from the training texts alone")

    def __post_init__(self):
        """Refuses options that the model or the tokenizer would refuse, before any data is read."""
        super().__post_init__()
        if self.word_vectors not in (None, "word2vec"):
            raise RecipeError(f"word_vectors is {self.word_vectors!r}: choose word2vec, or leave it out.")
        if self.word_vectors and self.model_name_or_path:
            raise RecipeError("word_vectors are for a new model; model_name_or_path brings its own: leave one out.")
        if self.model_name_or_path:
            return
        if self.max_length:
            raise RecipeError(NO_MAX_LENGTH)
        fields = dict(self.model)
        model_type = fields.pop("model_type", None)
        if model_type not in CONFIGS:
            raise RecipeError(
                f"model.model_type is {model_type!r}: choose {', '.join(CONFIGS)}, or give --model_name_or_path."
            )
        choices = set(inspect.signature(rnnzoo.train_tokenizer).parameters) - {"texts", "model_max_length"}
        for given, allowed, where in ((fields, MODEL_FIELDS, "model"), (self.tokenizer, choices, "tokenizer")):
            for name in given:
                if name not in allowed:
                    raise RecipeError(unknown(name, allowed, where))
        try:
            CONFIGS[model_type](**fields)
            rnnzoo.train_tokenizer(["a word"], **self.tokenizer)
        except (StrictDataclassError, TypeError, ValueError) as error:
            raise RecipeError(
                f"An option under model or tokenizer is refused: {' '.join(str(error).split())}"
            ) from error


def recipe(argv: list[str] | None = None) -> dict[str, Any]:
    """Runs the recipe with flags as on the command line; returns what is in results.json."""
    options = parse(ImdbOptions, argv)
    accelerator = start(options)
    with accelerator.main_process_first():
        corpus = data.load("imdb", options.dataset, seed=options.seed)
    sizes = {name: len(split) for name, split in corpus.splits.items()}
    accelerator.print(made.BANNER if corpus.name == "made" else f"Data: {corpus.name} from {corpus.source}.")
    accelerator.print(f"Rows: {sizes}.")
    tokenizer, model = build(options, corpus)
    limit = longest(options, tokenizer, model)
    cut = {"truncation": True, "max_length": limit} if limit else {}
    if limit:
        # On record in results.json, and in the saved tokenizer, so that `truncation=True` alone cuts there too.
        options.max_length = tokenizer.model_max_length = limit
    rows = DatasetDict({name: encode(split, tokenizer, model, cut) for name, split in corpus.splits.items()})
    task = Task(
        name="imdb",
        dataset={"name": corpus.name, "source": corpus.source, "splits": sizes},
        rows=rows,
        collate=partial(collate, tokenizer),
        read=read,
        metrics=accuracy(),
        best="accuracy",
        serve=partial(serve, test=corpus.splits["test"], rows=options.verify_rows, labels=corpus.labels, cut=cut),
        seconds_before=start_vectors(model, rows["train"], options),
    )
    return run(accelerator, model, tokenizer, task, options)


def longest(options: ImdbOptions, tokenizer, model) -> int | None:
    """Tokens of a text that are read, the first ones: a transformer has so many positions and no more.

    Raises:
        RecipeError: max_length asks for more.
    """
    positions = getattr(model.config, "max_position_embeddings", None)
    if positions and options.max_length and options.max_length > positions:
        raise RecipeError(f"max_length is {options.max_length}, and this model has {positions} positions: lower it.")
    # Its tokenizer may know of fewer: some models give away positions to their padding.
    return options.max_length or (positions and min(positions, tokenizer.model_max_length))


def build(options: ImdbOptions, corpus: data.Corpus):
    """The tokenizer and the model: a checkpoint's, or new ones made from the options.

    Raises:
        RecipeError: a checkpoint that cannot be loaded, texts without a word.
    """
    labels = {
        "num_labels": len(corpus.labels),
        "id2label": dict(enumerate(corpus.labels)),
        "label2id": {label: i for i, label in enumerate(corpus.labels)},
        "problem_type": "single_label_classification",
    }
    path = options.model_name_or_path
    if path:
        try:
            tokenizer = AutoTokenizer.from_pretrained(path)
            config = changed(AutoConfig.from_pretrained(path, **labels), options.model)
            model = AutoModelForSequenceClassification.from_pretrained(path, config=config, dtype=torch.float32)
        except RecipeError:
            raise
        except Exception as error:  # whatever stands in a folder that somebody names
            raise RecipeError(
                f"model_name_or_path {path} cannot be loaded as a text classifier with {len(corpus.labels)} labels: "
                f"{' '.join(str(error).split())[:500]}"
            ) from error
        if len(tokenizer) <= len(tokenizer.all_special_ids):
            # transformers makes one up for a folder that lacks its files.
            raise RecipeError(
                f"model_name_or_path {path} cannot be loaded: its tokenizer has no words. Save one there too."
            )
        if len(tokenizer) > model.config.vocab_size:
            raise RecipeError(
                f"The tokenizer of {path} has {len(tokenizer)} words and its model {model.config.vocab_size} rows: "
                "they do not belong together."
            )
        if options.max_length and hasattr(model.config, "window"):
            raise RecipeError(NO_MAX_LENGTH)
        return tokenizer, model

    try:
        tokenizer = rnnzoo.train_tokenizer(corpus.splits["train"]["text"], **options.tokenizer)
    except ValueError as error:
        raise RecipeError(f"No tokenizer can be trained on the train split: {error}") from error
    config = AutoConfig.for_model(
        **options.model,
        **labels,
        vocab_size=len(tokenizer),
        pad_token_id=tokenizer.pad_token_id,
        bos_token_id=tokenizer.bos_token_id,
        eos_token_id=tokenizer.eos_token_id,
        unk_token_id=tokenizer.unk_token_id,
    )
    return tokenizer, AutoModelForSequenceClassification.from_config(config)


def start_vectors(model, train: Dataset, options: ImdbOptions) -> float:
    """Gives a new model the word vectors that it is to begin with; the seconds that they took.

    Every process makes the same ones. A run that is resumed has them in its checkpoint.
    """
    if not options.word_vectors or options.resume:
        return 0.0
    started = time.perf_counter()
    embeddings = model.get_input_embeddings()
    with torch.no_grad():
        embeddings.weight.copy_(word2vec(train["input_ids"], embeddings, options.seed))
    return time.perf_counter() - started


def changed(config: PreTrainedConfig, fields: dict[str, Any]) -> PreTrainedConfig:
    """A checkpoint's configuration with some fields set anew, its dropout for one.

    Raises:
        RecipeError: it has no such field.
        huggingface_hub.errors.StrictDataclassError: the field does not take such a value.
    """
    for name, value in fields.items():
        known = MODEL_FIELDS if isinstance(config, RecurrentConfig) else set(config.to_dict())
        if name not in known:
            raise RecipeError(unknown(name, known, "model"))
        setattr(config, name, value)
    config.validate()
    return config


def encode(split: Dataset, tokenizer, model, cut: dict[str, Any]) -> Dataset:
    """Texts as ids. What lies before the model's window is left out here: it would be carried along unread."""
    ids = tokenizer(list(split["text"]), return_attention_mask=False, **cut)["input_ids"]
    window = getattr(model.config, "window", None)
    if window is not None:
        ids = [row[-window:] for row in ids]
    lengths = [len(row) for row in ids]
    return Dataset.from_dict({"input_ids": ids, "length": lengths, "labels": list(split["label"])})


def collate(tokenizer, rows: dict[str, list]) -> dict[str, torch.Tensor]:
    """Columns of some rows -> padded ids, mask, labels."""
    batch = tokenizer.pad({"input_ids": rows["input_ids"]}, return_tensors="pt")
    return {**batch, "labels": torch.tensor(rows["labels"])}


def read(outputs, batch: dict[str, torch.Tensor]) -> list[tuple[list[float], int]]:
    """For each row the probabilities of the classes, and the right one."""
    return list(zip(outputs.logits.float().softmax(-1).tolist(), batch["labels"].tolist(), strict=True))


def accuracy():
    """The metric, through `evaluate`, of probabilities."""
    metric = evaluate.load(str(Path(__file__).parent / "metrics" / "accuracy.py"))

    def compute(probabilities: list[list[float]], references: list[int]) -> dict[str, float]:
        return metric.compute(predictions=[argmax(row) for row in probabilities], references=references)

    return compute


def argmax(row: list[float]) -> int:
    """The place of the largest value."""
    return max(range(len(row)), key=row.__getitem__)


def serve(
    folder: Path, predictions: list[list[float]], *, test: Dataset, rows: int, labels: list[str], cut: dict[str, Any]
) -> dict[str, Any]:
    """Asks the folder's pipeline for evenly spaced test rows, one by one and 32 at a time.

    Raises:
        RuntimeError: an answer differs from what was measured.
    """
    chosen = range(0, len(test), max(1, len(test) // rows))
    texts, references = [test[i]["text"] for i in chosen], [test[i]["label"] for i in chosen]
    proof = {"rows": len(chosen), "accuracy": {}, "largest_difference": 0.0}
    for batch_size in (1, 32):
        found = answers(folder, "text-classification", texts, batch_size, top_k=None, **cut)
        served = [[{part["label"]: part["score"] for part in parts}[label] for label in labels] for parts in found]
        gaps = [
            max(abs(a - b) for a, b in zip(row, predictions[i], strict=True))
            for row, i in zip(served, chosen, strict=True)
        ]
        if not all(gap <= TOLERANCE for gap in gaps):  # NaN is no agreement either
            worst = next(place for place, gap in enumerate(gaps) if not gap <= TOLERANCE)
            raise RuntimeError(
                f"What is served is not what was measured: for test row {chosen[worst]} pipeline() at batch size "
                f"{batch_size} gives {served[worst]}, the evaluation {predictions[chosen[worst]]}. No results.json."
            )
        right = sum(argmax(row) == reference for row, reference in zip(served, references, strict=True))
        proof["accuracy"][f"batch_{batch_size}"] = right / len(chosen)
        proof["largest_difference"] = max(proof["largest_difference"], *gaps)
    return proof


if __name__ == "__main__":
    main(recipe)
