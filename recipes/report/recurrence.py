"""Does recurrence pay: models beside the same without their recurrent layers, by a paired test on the test split."""

from statistics import mean

from recipes.report.mcnemar import Discordant
from recipes.report.runs import RECURRENT, Model, setting


# Fields of the configuration that mean nothing without recurrent layers; `pooling: concat` is refused there.
LAYERS = ("num_hidden_layers", "hidden_size", "bidirectional", "hidden_dropout", "recurrent_dropout", "pooling")


def twins(found: list[Model]) -> list[tuple[Model, Model]]:
    """Each recurrent network with the model of the same settings and no recurrent layers, where there is one."""
    bare = [model for model in found if model.fields.get("num_hidden_layers") == 0]
    return [(ours, other) for ours in found if ours.kind == RECURRENT for other in bare if _same(ours, other)]


def _same(ours: Model, other: Model) -> bool:
    """Whether two models differ in their recurrent layers alone: runs of one seed, whose vocabulary is the same."""
    pairs = paired(ours, other)
    if not pairs:
        return False
    a, b = map(_without_layers, pairs[0])
    return all(a[key] == b[key] for key in a.keys() & b.keys())


def _without_layers(run: dict) -> dict:
    """All that decides what a run learned, but for the layers: a checkpoint it started from has them or not."""
    fields = run.get("model_config") or run["config"]["model"]
    ours = {key: value for key, value in setting(run).items() if key not in ("model", "model_name_or_path")}
    ours |= {f"model.{key}": value for key, value in fields.items() if key not in (*LAYERS, "transformers_version")}
    dataset, before = run["dataset"], run.get("started_from")
    return ours | {
        "started_from": before and _pretraining(before["config"]),
        "task": run["task"],
        "model_type": run["model_type"],
        "splits": dataset["splits"],
        "validation": dataset.get("validation"),
    }


def _pretraining(config: dict) -> dict:
    """What decided a checkpoint that a run started from, but for the layers."""
    left_out = ("output_dir", "model", "num_threads", *(name for name in config if name.startswith("checkpointing")))
    fields = {f"model.{key}": value for key, value in config.get("model", {}).items() if key not in LAYERS}
    return {key: value for key, value in config.items() if key not in left_out} | fields


def paired(ours: Model, other: Model) -> list[tuple[dict, dict]]:
    """The runs of two models, by seed, that say which test examples they were right on."""
    theirs = {run["seed"]: run for run in other.runs if run.get("test_correct")}
    return [(run, theirs[run["seed"]]) for run in ours.runs if run.get("test_correct") and run["seed"] in theirs]


def recurrence(found: list[Model]) -> str:
    """What recurrent layers bring, a line for each pair; empty where there is none."""
    pairs = twins(found)
    if not pairs:
        return ""
    return (
        "\n### Does recurrence pay?\n\n"
        f"Test {found[0].task.metric} of a model, and of the same without its recurrent layers, trained the same way. "
        "Discordant answers are those to test examples on which only one of the two is right; p is that of McNemar's "
        "test, exact and two-sided. Over several seeds the counts are summed as if each seed had test examples of its "
        "own: that p is too small, those seed by seed are not.\n\n" + "".join(f"- {_line(*pair)}\n" for pair in pairs)
    )


def _line(ours: Model, other: Model) -> str:
    runs, metric = paired(ours, other), ours.task.metric
    a, b = (mean(run["metrics"]["test"][metric] for run in side) for side in zip(*runs, strict=True))
    counts = [Discordant.of(*pair) for pair in runs]
    total = Discordant(*map(sum, zip(*counts, strict=True)))
    seeds, each = "one seed", ""
    if len(runs) > 1:
        seeds = f"{len(runs)} seeds"
        each = "; seed by seed, " + ", ".join(f"{count.first:,} to {count.second:,}, {_p(count)}" for count in counts)
    return (
        f"{ours.name} {a:.4f} against {b:.4f} without its recurrent layers ({other.name}), {seeds}: {total.first:,} "
        f"against {total.second:,} of the discordant answers, {_p(total)}{each}."
    )


def _p(counts: Discordant) -> str:
    """Two digits; what is smaller than rounding errors is as good as zero."""
    return f"p = {counts.p:.2g}" if counts.p >= 1e-15 else "p < 1e-15"
