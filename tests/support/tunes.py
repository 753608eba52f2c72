"""Tunes in ABC notation that this project makes: two books, and nothing but complete bars of notes that are drawn."""

import random
from pathlib import Path


def write_tunes(folder: Path, number: int = 20) -> None:
    """Writes the books jigs.abc and reels.abc, of so many tunes each, whose titles and bars differ."""
    rng = random.Random(0)
    for book, metre, notes in (("jigs", "6/8", 6), ("reels", "4/4", 8)):
        with (folder / f"{book}.abc").open("w", encoding="utf-8") as file:
            for n in range(number):
                music = "|".join("".join(rng.choices("CDEFGABc", k=notes)) for _ in range(4))
                file.write(f"X:{n}\nT:{book} {'abcdefghijklmnopqrst'[n]}\nM:{metre}\nK:C\n{music}|\n\n")
