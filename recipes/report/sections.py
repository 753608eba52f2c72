"""What is said of the runs on one data set: verdict, table, legend, what was not run, what others published."""

import json
from collections import defaultdict
from pathlib import Path
from statistics import mean

from recipes.report.columns import by_type, by_words, columns, grid, legend, markdown
from recipes.report.labels import labels
from recipes.report.parts import parts
from recipes.report.pictures import drawn
from recipes.report.recurrence import recurrence
from recipes.report.runs import (
    BAG,
    RECURRENT,
    Model,
    best_by_kind,
    compared,
    complete,
    margin,
    models,
    usual_data,
)
from recipes.report.tunes import tunes


# What recorded validation splits are, see catalog.json.
VALIDATION = {"films": "film-disjoint: reviews of films that training reviews are not about"}
CATALOG = Path(__file__).parents[2] / "rnnzoo" / "data" / "catalog.json"


def verdict(found: list[Model]) -> str:
    """Whether recurrence pays: the network that is best on validation beside the best of the other kinds."""
    best = best_by_kind(found)
    if RECURRENT not in best or len(best) == 1:
        return ""

    def named(model: Model) -> str:
        seeds = f"{len(model.runs)} seeds" if len(model.runs) > 1 else "one seed"
        return f"{model.name} ({mean(model.scores):.4f}, {seeds})"

    ours, lines = best.pop(RECURRENT), []
    noise, known = 0.05, ""  # nothing that the figures would show
    if ours.task.metric == "accuracy":
        rows = ours.runs[0]["dataset"]["splits"]["test"]
        noise = margin(mean(ours.scores), rows)
        known = (
            f" With {rows:,} test examples one accuracy is known to ±{noise:.1f} points, apart from the variation "
            "over seeds."
        )
    for kind, other in best.items():
        gap = 100 * (mean(ours.scores) - mean(other.scores))
        where = "level with" if abs(gap) < noise else f"{abs(gap):.1f} points {'above' if gap > 0 else 'below'}"
        lines.append(f"{where} {named(other)}, the best of its kind ({kind})")
        if other.checkpoint:
            known += f" {other.name} is {other.checkpoint}."
    return (
        f"On test, the recurrent network that is best on validation, {named(ours)}, is {' and '.join(lines)}.{known}"
        "\n\n"
    )


def table(found: list[Model]) -> str:
    """One model per row, and under it what the runs were made with."""
    runs, dataset = [run for model in found for run in model.runs], usual_data(found)
    splits = ", ".join(f"{name} {size:,}" for name, size in dataset["splits"].items())
    trained = defaultdict(set)
    for model in found:
        for run in model.runs:
            trained[run["device"]].add(model.name)
    where = [
        f"{device} ({', '.join(sorted(names))})" if len(trained) > 1 else device for device, names in trained.items()
    ]
    below = f"\nData: {dataset['name']} ({splits}), from {dataset['source']}. Trained on {' and '.join(where)}."
    below += selected_on(found)
    timed = [run["latency"] for run in runs if "latency" in run]
    if timed:
        places = sorted({f"{times['device']} ({times['num_threads']} threads)" for times in timed})
        sessions = len({times["measured"] for times in timed})
        how = "interleaved" if sessions == 1 else f"in {sessions} sessions, so compare with care"
        below += f" Latency measured on {' and '.join(places)}, {how}."
    return grid(columns(found[0]), found) + below + unread(found) + "\n"


def selected_on(found: list[Model]) -> str:
    """On which recorded validation split models were selected, and which models were not, and so are not compared."""
    name = usual_data(found).get("validation")
    if name is None:
        return ""
    others = [model.name for model in found if model not in compared(found)]
    known = f" ({VALIDATION[name]})" if name in VALIDATION else ""
    left_out = f", but for {', '.join(others)}, which are not compared with the others" if others else ""
    return f" Selected on the recorded validation split {name}{known}{left_out}."


def unread(found: list[Model]) -> str:
    """How many words some models do not read."""
    lines = []
    for name, (run, *_) in found:
        counts = run["dataset"].get("words_unread", {})
        lines += [f"{name} {words:,} of {split}" for split, words in counts.items() if words]
    return f" Words not read, and counted as no entity: {', '.join(lines)}." if lines else ""


def served(found: list[Model]) -> str:
    """How closely pipeline() agrees with what was measured."""
    runs = [run for model in found for run in model.runs if "served" in run]
    if not runs:
        return ""
    fewest = min(run["served"]["rows"] for run in runs)
    gap, name = max((run["served"]["largest_difference"], run["model"]) for run in runs)
    return (
        "\nWhat is measured is what is served: at the end of each run of the loop, pipeline() in a fresh process "
        f"answered {fewest:,} or more of the test texts, one by one and 32 at a time. The largest difference between "
        f"an output and its measured value is {gap:.1e} ({name}).\n"
    )


def checkpoints(found: list[Model]) -> str:
    """What the models that were not trained from scratch started from."""
    lines = []
    for model in found:
        run = model.runs[0]
        config = run["config"]
        path = config.get("model_name_or_path")
        fields = (config.get("model") or {}) | (config.get("tokenizer") or {})  # the latter: how many words it keeps
        if path:
            known = f" ({model.checkpoint})" if model.checkpoint else ""
            changed = f", changed to {', '.join(f'{k} {v}' for k, v in fields.items())}" if fields else ""
            lines.append(
                f"- {model.name}: a `{run['model_type']}` that starts from `{path}`{known}{changed}; epochs: "
                f"{len(run['history'])}, mixed precision: {run['mixed_precision']}.\n"
            )
    return "\n" + "".join(lines) if lines else ""


def published(dataset: dict) -> str:
    """What others have published for the same test split; their training data, lengths and seeds are their own."""
    known = json.loads(CATALOG.read_text(encoding="utf-8")).get(dataset["name"], {}).get("published")
    if not known or known["test_rows"] != dataset["splits"]["test"]:
        return ""
    return "\n" + markdown(known["columns"], known["rows"])


def not_run(found: list[Model], names: list[str]) -> str:
    """Which of some configurations have no result, or one seed only."""
    seeds = {model.name: len(model.runs) for model in found}
    ran = {model.configuration for model in found} | seeds.keys()
    missing = [name for name in names if name not in ran]
    single = [model.name for model in found if len(model.runs) == 1]
    lines = [f"- Not run: {', '.join(missing)}.\n"] if missing else []
    lines += [f"- One seed only, so without a spread: {', '.join(single)}.\n"] if single else []
    return "\nWhat was not run:\n\n" + "".join(lines) if lines else ""


def section(results: list[dict], prefix: str, names: list[str] = ()) -> str:
    """All that is said of the runs on one data set.

    Args:
        prefix: of the names of its pictures.
        names: the configurations that there should be.
    """
    dataset = results[0]["dataset"]
    warning = "**The texts are synthetic, generated by a small grammar.**\n\n" if dataset["name"] == "made" else ""
    found = models(complete(results))
    tested = models([run for run in results if "test" in run["metrics"]])
    return (
        f"{warning}{comparison(found, prefix)}{tunes(results)}{labels(results, prefix)}{parts(results)}"
        f"{not_run(tested, names)}"
    )


def comparison(found: list[Model], prefix: str) -> str:
    """What is said of the models of one table; nothing of none."""
    if not found:
        return ""
    task = found[0].task
    pictures = "".join(
        f"\n![{task.metric} {title.format(unit=task.unit)}](pictures/{prefix}-{name}.png)\n"
        for name, title in drawn(found).items()
    )
    return (
        f"{verdict(found)}{table(found)}{legend(found[0])}{by_type(found)}{by_words(found)}{checkpoints(found)}"
        f"{served(found)}{published(found[0].runs[0]['dataset'])}{pictures}{recurrence(found)}"
    )


def headline(results: list[dict]) -> str:
    """For the README: the best recurrent network, the best of the other kinds, and whether a bag of words wins."""
    found = models(complete(results))
    best = best_by_kind(found)
    ours, bag = best.pop(RECURRENT), best.get(BAG)
    lost = bag and all(mean(bag.scores) > mean(model.scores) for model in found if model.kind == RECURRENT)

    def cost(model: Model) -> str:
        latency, score = model.latency("milliseconds"), mean(model.scores)
        named = f"{model.name}, the best {model.kind} model"
        at = "" if latency is None else f" at {latency:.1f} ms per {model.task.unit}"
        return f"{score:.4f}{at}, {model.megabytes:.1f} MB ({named})"

    said, timed = "; ".join(map(cost, (ours, *best.values()))), ours.runs[0].get("latency")
    where = (
        timed and f"Latency is that of `pipeline()` on raw text, {timed['num_threads']} threads on {timed['device']}"
    )
    sizes = f"{where}; sizes are in fp32." if where else "Sizes are in fp32."
    verdict = f" No recurrent network here is yet better than {bag.name}." if lost else ""
    return f"Test {ours.task.metric} on {ours.runs[0]['dataset']['name']}: {said}.{verdict} {sizes}\n"


def summary(groups: dict[str, list[dict]]) -> str:
    """For the README: the best model of each kind, on each data set."""
    rows = []
    for dataset, results in groups.items():
        best = best_by_kind(models(complete(results))).values()
        for model in sorted(best, key=lambda model: model.order(mean(model.scores))):
            task, latency = model.task, model.latency("milliseconds")
            rate = model.latency(f"{task.rate}_per_second")
            rows.append(
                [
                    dataset,
                    model.name,
                    model.kind,
                    f"{task.metric} {mean(model.scores):.4f}",
                    f"{model.megabytes:.1f}",
                    "–" if latency is None else f"{latency:.1f} per {task.unit}",
                    "–" if rate is None else f"{rate:,.0f} {task.rate}",
                ]
            )
    return markdown(["data", "model", "kind", "test", "MB in fp32", "ms", "per second"], rows)
