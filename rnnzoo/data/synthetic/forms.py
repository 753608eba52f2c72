"""Synthetic sentences whose names follow rules of form, as those of chemistry, programs and products do.

    python -m rnnzoo.data.synthetic.forms runs/forms        writes train, validation and test there, as .conll files

As in the texts of a field, a few names occur again and again in train, but none of them in validation or test. Every
sentence is as likely around each type of name as around an ordinary word, which train does not have either. So neither
the word itself nor its neighbours tell what it is: a tagger must read its characters, although it can do without them
in train.

    B-CHEM              "We found dimethylbutanone in the second test ."
    B-CODE              "We found get_buffer_size in the second test ."
    B-PROD I-PROD       "We found Veltrix M320 in the second test ."
    O                   "We found uncoverings in the second test ."
"""

import argparse
import random
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path

from datasets import Dataset, DatasetDict, Features, List, Value


TYPES = ("CHEM", "CODE", "PROD")
SPLITS = {"train": 3000, "validation": 500, "test": 500}  # sentences
NAMES = 100  # different ones of each type in a split

# Each {} is a name of any type, or an ordinary word.
TEMPLATES = (
    "A report of last year compares {} with {} .",
    "Have you ever seen {} before ?",
    "He wrote three pages about {} and none about {} .",
    "I do not know why {} was left out .",
    "In most of these examples {} comes first .",
    "It took a week to get used to {} .",
    "More than half of them had never heard of {} .",
    "Nothing was said about {} , {} or {} .",
    "Please add {} to the list .",
    "The first chapter explains {} and {} .",
    "The word {} stands on every second page .",
    "There is a problem with {} in the new version .",
    "They replaced {} by {} .",
    "We found {} in the second test .",
    "What we need is {} .",
    "{} and {} were mentioned twice .",
    "{} can be bought in most countries .",
    "{} is older than {} .",
    "{} was not used for a long time .",
)

_ALKYL = ("methyl", "ethyl", "propyl", "butyl", "phenyl", "benzyl", "chloro", "fluoro", "nitro", "hydroxy", "amino")
_STEM = (
    "but",
    "pent",
    "hex",
    "hept",
    "oct",
    "non",
    "tolu",
    "pyrid",
    "imidaz",
    "oxaz",
    "fur",
    "thi",
    "purin",
    "quinol",
)
_SUFFIX = (
    "ane",
    "ene",
    "anone",
    "anol",
    "anal",
    "ine",
    "idine",
    "oic",
    "amide",
    "amine",
    "azole",
    "ylate",
    "onitrile",
)
_MULTIPLE = ("", "", "di", "tri", "tetra")
_VERB = ("get", "set", "read", "write", "parse", "load", "find", "make", "is", "to", "merge", "init", "flush", "send")
_NOUN = ("user", "size", "buffer", "file", "index", "node", "token", "path", "cache", "line", "key", "state", "port")
_ONSET = ("B", "D", "F", "K", "L", "M", "N", "P", "R", "S", "T", "V", "Z", "Br", "Kl", "Tr", "Qu", "Sk")
_VOWEL = ("a", "e", "i", "o", "u", "eo", "io")
_CODA = ("xa", "lix", "rion", "nto", "vex", "dora", "ltrix", "mio", "zon", "pta", "sera", "qo")
_BEFORE = ("re", "un", "over", "out", "under", "mis", "fore", "up")
_ROOT = (
    "cover",
    "paint",
    "load",
    "hand",
    "cloud",
    "farm",
    "mark",
    "print",
    "light",
    "work",
    "train",
    "press",
    "field",
)
_AFTER = ("ing", "ings", "ed", "er", "ers", "able", "ment", "less", "ness", "fully", "s", "ish")


def chemical(rng: random.Random) -> str:
    """Such as 2,4-dinitrotoluidine."""
    place = rng.choice(("", "", f"{rng.randint(2, 6)}-", f"{rng.randint(1, 3)},{rng.randint(4, 6)}-", "N-"))
    before = "".join(rng.choice(_MULTIPLE) + rng.choice(_ALKYL) for _ in range(rng.randint(1, 2)))
    return place + before + rng.choice(_STEM) + rng.choice(_SUFFIX)


def code(rng: random.Random) -> str:
    """Such as read_user_index, mergeCacheKey, HTTPNodeError."""
    nouns = rng.choices(_NOUN, k=rng.randint(1, 2))
    form = rng.randrange(3)
    if form == 0:
        return "_".join([rng.choice(_VERB), *nouns])
    if form == 1:
        return rng.choice(_VERB) + "".join(map(str.capitalize, nouns))
    return rng.choice(("", "HTTP", "XML", "IO")) + "".join(map(str.capitalize, nouns)) + rng.choice(("Error", "Type"))


def product(rng: random.Random) -> str:
    """Such as Skiolix, Veltrix M320, Brazon 7 Pro."""
    name = rng.choice(_ONSET) + rng.choice(_VOWEL) + rng.choice(_CODA)
    model = rng.choice("ADGKMRTX") + str(rng.randint(10, 990))
    return name + rng.choice(("", "", f" {model}", f" {rng.randint(2, 9)} Pro", " Mini"))


def ordinary(rng: random.Random) -> str:
    """A word that is no name, such as undercloudings: rare as those are, and built of parts of words too."""
    return rng.choice(_BEFORE) + rng.choice(_ROOT) + rng.choice(_AFTER)


MAKERS = {"CHEM": chemical, "CODE": code, "PROD": product, None: ordinary}


def make_sentences(seed: int, sizes: dict[str, int] = SPLITS) -> DatasetDict:
    """Splits with `tokens` and `tags`, the latter strings in IOB2; the same for the same seed."""
    rng, taken, splits = random.Random(seed), set(), {}
    for split, size in sizes.items():
        names = {kind: new(make, rng, taken) for kind, make in MAKERS.items()}
        taken |= {name.split()[0] for each in names.values() for name in each}
        rows = list(islice(sentences(rng, names), size))
        columns = {
            "tokens": [[word for word, _ in row] for row in rows],
            "tags": [[tag for _, tag in row] for row in rows],
        }
        splits[split] = Dataset.from_dict(
            columns, features=Features({name: List(Value("string")) for name in columns})
        )
    return DatasetDict(splits)


def new(make: Callable[[random.Random], str], rng: random.Random, taken: set[str]) -> list[str]:
    """Different names, or words, none of which begins with a word that is taken: that would be enough to know it."""
    found = {}
    while len(found) < NAMES:
        name = make(rng)
        if name.split()[0] not in taken:
            found[name] = None
    return list(found)


def sentences(rng: random.Random, names: dict[str | None, list[str]]) -> Iterator[list[tuple[str, str]]]:
    """Words with their tags, sentence by sentence."""
    while True:
        row = []
        for part in rng.choice(TEMPLATES).split():
            if part != "{}":
                row.append((part, "O"))
                continue
            kind = rng.choice(list(names))
            words = rng.choice(names[kind]).split()
            row += [(word, f"{'I' if i else 'B'}-{kind}" if kind else "O") for i, word in enumerate(words)]
        yield row


def main(folder: Path) -> None:
    """Writes the splits as .conll files, a word and its tag a line."""
    folder.mkdir(parents=True, exist_ok=True)
    for split, rows in make_sentences(seed=0).items():
        text = "\n".join(
            "".join(f"{w} {t}\n" for w, t in zip(row["tokens"], row["tags"], strict=True)) for row in rows
        )
        (folder / f"{split}.conll").write_text(text, encoding="utf-8")
    print(f"written to {folder}: {', '.join(f'{split} {size:,}' for split, size in SPLITS.items())} sentences")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(prog="rnnzoo.data.synthetic.forms", description="Writes .conll files.")
    parser.add_argument("folder", type=Path, help="where train, validation and test are written")
    main(parser.parse_args().folder)
