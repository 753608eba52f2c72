"""The pictures of one data set's runs: score against latency and size, learning curves."""

import hashlib
import json
from collections.abc import Callable
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Any

from recipes.report.labels import lines
from recipes.report.runs import BAG, RECURRENT, TRANSFORMERS, Model, complete, models


CLOSE = 8  # the distance of a name from its point, in points, unless there is no room

PICTURES = {
    "latency": "against milliseconds per {unit}",
    "size": "against megabytes",
    "curves": "on validation against seconds of training",
}


def drawn(found: list[Model]) -> dict[str, str]:
    """The pictures of these models, with their titles; what a text costs is no question to those that write texts."""
    write = any(run["kind"] == "text-generation" for model in found for run in model.runs)
    return {name: title for name, title in PICTURES.items() if not (write and name == "latency")}


def digest(results: list[dict]) -> str:
    """A digest by which a picture tells which results it shows."""
    return hashlib.sha256(json.dumps(results, sort_keys=True).encode()).hexdigest()


def draw(results: list[dict], folder: Path, prefix: str) -> None:
    """Writes the pictures of one data set's runs."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    def save(name: str, figure) -> None:
        metadata = {"Software": "recipes.report", "Description": digest(results)}
        figure.savefig(folder / f"{prefix}-{name}.png", dpi=100, metadata=metadata)
        plt.close(figure)

    dataset = results[0]["dataset"]["name"]
    if found := models(complete(results)):
        draw_models(found, dataset, save)
    if curves := lines(results):
        draw_labels(curves, dataset, save)


def draw_models(found: list[Model], dataset: str, save: Callable[[str, Any], None]) -> None:
    """Score against latency and size, a point for each model; learning curves."""
    import matplotlib.pyplot as plt

    metric, unit = found[0].task.metric, found[0].task.unit
    colours = {RECURRENT: "tab:blue", BAG: "tab:orange", TRANSFORMERS: "tab:red"}
    for name, label, place in (
        ("latency", f"milliseconds per {unit}, median, one at a time", lambda model: model.latency("milliseconds")),
        ("size", "megabytes in fp32", lambda model: model.megabytes),
    ):
        if name not in drawn(found):
            continue
        figure, axes = plt.subplots(figsize=(10, 7), layout="constrained")
        shown = [(place(model), mean(model.scores), model) for model in found if place(model) is not None]
        for x, y, model in shown:
            spread = [[y - min(model.scores)], [max(model.scores) - y]]
            axes.errorbar(x, y, yerr=spread, fmt="o", capsize=3, color=colours[model.kind])
        for kind, colour in colours.items():
            if any(model.kind == kind for model in found):
                axes.plot([], [], "o", color=colour, label=kind)
        axes.legend(loc="lower right")
        title = f"{dataset}: {metric} {PICTURES[name].format(unit=unit)}"
        axes.set(xscale="log", xlabel=label, ylabel=f"test {metric}", title=title)
        axes.xaxis.set_major_formatter("{x:g}")
        axes.xaxis.set_minor_formatter("{x:g}")
        axes.margins(x=0.1)
        axes.grid(alpha=0.3)
        write_names(axes, [(x, y, model.name) for x, y, model in shown])
        save(name, figure)

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for model in found:
        run = model.runs[0]
        if run["model_type"] == "tfidf":
            continue  # it has no epochs
        points = [(record["train_seconds"], record["validation"][metric]) for record in run["history"]]
        style = {RECURRENT: "-", BAG: ":", TRANSFORMERS: "--"}[model.kind]
        axes.plot(*zip(*points, strict=True), style, marker=".", label=f"{model.name} (seed {run['seed']})")
    axes.set(
        xscale="log",
        xlabel="seconds of training",
        ylabel=f"validation {metric}",
        title=f"{dataset}: {metric} {PICTURES['curves']}",
    )
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)
    save("curves", figure)


def draw_labels(curves: dict[str, dict[int, Model]], dataset: str, save: Callable[[str, Any], None]) -> None:
    """Score against the number of labels, a line for each configuration: mean over the seeds, and their range."""
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for name, line in curves.items():
        means = [mean(model.scores) for model in line.values()]
        below = [y - min(model.scores) for y, model in zip(means, line.values(), strict=True)]
        above = [max(model.scores) - y for y, model in zip(means, line.values(), strict=True)]
        style = {RECURRENT: "-", BAG: ":", TRANSFORMERS: "--"}[next(iter(line.values())).kind]
        axes.errorbar(list(line), means, yerr=[below, above], fmt=style, marker="o", capsize=3, label=name)
    metric = next(iter(line.values())).task.metric
    numbers = sorted({number for line in curves.values() for number in line})
    axes.set(xscale="log", xlabel="labelled training examples", ylabel=f"test {metric}")
    axes.set_title(f"{dataset}: {metric} against the number of labels")
    axes.set_xticks(numbers, [f"{number:,}" for number in numbers])
    axes.set_xticks([], minor=True)
    axes.legend(loc="lower right")
    axes.grid(alpha=0.3)
    save("labels", figure)


def write_names(axes, points: list[tuple[float, float, str]]) -> None:
    """Writes a name near each point, where it covers neither a point nor another name; a line leads to a far one."""
    from matplotlib.text import Text
    from matplotlib.transforms import Bbox

    axes.figure.canvas.draw()
    centres = axes.transData.transform([(x, y) for x, y, _ in points])
    taken = [Bbox.from_extents(x - 5, y - 5, x + 5, y + 5) for x, y in centres]
    taken.append(axes.get_legend().get_window_extent())
    inside = axes.get_window_extent()
    # Right, left, above, below, then aslant: where the name goes from the point, and which side of it is nearest.
    sides = [(1, 0), (-1, 0), (0, 1), (0, -1), (1, 1), (1, -1), (-1, 1), (-1, -1)]
    aligned = {1: ("left", "bottom"), 0: ("center", "center"), -1: ("right", "top")}

    def write(point, distance, side):
        (x, y, name), (right, up) = point, side
        line = {"arrowstyle": "-", "color": "gray", "linewidth": 0.5, "shrinkA": 0, "shrinkB": 3}
        return axes.annotate(
            name,
            (x, y),
            (distance * right, distance * up),
            textcoords="offset points",
            fontsize=8,
            ha=aligned[right][0],
            va=aligned[up][1],
            arrowprops=line if distance > CLOSE else None,
        )

    def extent(text):
        text.get_window_extent()  # places it; the line is part of this extent
        return Text.get_window_extent(text)

    def free(box):
        within = inside.x0 <= box.x0 and box.x1 <= inside.x1 and inside.y0 <= box.y0 and box.y1 <= inside.y1
        return within and not any(box.overlaps(other) for other in taken)

    for point in points:
        for distance, side in product((CLOSE, *range(16, 161, 12)), sides):
            text = write(point, distance, side)
            if free(extent(text)):
                break
            text.remove()
        else:  # there is no room anywhere
            text = write(point, CLOSE, sides[0])
        taken.append(extent(text))
