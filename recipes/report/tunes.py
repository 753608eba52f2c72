"""What is said of the tunes that models write, measured by recipes.tunes."""

from recipes.report.columns import markdown


def tunes(results: list[dict]) -> str:
    """The table of sampled tunes, with those of test beside them; nothing where none were measured."""
    found = [run for run in results if "tunes" in run]
    if not found:
        return ""
    rows = [_row(run["model"], run["tunes"]["sampled"]) for run in found]
    rows.append(_row("test, by people", found[0]["tunes"]["test"]))
    heading = ["tunes of", "number", "read", "read, and bars add up", *_SHARED]
    return (
        "\n### Tunes that are sampled\n\nDrawn at temperature 1, with labels drawn from the training tunes; none is "
        "left out.\n\n"
        f"{markdown(heading, rows)}"
        "\nread: music21, an independent parser, reads the tune to its last character. Bars add up: played with its "
        "repeats and endings, every bar is as long as the metre says, but for the first and the last one, which may "
        "be shorter; a bar that a repeat sign, a double bar line or a change of key or metre divides counts as one. "
        "Shared bars: the longest run of bars, chord symbols apart, that stands in one tune of train too, as median, "
        "ninth decile and most; and as a part of the tune's own bars. Tunes of test have no version in train.\n"
    )


_SHARED = ["shared bars: median", "ninth decile", "most", "part of the tune: median", "ninth decile"]


def _row(name: str, of: dict) -> list[str]:
    bars, part = of["longest_shared"], of["longest_shared_part"]
    return [
        name,
        str(of["tunes"]),
        f"{of['read']:.1%}",
        f"{of['read_and_bars_add_up']:.1%}",
        *(f"{bars[what]:g}" for what in ("median", "ninth_decile", "most")),
        *(f"{part[what]:.0%}" for what in ("median", "ninth_decile")),
    ]
