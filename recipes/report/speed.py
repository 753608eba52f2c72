"""The tables of the benchmarks."""

from recipes.report.columns import markdown


def speed(result: dict) -> str:
    """The table of recipes/benchmarks/engine.py."""
    rows = [
        [
            row["words"],
            f"{row['family']} {row['kind']}",
            f"{row['packed']:.0f}",
            f"{row['engine']:.0f}",
            f"{row['ratio']:.1f}",
        ]
        for row in result["rows"]
    ]
    latency = ", ".join(f"{name} {value:.1f}" for name, value in result["latency"].items())
    return markdown(["words per row", "", "packed, ms", "engine, ms", "packed / engine"], rows) + (
        f"\nOne text of 100 words through a classifier of the book's size, on one thread, milliseconds: {latency}.\n"
        f"Hardware: {result['device']}, {result['num_threads']} threads for the table.\n"
    )


def crf_speed(result: dict) -> str:
    """The table of recipes/benchmarks/crf.py."""
    rows = [
        [
            row["words"],
            row["kind"],
            str(row["in a row"]),
            f"{row['pytorch-crf']:.1f}",
            f"{row['rnnzoo']:.1f}",
            f"{row['ratio']:.1f}",
        ]
        for row in result["rows"]
    ]
    heading = ["words per row", "", "calls in a row", "pytorch-crf, ms", "rnnzoo, ms", "pytorch-crf / rnnzoo"]
    sentence = result["sentence"]
    return markdown(heading, rows) + (
        f"\n{result['batch']['rows']} rows, {result['batch']['tags']} tags. One sentence of {sentence['words']} "
        f"words, milliseconds: BiLSTM of size {sentence['sizes']} {sentence['BiLSTM']:.2f}, best path "
        f"{sentence['best path']:.2f}, marginals {sentence['marginals']:.2f}. "
        f"Hardware: {result['device']}, {result['num_threads']} CPU threads.\n"
    )


def softmax_speed(result: dict) -> str:
    """The table of recipes/benchmarks/softmax.py."""
    rows = [
        [
            f"{row['vocabulary']:,}",
            *(f"{row[name]:.0f}" for name in ("complete", "sampled", "adaptive")),
            f"{row['complete'] / row['sampled']:.1f}",
        ]
        for row in result["rows"]
    ]
    heading = ["words", "complete, ms", "sampled, ms", "adaptive (torch), ms", "complete / sampled"]
    batch = result["batch"]
    return markdown(heading, rows) + (
        f"\nA step, forward and backward, of an LSTM of {batch['hidden_size']} units on {batch['rows']} rows of "
        f"{batch['tokens']} words.\nHardware: {result['device']}, {result['num_threads']} thread.\n"
    )
