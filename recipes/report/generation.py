"""What a generated token costs: the table and the picture of recipes/benchmarks/generation.py."""

from pathlib import Path

from recipes.report.columns import markdown
from recipes.report.pictures import digest


SHOWN = ("10", "1000", "10000", "100000")


def generation(result: dict) -> str:
    """The table: milliseconds by position, and the memory that the last position takes beyond the first."""
    rows = []
    for row in result["rows"]:
        times, memory = row["milliseconds"], row["megabytes"]
        first, last = min(times, key=int), max(times, key=int)
        rows.append(
            [
                f"{row['model']}, {row['way']}",
                f"{row['parameters']:,}",
                *(f"{times[position]:.2f}" if position in times else "–" for position in SHOWN),
                f"{times[last] / times[first]:.1f}",
                f"{memory[last]:.1f}",
                f"{row['tokens']:,}",
            ]
        )
    heading = ["", "parameters", *(f"ms at {int(p):,}" for p in SHOWN), "last / first", "MB more", "tokens"]
    sizes = ", ".join(f"{name} {size}" for name, size in result["sizes"].items())
    positions = ", ".join(f"{position:,}" for position in result["positions"])
    return markdown(heading, rows) + (
        f"\nLast / first, and MB more: at the last of the positions {positions} that was reached, beside the first. "
        f"All but what carries its state was stopped after {result['seconds']:g} seconds. Of the families: {sizes}.\n"
        f"Hardware: {result['device']}, {result['num_threads']} thread.\n\n"
        "![milliseconds and memory of a token against its position](pictures/generation.png)\n"
    )


def draw_generation(result: dict, folder: Path) -> None:
    """The picture: time and memory against the position, a line for each contender."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, (time, memory) = plt.subplots(1, 2, figsize=(12, 5.5), layout="constrained")
    colours = {name: f"C{i}" for i, name in enumerate(dict.fromkeys(row["model"] for row in result["rows"]))}
    styles = dict(zip(dict.fromkeys(row["way"] for row in result["rows"]), ("-", "--", ":", "-."), strict=False))
    for row in result["rows"]:
        style = {"color": colours[row["model"]], "linestyle": styles[row["way"]], "marker": "."}
        for axes, values in ((time, row["milliseconds"]), (memory, row["megabytes"])):
            axes.plot(list(map(int, values)), list(values.values()), label=f"{row['model']}, {row['way']}", **style)
    time.set(xscale="log", yscale="log", xlabel="position of the token", ylabel="milliseconds a token")
    memory.set(xscale="log", yscale="symlog", xlabel="position of the token", ylabel="megabytes, beyond the first")
    time.legend(fontsize=8)
    for axes in (time, memory):
        axes.grid(alpha=0.3)
    metadata = {"Software": "recipes.report", "Description": digest([result])}
    figure.savefig(folder / "generation.png", dpi=100, metadata=metadata)
    plt.close(figure)
