"""What each part of a model's training brings: runs that evaluated validation only, beside the run named `base`."""

from collections.abc import Iterable
from statistics import mean
from typing import Any

from recipes.report.columns import BY_WORDS, markdown, mean_and_range, validated
from recipes.report.runs import Model, by_data, by_name, margin, setting, validation_only


BASE = "base"

# What a run may have had from another run.
BEFORE = ("started_from", "context_model")

# What the name of a run ends in that leaves out all parts that its model was given for unseen names.
PLAIN = "-plain"

# And of one that reads the states of a character language model, and differs in nothing else.
CONTEXT = "-context"

_RATES = "words/s: on the CPU, 32 sentences at a time."


def parts(results: list[dict]) -> str:
    """A table for each data set; empty where no run evaluated validation only."""
    return "\n".join(map(table, by_data(validation_only(results))))


def table(results: list[dict]) -> str:
    """One model per row, the base first, then the best first; runs on the same examples."""
    found = sorted(by_name(results), key=lambda model: (model.name != BASE, model.order(model.validation), model.name))
    base = found[0] if found[0].name == BASE else None
    changes = {model.name: changed(base, model) if base else {} for model in found}
    any_wide = any(run.get("wide") for run in results)
    any_unseen = any(BY_WORDS in run["metrics"]["validation"] for run in results)
    any_tuned = any("outside_score" in run for run in results)
    rows = [
        [
            model.name,
            "; ".join(f"{key} {value}" for key, value in changes[model.name].items()) or "–",
            ", ".join(contained(model.name, changes)) or "–",
            mean_and_range(model.validations),
            *([untuned(model)] if any_tuned else []),
            *([unseen(model)] if any_unseen else []),
            *([wide_alone(model)] if any_wide else []),
            f"{100 * (model.validation - base.validation):+.1f}" if base and model is not base else "–",
            ", ".join(str(run["seed"]) for run in model.runs),
            minutes(model),
        ]
        for model in found
    ]
    task, dataset = found[0].task, found[0].runs[0]["dataset"]
    heading = ["model", f"changed from {BASE}", "with the parts", f"validation {task.metric}, mean (from, to)"]
    heading += [
        *(["f1, O untuned"] if any_tuned else []),
        *(["f1, unseen names"] if any_unseen else []),
        *(["its wide part alone"] if any_wide else []),
        "points",
        "seeds",
        "minutes",
    ]
    known = f" ({dataset['validation']})" if dataset.get("validation") else ""
    explained = " f1, O untuned: before the score of O was tuned." if any_tuned else ""
    explained += " f1, unseen names: of those with a word that train does not have." if any_unseen else ""
    noise = (
        f" One accuracy is known to ±{margin(found[0].validation, dataset['splits']['validation']):.1f} points."
        if task.metric == "accuracy"
        else ""
    )
    return markdown(heading, rows) + (
        f"\nData: {dataset['name']}, {dataset['splits']['train']:,} training examples; validation{known} of "
        f"{dataset['splits']['validation']:,} examples; test was not evaluated.{noise}{explained} with the parts: "
        f"other rows whose changes are among these. points: difference to {BASE}. minutes: of this run's training, "
        "word vectors included, and after the plus those of the checkpoint that it starts from, or of the language "
        "model whose states it reads; not those of teachers.\n"
    )


def beside_plain(results: list[dict], tested: list[dict]) -> str:
    """The models of some tested runs beside their plain ones, on validation; empty where there are none."""
    rows = beside(results, tested, PLAIN)
    if not rows:
        return ""
    heading = ["model", "f1, plain", "f1", "f1, unseen names, plain", "f1, unseen names", "words/s, plain", "words/s"]
    return markdown([*heading, "seeds"], rows) + (
        "\nOn validation. plain: one run, with the seed 0, without the parts that were added for unseen names. The "
        f"other scores are means over the seeds. {_RATES}\n"
    )


def beside_context(results: list[dict], tested: list[dict]) -> str:
    """The models of some tested runs beside those with a character language model; empty where there are none."""
    rows = beside(results, tested, CONTEXT)
    if not rows:
        return ""
    heading = ["model", "f1, with context", "f1", "f1, unseen names, with context", "f1, unseen names"]
    return markdown([*heading, "words/s, with context", "words/s", "seeds"], rows) + (
        "\nOn validation. with context: one run, with the seed 0, that differs in reading the states of a character "
        f"language model. The other scores are means over the seeds. {_RATES}\n"
    )


def beside(results: list[dict], tested: list[dict], suffix: str) -> list[list[str]]:
    """For each run on validation alone whose name ends so, its scores and those of the tested model of that name."""
    full = {model.name: model for group in by_data(tested) for model in by_name(group)}
    return [
        [
            name,
            *(each for get in (validated, unseen, words_per_second) for each in (get(model), get(full[name]))),
            ", ".join(str(run["seed"]) for run in full[name].runs),
        ]
        for group in by_data(validation_only(results))
        for model in by_name(group)
        if (name := model.name.removesuffix(suffix)) != model.name and name in full
    ]


def words_per_second(model: Model) -> str:
    """That its pipeline tags, where it was measured."""
    found = model.latency("words_per_second")
    return "–" if found is None else f"{found:,.0f}"


def unseen(model: Model) -> str:
    """The score of its runs on names with a word that train does not have, on average."""
    found = [run["metrics"]["validation"].get(BY_WORDS) for run in model.runs]
    return f"{mean(scores['unseen']['f1'] for scores in found):.4f}" if all(found) else "–"


def untuned(model: Model) -> str:
    """The score of its runs on validation before the score of O was tuned there, on average; none where it was not."""
    if not all("outside_score" in run for run in model.runs):
        return "–"
    best = [run["history"][run["best_epoch"] - 1]["validation"] for run in model.runs]
    return f"{mean(scores[model.task.selects] for scores in best):.4f}"


def wide_alone(model: Model) -> str:
    """What the wide parts of its runs achieve without the networks beside them, on average."""
    found = [run["wide"]["validation"] for run in model.runs if run.get("wide")]
    return f"{mean(found):.4f}" if found else "–"


def minutes(model: Model) -> str:
    """Of training, and of that of the checkpoints that its runs started from, or whose states they read."""
    before = [found["train_seconds"] for run in model.runs for name in BEFORE if (found := run.get(name))]
    own = mean(run["train_seconds"] for run in model.runs)
    return f"{own / 60:.0f}" + (f" + {mean(before) / 60:.0f}" if before else "")


def changed(base: Model, model: Model) -> dict[str, str]:
    """The options in which a model differs from the base, `model.hidden_size` and the like one by one.

    An option that only one of them knows was off in the other, but a field of the model that only one of them was
    given had its default in the other. The task counts as an option. The fields of a model that starts from a
    checkpoint are those of the checkpoint.
    """
    a, b = _flat(base.runs[0]), _flat(model.runs[0])
    b = _brought(model.runs[0], a) | b
    differing = [key for key in (*b, *(key for key in a if key not in b)) if a.get(key) != b.get(key)]
    return {key: _shown(b.get(key)) for key in differing if a.get(key) or b.get(key) or "." in key}


def contained(name: str, changes: dict[str, dict[str, str]]) -> list[str]:
    """The other models whose changes are among those of this one; the precision of the arithmetic is no part."""
    what = {
        other: {key: value for key, value in theirs.items() if key != "mixed_precision"}
        for other, theirs in changes.items()
    }
    return [other for other, theirs in what.items() if theirs and theirs.items() < what[name].items()]


def _brought(run: dict, keys: Iterable[str]) -> dict[str, Any]:
    """The values of these fields that a checkpoint brought along, if a run started from one."""
    if not run["config"].get("model_name_or_path"):
        return {}
    config = run["model_config"]
    return {key: config[name] for key in keys if (name := key.partition(".")[2]) in config}


def _flat(run: dict) -> dict[str, Any]:
    found = {"task": run["task"]}
    for key, value in setting(run).items():
        found |= {f"{key}.{part}": each for part, each in value.items()} if isinstance(value, dict) else {key: value}
    return found


def _shown(value: Any) -> str:
    """A value for people."""
    if value is None or value is False or value == []:
        return "no"
    return "yes" if value is True else " and ".join(map(str, value)) if isinstance(value, list) else str(value)
