"""The `rnnzoo` command: train, predict, list and card, thin over the package; only train and card need [train]."""

import argparse
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any


def main(argv: list[str] | None = None) -> None:
    """Runs the command with the arguments of the command line."""
    argv = sys.argv[1:] if argv is None else argv
    if argv[:1] == ["train"]:
        return train(argv[1:])  # its options are those of the recipes, with their own parser
    options = _parser().parse_args(argv)
    return options.run(options)


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="rnnzoo", description="Small recurrent networks for text.")
    commands = parser.add_subparsers(required=True, metavar="COMMAND")
    commands.add_parser("train", help="train a classifier or a tagger on a labelled table", add_help=False)

    one = commands.add_parser("predict", help="ask a trained model")
    one.add_argument("folder", metavar="FOLDER", help="a folder that a run wrote, or an id on the Hub")
    one.add_argument("texts", metavar="TEXT", nargs="*", help="texts to answer (default: lines of --file or stdin)")
    one.add_argument(
        "--file",
        type=Path,
        help="a file of UTF-8 with one text per line; all of it is one text for a tagger that was trained on several "
        "sentences per text",
    )
    one.add_argument("--json", action="store_true", help="print the answers of pipeline() as one JSON list per text")
    one.set_defaults(run=predict)

    one = commands.add_parser("list", help="the checkpoints of the zoo")
    one.add_argument("pattern", nargs="?", default="*", help="a pattern as of a shell, such as '*imdb*'")
    one.set_defaults(run=list_checkpoints)

    one = commands.add_parser("card", help="print the model card of a folder that a run wrote")
    one.add_argument("folder", metavar="FOLDER", type=Path)
    one.set_defaults(run=card)
    return parser


def train(argv: list[str]) -> None:
    """Trains on a labelled table: `rnnzoo train --dataset D --output_dir OUT [any option of the recipes]`."""
    from rnnzoo.tasks.choose import choose
    from rnnzoo.training import command_line
    from rnnzoo.training.run import run

    def program() -> None:
        task, rest = choose(argv)
        run(task, rest, usual=True)

    command_line.main(program)


def predict(options: argparse.Namespace) -> None:
    """Prints the answers to some texts; what a language model writes, token by token."""
    from transformers import TextStreamer, pipeline
    from transformers.utils import logging

    import rnnzoo  # noqa: F401  registers the families

    logging.disable_progress_bar()
    name, call = _pipeline_of(options.folder)
    ask = pipeline(name, model=options.folder)
    document = getattr(ask.model.config, "sentence_token_id", None) is not None
    for text in ["\n".join(_texts(options))] if document and not options.texts else _texts(options):
        if name == "text-generation" and not options.json:
            print(text, end="", flush=True)
            ask(text, streamer=TextStreamer(ask.tokenizer, skip_prompt=True, skip_special_tokens=True), **call)
            continue
        answer = ask(text, **call)
        print(json.dumps(answer, default=float, ensure_ascii=False) if options.json else _lines(text, answer))


def _pipeline_of(folder: str) -> tuple[str, dict[str, Any]]:
    """The pipeline that serves a folder's model, and how it is called: as results.json says, else by the class."""
    path = Path(folder, "results.json")
    if path.is_file():
        results = json.loads(path.read_text(encoding="utf-8"))
        if description := results.get("description"):
            longest = results["config"]["max_length"] if description["truncate_in_call"] else None
            truncation = {"truncation": True, "max_length": longest} if longest else {}
            return description["pipeline"], description["pipeline_options"] | truncation
    from transformers import AutoConfig

    saved = " ".join(AutoConfig.from_pretrained(folder).architectures or ())
    if "TokenClassification" in saved:
        return "token-classification", {"aggregation_strategy": "simple"}
    if "CausalLM" in saved:
        return "text-generation", {"do_sample": True, "max_new_tokens": 60}
    return "text-classification", {}


def _texts(options: argparse.Namespace) -> Iterator[str]:
    """The texts of the command line, or else the lines of the file or of the standard input."""
    if options.texts and options.file:
        sys.exit("error: give texts or --file, not both.")
    if options.texts:
        yield from options.texts
        return
    try:
        with options.file.open(encoding="utf-8-sig") if options.file else sys.stdin as lines:
            for line in lines:
                yield line.rstrip("\r\n")
    except (OSError, UnicodeDecodeError) as error:
        sys.exit(f"error: {options.file} cannot be read as UTF-8 text ({error}).")


def _lines(text: str, answer: list[dict[str, Any]]) -> str:
    """An answer for people: label, score and text; for a tagger a line for each entity."""
    rows = []
    for part in answer if isinstance(answer, list) else [answer]:
        label = part.get("entity_group") or part.get("entity") or part.get("label")
        found = text[part["start"] : part["end"]] if "start" in part else text
        rows.append(f"{label}\t{part['score']:.4f}\t{found}")
    return "\n".join(rows) or f"-\t\t{text}"


def list_checkpoints(options: argparse.Namespace) -> None:
    """Prints a line for each checkpoint of the zoo."""
    import rnnzoo

    for found in rnnzoo.list_models(options.pattern):
        scores = ", ".join(f"{name} {value:.4f}" for name, value in found.metrics.items())
        print(f"{found.name}\t{found.task}\t{found.dataset}\t{scores}\t{found.megabytes} MB\t{found.path}")


def card(options: argparse.Namespace) -> None:
    """Prints the card that follows from a folder's results.json."""
    path = options.folder / "results.json"
    if not path.is_file():
        sys.exit(f"error: {options.folder} has no results.json: give a folder that a run has written.")
    results = json.loads(path.read_text(encoding="utf-8"))
    if "test" not in results["metrics"]:
        sys.exit(f"error: {options.folder} has no test scores (validation_only): there is no card of it.")
    from rnnzoo.training.card import card as text_of

    print(text_of(results))


if __name__ == "__main__":
    main()
