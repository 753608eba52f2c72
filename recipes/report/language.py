"""Language models of one data set, compared on validation: perplexity against the hours of training."""

from pathlib import Path

from recipes.report.columns import markdown
from recipes.report.pictures import digest
from recipes.report.runs import by_name, validation_only


def language_models(results: list[dict]) -> list[dict]:
    """The runs of recipes.lm that evaluated validation only."""
    return [run for run in validation_only(results) if run["task"] == "lm"]


def hours(run: dict) -> list[tuple[float, float]]:
    """The hours of training at the end of each epoch, and the perplexity on validation then."""
    return [(record["train_seconds"] / 3600, record["validation"]["perplexity"]) for record in run["history"]]


def language(runs: list[dict]) -> str:
    """The table, a row for each model; "No runs yet." without any."""
    if not runs:
        return "No runs yet.\n"
    epochs = max(len(run["history"]) for run in runs)
    rows = []
    for model in sorted(by_name(runs), key=lambda model: model.validation):
        run = model.runs[0]
        cells = [f"{perplexity:.1f} in {after:.2f} h" for after, perplexity in hours(run)]
        size = f"{model.fields['hidden_size']}"
        rows.append([model.name, size, f"{run['num_parameters']:,}", *cells, *["–"] * (epochs - len(cells))])
    heading = ["model", "units", "parameters", *(f"epoch {number}" for number in range(1, epochs + 1))]
    dataset, devices = runs[0]["dataset"], sorted({run["device"] for run in runs})
    known = f" ({dataset['validation']})" if dataset.get("validation") else ""
    return markdown(heading, rows) + (
        f"\nPerplexity of a word, punctuation and `</s>` included, on the {dataset['splits']['validation']:,} texts "
        f"of validation{known}, after so many hours of training. Test was not evaluated. Trained on "
        f"{' and '.join(devices)}, one thread each.\n\n"
        "![perplexity on validation against hours of training](pictures/language.png)\n"
    )


def draw_language(runs: list[dict], folder: Path) -> None:
    """The picture: perplexity on validation against hours, a line for each model."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(8, 5), layout="constrained")
    for model in by_name(runs):
        axes.plot(*zip(*hours(model.runs[0]), strict=True), marker=".", label=model.name)
    axes.set(xlabel="hours of training, one CPU thread", ylabel="perplexity on validation")
    axes.legend()
    axes.grid(alpha=0.3)
    metadata = {"Software": "recipes.report", "Description": digest(runs)}
    figure.savefig(folder / "language.png", dpi=100, metadata=metadata)
    plt.close(figure)
