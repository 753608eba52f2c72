"""Synthetic sentences with named entities from a small seeded grammar, in which the right context decides.

April is a woman or a month, Jordan a man or a country, Ford a man or a company, Santander a city or a bank. Half of
the sentences are twins: they agree up to and including such a name, and only what follows tells which of its two types
it has.

    B-PER     "We all know that April called her mother ."
    B-DATE    "We all know that April comes after the long winter ."

A model that reads from left to right has seen the same words in both, so its accuracy on these names (`ambiguous`) is
one half at best. The other half of the sentences are plain: the names in them have one type only, or follow a word
that determines it ("Mrs. April", "since April"). Every word except the ambiguous names has the same tag everywhere.
"""

import random
import re

from datasets import Dataset, DatasetDict, Features, List, Value


BANNER = (
    "This is synthetic data: sentences with names, written by rnnzoo's small seeded grammar, not CoNLL-2003. "
    "It is for trying things out without data or network; no published number rests on it."
)

TYPES = ("DATE", "LOC", "ORG", "PER")
SPLITS = {"train": 3000, "validation": 500, "test": 500}  # sentences, half of them twins

# Names of two types. Each name occurs once here.
AMBIGUOUS = {
    ("DATE", "PER"): ("April", "August", "June", "May"),
    ("LOC", "PER"): (
        *("Austin", "Charlotte", "Chelsea", "Florence", "Georgia", "Jordan", "Lincoln"),
        *("Paris", "Savannah", "Sydney", "Virginia", "Washington"),
    ),
    ("ORG", "PER"): (
        *("Chase", "Dell", "Disney", "Ferrari", "Ford", "Heinz"),
        *("Kellogg", "Morgan", "Porsche", "Siemens", "Wells"),
    ),
    ("LOC", "ORG"): ("Everton", "Evian", "Hershey", "Nokia", "Santander", "Wolfsburg"),
}

# Words that determine the type of an ambiguous name, in plain sentences; they precede such a name nowhere else.
TELLING = {
    "DATE": ("last", "since", "until"),
    "LOC": ("around", "near", "outside"),
    "ORG": ("brand", "company", "firm"),
    "PER": ("Mr.", "Mrs.", "aunt", "uncle"),
}

_FIRST_NAMES = ("Agnes", "Bruno", "Carmen", "Dmitri", "Elena", "Henrik", "Ingrid", "Lucia", "Mateo", "Rosa")
_LAST_NAMES = ("Byrne", "Castellano", "Delorme", "Ferreira", "Lindqvist", "Novak", "Okafor", "Tanaka", "Whitcombe")
_DAYS = ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday")
_MONTHS = ("January", "July", "October", "November", "December")

# Names of a single type, many of more than one word.
NAMES = {
    "DATE": (
        *_DAYS,
        *(f"{day} {part}" for day in _DAYS for part in ("morning", "evening")),
        *_MONTHS,
        *(f"{month} {year}" for month in _MONTHS for year in ("1987", "1994", "2008")),
    ),
    "LOC": (
        *("Antwerp", "Bergen", "Dublin", "Glasgow", "Lisbon", "Riga", "Trieste", "Winnipeg"),
        *("Buenos Aires", "New Haven", "Port Louis", "Rio de Janeiro", "San Remo", "Tierra del Fuego"),
    ),
    "ORG": (
        *("Lufthansa", "Reuters", "Unesco", "Volvo"),
        *("Northern Rail", "Red Cross", "Royal Mail", "United Nations", "World Health Organization"),
    ),
    "PER": (*_FIRST_NAMES, *(f"{first} {last}" for first in _FIRST_NAMES for last in _LAST_NAMES)),
}

# Words that are not names.
WORDS = {
    "friend": ("brother", "colleague", "cousin", "father", "friend", "mother", "neighbour", "sister"),
    "job": ("baker", "carpenter", "clerk", "farmer", "lawyer", "librarian", "nurse", "pilot", "sailor", "violinist"),
    "number": ("two", "three", "four", "five", "six", "eight"),
}

# Twins: the left context of a name that is the subject of the sentence, or its object. A slot such as {PER} is a name
# of that type only, {told_PER} an ambiguous one after a word that determines its type.
BEFORE = {
    "subject": (
        "",
        "As far as I remember ,",
        "Everybody says that",
        "I have heard that",
        "It said in the letter that",
        "My {friend} and my {friend} believe that",
        "My {friend} thinks that",
        "Nobody at {ORG} knew that",
        "People in {LOC} say that",
        "Since {DATE} everybody has known that",
        "The {job} told us that",
        "We all know that",
        "{PER} wrote that",
    ),
    "object": (
        "I have always liked",
        "My {friend} keeps thinking of",
        "My {friend} will not forget",
        "People in {LOC} are waiting for",
        "The {job} cannot stand",
        "There is nothing wrong with",
        "We talked for hours about",
        "{PER} wrote a song about",
    ),
}

# Words between the name and the words that decide, so that these are near or far.
BETWEEN = {
    "subject": ("", "", "really", ", as you know ,", ", as far as my {friend} can tell ,"),
    "object": ("",),
}

# The right context, which decides: no two types share an ending, but many endings begin alike.
AFTER = {
    "subject": {
        "DATE": (
            "begins with a holiday .",
            "comes after the long winter .",
            "has two holidays .",
            "is a good time to plant roses .",
            "is my favourite month .",
            "is over too soon .",
            "needs no heating .",
            "never ends without rain .",
            "was cold and wet .",
            "was the month of the great storm .",
            "will be warmer than {DATE} .",
        ),
        "LOC": (
            "comes after {LOC} on this line .",
            "has lost its old walls .",
            "has two airports .",
            "is a good place for a picnic .",
            "is my favourite town .",
            "is not far from {LOC} .",
            "lies on a river .",
            "needs a new harbour .",
            "never has enough water .",
            "was built on seven hills .",
            "was once a fishing village .",
            "will get a new bridge before {DATE} .",
        ),
        "ORG": (
            "comes before {ORG} in the ranking .",
            "has lost half of its value .",
            "has two thousand workers .",
            "hired {PER} as a manager .",
            "is a good place to work .",
            "is my oldest customer .",
            "needs a new director .",
            "never pays its workers on time .",
            "was founded by {PER} .",
            "was sold to {ORG} .",
            "will raise its prices before {DATE} .",
        ),
        "PER": (
            "called her mother .",
            "comes home at seven .",
            "has lost his umbrella .",
            "has two sisters .",
            "is a good teacher .",
            "is my oldest friend .",
            "needs a new coat .",
            "never reads the newspaper .",
            "told {PER} a joke .",
            "was born in {LOC} .",
            "was late for dinner .",
            "will marry {PER} before {DATE} .",
        ),
    },
    "object": {
        "DATE": (
            ", a month with five weekends .",
            ", the month when {PER} was born .",
            ", when the roses bloom .",
            "and its storms .",
            "and the other months of spring .",
            "and {DATE} , as always .",
            "because it is so short .",
        ),
        "LOC": (
            ", a town near the sea .",
            ", the town where {PER} lives .",
            ", where it never snows .",
            "and its beaches .",
            "and the other towns in the valley .",
            "and {LOC} , as always .",
            "because it is so far away .",
        ),
        "ORG": (
            ", a bank with a long history .",
            ", the company that {PER} runs .",
            ", which pays so badly .",
            "and its shareholders .",
            "and the other companies .",
            "and {ORG} , as always .",
            "because it treats its workers well .",
        ),
        "PER": (
            ", a friend of my {friend} .",
            ", the {job} from {LOC} .",
            ", who sings so well .",
            "and her brother .",
            "and the other children .",
            "and {PER} , as always .",
            "because she is so kind .",
        ),
    },
}

PLAIN = (
    "By {DATE} {PER} had read {number} books .",
    "In {LOC} {PER} is better known than {ORG} .",
    "It has not rained {told_DATE} .",
    "Most people in {LOC} have never heard of {ORG} .",
    "My {friend} has been ill {told_DATE} .",
    "My {friend} lost {number} keys in {number} weeks .",
    "My {friend} sent {PER} a letter from {LOC} .",
    "My {friend} was seen with {told_PER} at the station .",
    "Nothing has happened since {DATE} .",
    "The meeting with {ORG} was moved from {DATE} to {DATE} .",
    "The train from {LOC} to {LOC} was late .",
    "The {job} asked the {job} for {number} cups of tea .",
    "The {job} bought a house {told_LOC} .",
    "The {told_ORG} has closed its shop in {LOC} .",
    "There is a lot of traffic {told_LOC} .",
    "We sold our shares of the {told_ORG} before {DATE} .",
    "Yesterday {told_PER} had lunch with {PER} .",
    "{ORG} has hired {PER} , {PER} and {PER} .",
    "{ORG} will open an office in {LOC} .",
    "{PER} has left {ORG} and gone to {ORG} .",
    "{PER} met {PER} in {LOC} before {DATE} .",
    "{PER} , who lives in {LOC} , works for {ORG} .",
)

Word = tuple[str, str, bool]  # the word, its tag, whether it is an ambiguous name


def words(text: str, kind: str | None = None, ambiguous: bool = False) -> list[Word]:
    """The words of a name of the type `kind`, or of text that is not a name."""
    return [
        (word, f"{'I' if position else 'B'}-{kind}" if kind else "O", ambiguous)
        for position, word in enumerate(text.split())
    ]


def fill(rng: random.Random, template: str) -> list[Word]:
    """The words of a template, with a word or a name drawn for every slot."""
    filled = []
    for part in template.split():
        slot = re.fullmatch(r"\{(told_)?(\w+)\}", part)
        if not slot:
            filled += words(part)
        elif slot[1]:
            names = rng.choice([names for types, names in AMBIGUOUS.items() if slot[2] in types])
            filled += [*words(rng.choice(TELLING[slot[2]])), *words(rng.choice(names), slot[2])]
        elif slot[2] in NAMES:
            filled += words(rng.choice(NAMES[slot[2]]), slot[2])
        else:
            filled += words(rng.choice(WORDS[slot[2]]))
    return filled


def twins(rng: random.Random) -> list[list[Word]]:
    """Two sentences that agree up to and including an ambiguous name, which has a different type in each."""
    types = rng.choice(list(AMBIGUOUS))
    name, role = rng.choice(AMBIGUOUS[types]), rng.choice(list(BEFORE))
    before = fill(rng, rng.choice(BEFORE[role]))
    return [
        [
            *before,
            *words(name, kind, ambiguous=True),
            *fill(rng, rng.choice(BETWEEN[role])),
            *fill(rng, rng.choice(AFTER[role][kind])),
        ]
        for kind in types
    ]


def make_sentences(seed: int = 0) -> DatasetDict:
    """Synthetic sentences: splits train, validation, test (3,000, 500, 500), columns `tokens`, `tags`, `ambiguous`.

    The tags are IOB2. The same seed gives the same rows on every machine. Of every four rows the first two are twins,
    so that the first 4n rows are balanced for any n. No sentence occurs twice.

    Raises:
        ValueError: the seed is not a non-negative integer.
    """
    if not isinstance(seed, int) or seed < 0:  # Random(None) would differ from run to run, Random(-1) is Random(1)
        raise ValueError(f"seed={seed!r} must be a non-negative integer, such as 0.")
    rng = random.Random(seed)
    seen = set()
    features = Features(
        {"tokens": List(Value("string")), "tags": List(Value("string")), "ambiguous": List(Value("bool"))}
    )
    splits = DatasetDict()
    for split, size in SPLITS.items():
        rows = []
        while len(rows) < size:
            drawn = twins(rng) if len(rows) % 4 == 0 else [fill(rng, rng.choice(PLAIN))]
            texts = {" ".join(word for word, _, _ in sentence) for sentence in drawn}
            if not seen & texts:
                seen |= texts
                rows += drawn
        columns = zip(*(zip(*sentence, strict=True) for sentence in rows), strict=True)
        splits[split] = Dataset.from_dict(dict(zip(features, columns, strict=True)), features=features)
    return splits
