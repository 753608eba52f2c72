"""A recipe from its options to its results: load the data, build the model, train, evaluate, write, push."""

import dataclasses
import inspect
import json
import sys
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import torch
from accelerate import Accelerator
from datasets import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from rnnzoo.data.corpus import SPLITS, Corpus
from rnnzoo.data.errors import RecipeError
from rnnzoo.data.folds import reduced
from rnnzoo.data.streams import Stream, Survey
from rnnzoo.training import build, command_line, hub
from rnnzoo.training.evaluation import evaluate, packed
from rnnzoo.training.launch import start
from rnnzoo.training.loop import brief, selects, train
from rnnzoo.training.options import Options, incidental
from rnnzoo.training.provenance import device_name, git_commit, versions
from rnnzoo.training.resume import Progress
from rnnzoo.training.rows_read import only_rows_read
from rnnzoo.training.run_folder import check_free, in_fp16, write, write_untested
from rnnzoo.training.task import Task
from rnnzoo.training.word_vectors import read_vectors, start_vectors


# Above this share of unknown tokens in validation, a run warns. With the vocabularies of recipes/configs it is 0.04 to
# 0.14 on IMDB, 0.10 on CoNLL-2003 and 0.18 on WNUT-17.
MOST_UNKNOWN = 0.3


def main(task: type[Task]) -> None:
    """Runs a recipe with the flags of the command line; what its user can fix is said without a traceback."""
    command_line.main(lambda: run(task))


def run(task: type[Task], argv: list[str] | None = None, *, usual: bool = False) -> dict[str, Any]:
    """Runs a recipe with flags as on the command line, and returns what is in its results.json.

    Args:
        usual: the task's usual options, `Task.usual`, take the place of the recipes' defaults.

    Raises:
        RecipeError: an option, the data, a checkpoint or the machine does not allow the run.
    """
    options = parse(task, argv, usual=usual)
    if options.validation_only:
        check_free(Path(options.output_dir))
    accelerator = start(options)
    vectors = read_vectors(options)
    with accelerator.main_process_first():
        corpus = load(task, options)
    accelerator.print(corpus.banner or f"Data: {corpus.name} from {corpus.source}.", *corpus.remarks, sep="\n")
    texts = words_from(corpus, task.column)
    words = task.tokenizer_options(options, vectors)
    tokenizer, model, notes = build.build(task, options, corpus.labels, texts, words)
    for note in notes:
        accelerator.print(note)
    options.max_length = build.longest(options, tokenizer, model)
    if options.max_length:
        # In the saved tokenizer too, so that `truncation=True` alone, or a tagger's pipeline, truncates there.
        tokenizer.model_max_length = options.max_length
    job = task(corpus, tokenizer, model.config, options.max_length)
    check_selects(job, options)
    job.rows = encode(job, corpus, texts)
    dataset = describe(job)
    accelerator.print(f"Examples: {dataset['splits']}.")
    for name, counts in job.remarks().items():
        if any(counts.values()):
            accelerator.print(f"{name.replace('_', ' ').capitalize()}: {counts}.")
    for warning in unknown_words(job):
        accelerator.print(warning)
    job.begin(options)
    job.seconds_before = start_vectors(model, tokenizer, job.rows, vectors, options)
    started = time.perf_counter()
    job.fit(model, options)
    job.seconds_before += time.perf_counter() - started
    known = {"dataset": dataset, "notes": notes, **started_from(options)}
    return fit(accelerator, model, tokenizer, job, options, known)


def parse(task: type[Task], argv: list[str] | None = None, *, usual: bool = False) -> Options:
    """The options of a recipe, all of them checked that can be before any data is read."""
    about = inspect.getdoc(sys.modules[task.__module__]) or ""
    options = command_line.parse(
        task.Options, argv, about=about, more=build.flags(task), defaults=task.usual if usual else None
    )
    if options.output_dir is None:
        options.output_dir = f"runs/{task.name}"
    if options.push_to_hub or options.hub_model_id:
        hub.check_id(options.hub_model_id or Path(options.output_dir).resolve().name)
    build.check(task, options)
    task.check(options)
    return options


def check_selects(task: Task, options: Options) -> None:
    """Refuses to select the epoch by a metric that the task does not have."""
    choices = (*task.description.scores, "loss")
    if options.metric_for_best_model not in (None, *choices):
        raise RecipeError(f"metric_for_best_model is {options.metric_for_best_model!r}: choose {', '.join(choices)}.")


def load(task: type[Task], options: Options) -> Corpus:
    """The corpus that the options name, in memory or with a training split that is read lazily."""
    chosen = options.columns.as_argument()
    if options.streaming:
        return task.stream(options.dataset, seed=options.seed, most=options.most_rows, **chosen)
    if options.validation_split is not None:  # a task of the user's own need not know of it
        chosen["validation_split"] = options.validation_split
    chosen |= task.load_options(options)
    corpus = task.load(options.dataset, seed=options.seed, validation_fraction=options.validation_fraction, **chosen)
    return reduced(corpus, options.train_examples, options.fold, options.seed)


def words_from(corpus: Corpus, column: str) -> Iterable:
    """What a new tokenizer learns its words from: the training split, and unlabelled texts with it."""
    if corpus.read is not None:
        return Survey(corpus.read(), column)
    train = corpus.splits["train"][column]
    return train if corpus.unlabelled is None else [*train, *corpus.unlabelled[column]]


def encode(task: Task, corpus: Corpus, texts: Iterable) -> dict[str, Dataset | Stream]:
    """All splits as the loop reads them, and the unlabelled texts."""
    splits = dict(corpus.splits) if corpus.unlabelled is None else {**corpus.splits, "unlabelled": corpus.unlabelled}
    rows = {name: Dataset.from_dict(task.encode(split[:])) for name, split in splits.items()}
    if corpus.read is not None:
        rows["train"] = Stream(corpus.read, texts.finish(), task.encode, column=task.column)
    return rows


def unknown_words(task: Task) -> list[str]:
    """A warning if the tokenizer does not know most words of the validation split."""
    unknown, rows = task.tokenizer.unk_token_id, task.rows["validation"]["input_ids"]
    total = sum(map(len, rows))
    share = sum(row.count(unknown) for row in rows) / total if total and unknown is not None else 0.0
    if share <= MOST_UNKNOWN:
        return []
    return [
        f"Warning: {share:.0%} of the tokens of the validation split are unknown to the tokenizer. Its words come "
        "from the training split (or a checkpoint) and are separated by spaces and punctuation: check that the "
        "languages agree, and split texts of a script without spaces (Chinese, Japanese, Thai) into words first."
    ]


def describe(task: Task) -> dict[str, Any]:
    """The data set, for results.json."""
    return task.corpus.described({name: task.size(name) for name in SPLITS}) | task.remarks()


def started_from(options: Options) -> dict[str, Any]:
    """What is known of the run that wrote the checkpoint that this one starts from, for results.json."""
    file = Path(options.model_name_or_path or "", "results.json")
    if not options.model_name_or_path or not file.is_file():
        return {}
    before = json.loads(file.read_text(encoding="utf-8"))
    kept = ("task", "model", "dataset", "metrics", "train_seconds", "device", "git_commit", "config", "started_from")
    return {"started_from": {name: before[name] for name in kept if name in before}}


def trained(
    accelerator: Accelerator, model: PreTrainedModel, task: Task, options: Options, progress: Progress
) -> dict[str, Any]:
    """What results.json says of a model and its training."""
    return {
        **task.record(task.description),
        "model": Path(options.output_dir).resolve().name,
        "model_type": model.config.model_type,
        "model_config": model.config.to_diff_dict(),
        "num_parameters": sum(p.numel() for p in model.parameters()),
        "seed": options.seed,
        "selected_by": selects(task, options),
        "best_epoch": progress.best_epoch,
        "history": progress.history,
        "train_seconds": round(progress.seconds, 1),
        "world_size": accelerator.num_processes,
        "mixed_precision": accelerator.mixed_precision,
        "device": device_name(accelerator.device),
        "num_threads": torch.get_num_threads(),
        "config": dataclasses.asdict(options),
        "incidental_options": incidental(options),
    }


def fit(
    accelerator: Accelerator,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    task: Task,
    options: Options,
    known: dict[str, Any],
) -> dict[str, Any]:
    """Trains, evaluates the test split once, writes the folder, pushes it, and returns what is in its results.json.

    With `validation_only`, test is not evaluated, and model, tokenizer and results.json are all that is written.

    Args:
        known: what results.json says of the data and of where the model came from.
    """
    if options.report_to != "none":
        flat = {key: value for key, value in dataclasses.asdict(options).items() if not isinstance(value, dict)}
        accelerator.init_trackers(f"rnnzoo-{task.name}", config={k: str(v) for k, v in flat.items()})
    ran_with = {"versions": versions(), "git_commit": git_commit()}  # now: files may change while it trains
    with only_rows_read(model, task, options):
        progress = train(accelerator, model, task, options)
    # In fp32 whatever the training was in: that is how pipeline() will load it.
    model = accelerator.unwrap_model(model, keep_fp32_wrapper=False)
    validation = progress.best["validation"]

    def validate() -> dict[str, Any]:
        return evaluate(accelerator, model, task, "validation", options)[0]

    finished = task.finish(model, options, validate)
    if options.half_precision:
        # What is measured from here on is what is stored.
        model.load_state_dict(in_fp16(model))
    if finished or options.half_precision:
        validation = validate()
    metrics, baselines, predictions, correct = {"validation": validation}, {}, [], None
    if not options.validation_only:
        metrics["test"], predictions = evaluate(accelerator, model, task, "test", options)
        baselines = task.baselines()
        correct = task.correct(predictions, task.references(task.corpus.splits["test"]))
    results = {
        **trained(accelerator, model, task, options, progress),
        **known,
        **finished,
        "metrics": metrics,
        "test_correct": None if correct is None else packed(correct),
        "baselines": baselines,
        **ran_with,
    }
    results |= task.more_results(results)
    if accelerator.is_main_process:
        folder = Path(options.output_dir)
        if options.validation_only:
            write_untested(folder, model, tokenizer, results)
        else:
            names = write(folder, model, tokenizer, results, task, predictions)
        for probe in results.get("probes", []):
            print("{tried}: {measure} {value:.2f}".format(**probe))
        last = "validation" if options.validation_only else "test"
        for name, scores in {**baselines, last: metrics[last]}.items():
            print(f"{name}: {brief(scores)}")
        print(f"written to {options.output_dir}")
    accelerator.wait_for_everyone()
    accelerator.end_training()
    if options.push_to_hub and accelerator.is_main_process:
        message = f"{results['model']}: {task.name}, seed {options.seed}"
        print(f"pushed: {hub.push(folder, names, options.hub_model_id, message)}")
    return results
