"""Writes tunes with a model of recipes.music.

python -m recipes.tunes MODEL --number 3 --book jigs --metre 6/8 --key G     with this label, to runs/tunes
python -m recipes.tunes MODEL --number 200 --measure    with labels drawn from the training tunes; what is found goes
                                                        to the results.json of the folder MODEL
python -m recipes.tunes MODEL --number 2000 --faultless own.parquet     without a fault, to train on

A tune is a file .abc, and with the packages of rnnzoo[music] a .mid and a score, .svg, too, but for tunes to measure.
"""

import argparse
import json
import random
import sys
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pyarrow.parquet
import torch
from transformers import AutoModelForCausalLM, AutoTokenizer, set_seed

import rnnzoo  # noqa: F401  registers the families
from recipes.music import TASK
from recipes.tunes.files import missing, write
from recipes.tunes.measure import measured
from recipes.tunes.repairing import ATTEMPTS, repaired
from recipes.zoo import results
from rnnzoo.data.abc_notation import as_abc, as_text, prompt
from rnnzoo.data.corpus import Corpus
from rnnzoo.data.errors import RecipeError
from rnnzoo.training import command_line
from rnnzoo.training.provenance import device_name, git_commit, versions


BATCH, LONGEST = 100, 1500  # tunes at a time; characters, of which the longest tune of Nottingham has 1,292
SHOWN = 2  # tunes in results.json, for the card


def sample(folder: str, prompts: list[str], seed: int) -> tuple[list[str], list[int]]:
    """A tune that continues each prompt, drawn at temperature 1 from all characters, and which have no end.

    A tune of more than `LONGEST` characters is returned without its end.
    """
    model, tokenizer = AutoModelForCausalLM.from_pretrained(folder), AutoTokenizer.from_pretrained(folder)
    set_seed(seed)
    rows = []
    for start in range(0, len(prompts), BATCH):
        batch = tokenizer(prompts[start : start + BATCH], return_tensors="pt", padding=True)
        rows += model.generate(**batch, do_sample=True, temperature=1.0, top_k=0, max_new_tokens=LONGEST).tolist()
    texts = tokenizer.batch_decode(rows, skip_special_tokens=True)
    return texts, [number for number, row in enumerate(rows) if tokenizer.eos_token_id not in row]


def corpus_of(folder: Path, *, in_other_keys: bool = False) -> Corpus:
    """The tunes that a model was trained on, with copies in other keys if it had some, and those that were held out.

    Raises:
        RecipeError: the folder has no results of recipes.music.
    """
    run = results(folder)
    if run["task"] != TASK.name:
        raise RecipeError(f"{folder} was trained by recipes.{run['task']}, not by recipes.{TASK.name}.")
    config = run["config"]
    more = {"transpositions": config.get("transpositions", 0)} if in_other_keys else {}
    return TASK.load(config["dataset"], seed=config["seed"], validation_fraction=config["validation_fraction"], **more)


def write_faultless(texts: list[str], file: Path) -> None:
    """Writes tunes without a fault to a table.

    They are for "rejection sampling fine-tuning" (Yuan et al. 2023, https://arxiv.org/abs/2308.01825): a model is
    trained further on what it generated and what passed a check.

    Raises:
        RecipeError: there are none.
    """
    if not texts:
        raise RecipeError("None of the tunes is without a fault: sample more, or train for longer.")
    books = [text.partition("\n")[0] for text in texts]
    file.parent.mkdir(parents=True, exist_ok=True)
    pyarrow.parquet.write_table(pyarrow.table({"book": books, "text": list(map(as_abc, texts))}), file)


def measure(texts: list[str], unfinished: list[int], corpus: Corpus, seed: int) -> dict[str, Any]:
    """What results.json says of sampled tunes, with the same of those that people wrote and test holds."""
    train, test = (corpus.splits[split]["text"][:] for split in ("train", "test"))
    return {
        "seed": seed,
        "sampled": measured(texts, train, unfinished),
        "test": measured(test, train),
        "shown": texts[:SHOWN],
        "device": device_name(torch.device("cpu")),
        "versions": versions("music21"),
        "git_commit": git_commit(),
    }


def add(file: Path, found: dict[str, Any]) -> None:
    """Writes what was measured into a run's results."""
    run = json.loads(file.read_text(encoding="utf-8"))
    unfinished = file.with_name(f"{file.name}.new")
    unfinished.write_text(json.dumps(run | {"tunes": found}, indent=2) + "\n", encoding="utf-8")
    unfinished.replace(file)


def main(arguments: list[str]) -> None:
    """Samples, writes files, and measures if asked.

    Raises:
        RecipeError: the options do not fit each other, or the folder's data or results are not there.
    """
    parser = argparse.ArgumentParser(prog="recipes.tunes", description="Writes tunes with a model of recipes.music.")
    parser.add_argument("model", help="a folder that recipes.music has written, or a repository on the Hub")
    parser.add_argument("--number", type=int, default=3, help="of tunes (default: 3)")
    parser.add_argument("--seed", type=int, default=0, help="of tunes and labels that are drawn (default: 0)")
    parser.add_argument("--book", help="what kind of tune, a book of the training data such as jigs or waltzes")
    parser.add_argument("--metre", help="such as 6/8")
    parser.add_argument("--key", help="such as G or Em")
    parser.add_argument("--output_dir", type=Path, default=Path("runs/tunes"), help="default: runs/tunes")
    parser.add_argument(
        "--measure",
        action="store_true",
        help="count the tunes whose bars add up, and what is copied from train; needs the data and rnnzoo[music]",
    )
    parser.add_argument(
        "--faultless",
        type=Path,
        help="write tunes without a fault to this .parquet file, to train on (recipes.music --unlabelled); a tune "
        "with a fault is written again from the bars before it on, a few times, and then left out",
    )
    options = parser.parse_args(arguments)
    label, file = (options.book, options.metre, options.key), Path(options.model, "results.json")
    if options.number < 1:
        raise RecipeError(f"--number is {options.number}: it must be at least 1.")
    if any(label) and not all(label):
        raise RecipeError("A label is --book, --metre and --key together: give all of them, or none to draw labels.")
    if options.measure and (any(label) or not file.is_file()):
        raise RecipeError(
            "--measure is for labels drawn from the training tunes, and adds to a results.json: leave --book, --metre "
            "and --key out, and name a folder that recipes.music has written."
        )
    if options.faultless and (options.measure or any(label) or options.faultless.suffix != ".parquet"):
        raise RecipeError(
            "--faultless is for labels drawn from the training tunes, and names a .parquet file: leave --book, "
            "--metre, --key and --measure out."
        )
    if (options.measure or options.faultless) and find_spec("music21") is None:
        raise RecipeError(
            "--measure and --faultless need music21, which is not installed: pip install 'rnnzoo[music]'."
        )
    if all(label):
        try:
            text = as_text(options.book, f"M:{options.metre}\nK:{options.key}\nz")
        except ValueError as error:
            raise RecipeError(f"The label {error}.") from error
        prompts = [prompt(text)] * options.number
    else:
        corpus = corpus_of(Path(options.model), in_other_keys=bool(options.faultless))
        drawn = random.Random(options.seed).choices(corpus.splits["train"]["text"][:], k=options.number)
        prompts = list(map(prompt, drawn))
    if options.faultless:
        seed = options.seed * ATTEMPTS
        found = repaired(lambda begun, attempt: sample(options.model, begun, seed + attempt), prompts)
        write_faultless(found, options.faultless)
        print(f"{len(found)} of {len(prompts)} tunes written to {options.faultless}")
        return
    texts, unfinished = sample(options.model, prompts, options.seed)
    options.output_dir.mkdir(parents=True, exist_ok=True)
    for number, text in enumerate(texts, start=1):
        write(text, options.output_dir / f"{number:03d}.abc", number, draw=not options.measure)
    print(f"{len(texts)} tunes written to {options.output_dir}. {'' if options.measure else missing()}".rstrip())
    if options.measure:
        found = measure(texts, unfinished, corpus_of(Path(options.model), in_other_keys=True), options.seed)
        add(file, found)
        for name in ("sampled", "test"):
            print(f"{name}: {found[name]}")
        print(f"written to {file}")


if __name__ == "__main__":
    command_line.main(lambda: main(sys.argv[1:]))
