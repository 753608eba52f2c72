"""Synthetic film reviews from a small seeded grammar, for machines without data or network.

By construction, a review has to be read in order. Its single verdict is written in one of three ways:

- direct:   "This film is gripping." Any model can learn these.
- negation: "Nobody can claim that this film is gripping." Half of these reverse the polar word, half have a negation
            whose scope does not include it ("Nobody can deny ..."): neither the negation nor the word alone decides.
- contrast: "The acting was gripping, but the film itself is boring." One positive and one negative word; their
            positions decide.

Neutral sentences surround the verdict. Where many of them follow it, the evidence is far from the end of the text: an
LSTM retains it, a simple RNN forgets it. A bag of words can learn the direct reviews and has to guess all others.
"""

import random
import re

from datasets import ClassLabel, Dataset, DatasetDict, Features, Value


BANNER = (
    "This is synthetic data: film reviews written by rnnzoo's small seeded grammar, not IMDB. "
    "It is for trying things out without data or network; no published number rests on it."
)

LABELS = ("negative", "positive")
SPLITS = {"train": 4000, "validation": 1000, "test": 1000}  # rows, half of each class

# Shares of the whole, in percent.
CONSTRUCTIONS = {"direct": 40, "negation": 25, "contrast": 35}
DISTANCES = {"near": 65, "far": 35}
# Numbers of neutral sentences before and after the verdict: (minimum, maximum) of each.
NEUTRALS = {"near": ((0, 4), (0, 0)), "far": ((0, 2), (3, 4))}

# Polar words as (negative, positive), so that OPPOSITES[kind][i][label] supports the label. All begin with a
# consonant, because the templates have "a" before them.
OPPOSITES = {
    "adjective": (
        ("bad", "good"),
        ("boring", "gripping"),
        ("clumsy", "graceful"),
        ("dreadful", "wonderful"),
        ("dreary", "splendid"),
        ("dull", "brilliant"),
        ("flat", "moving"),
        ("forgettable", "memorable"),
        ("grating", "charming"),
        ("lifeless", "lively"),
        ("pointless", "rewarding"),
        ("poor", "superb"),
        ("predictable", "surprising"),
        ("shallow", "profound"),
        ("stale", "fresh"),
        ("stupid", "clever"),
        ("tedious", "thrilling"),
        ("terrible", "great"),
        ("tiresome", "funny"),
        ("weak", "strong"),
    ),
    "noun": (
        ("bore", "treat"),
        ("chore", "pleasure"),
        ("disaster", "triumph"),
        ("failure", "success"),
        ("letdown", "marvel"),
        ("mess", "masterpiece"),
    ),
    "verb": (
        ("despised", "treasured"),
        ("disliked", "enjoyed"),
        ("hated", "loved"),
        ("loathed", "admired"),
        ("resented", "relished"),
    ),
}

# Words that carry no sentiment. Those after "a" begin with a consonant.
NEUTRAL_WORDS = {
    "day": ("Monday", "Tuesday", "Wednesday", "Thursday", "Friday", "Saturday", "Sunday"),
    "film": ("film", "movie", "picture"),
    "friend": ("brother", "colleague", "cousin", "father", "friend", "mother", "neighbour", "sister"),
    "job": (
        *("baker", "carpenter", "clerk", "detective", "farmer", "lawyer"),
        *("librarian", "nurse", "pilot", "sailor", "teacher", "violinist"),
    ),
    "name": (
        *("Byrne", "Castellano", "Delorme", "Ferreira", "Hollis", "Lindqvist"),
        *("Marlow", "Novak", "Okafor", "Sorensen", "Tanaka", "Whitcombe"),
    ),
    "number": ("two", "three", "four", "five", "six", "seven", "eight"),
    "part": (
        *("acting", "camerawork", "dialogue", "direction", "editing", "ending"),
        *("lighting", "music", "opening", "pacing", "plot", "script"),
    ),
    "place": (
        *("Antwerp", "Bergen", "Dublin", "Glasgow", "Lisbon", "Marseille"),
        *("Naples", "Porto", "Quebec", "Riga", "Trieste", "Winnipeg"),
    ),
}

# In a template {same} is a word that supports the review's label and {other} one that contradicts it: adjectives, or
# nouns and verbs with _noun and _verb. So every template serves both labels, each the mirror image of the other.
DIRECT = (
    "This {film} is {same}, and so is the {part}.",
    "The {part} is {same}, and the whole {film} is {same}.",
    "What a {same} {film} {name} has made, with such {same} ideas.",
    "I {same_verb} every minute of this {same} {film}.",
    "My {friend} and I both {same_verb} this {film} from start to finish.",
    "All in all it is a {same_noun}, {same} from the first scene to the last.",
    "From the {part} to the {part} everything about it is {same}.",
    "{name} has given us a {same_noun} of a {film}.",
    "It is simply a {same} {film} with a {same} story.",
    "You can take it from me that the {film} is a {same_noun}.",
)

# Pairs: in the first sentence the polar word is outside the scope of the negation (or that is itself negated); in the
# second it is negated. Both are drawn equally often and have one polar word of the same kind.
NEGATION = (
    ("Nobody can deny that this {film} is {same}.", "Nobody can claim that this {film} is {other}."),
    ("I will not hide from you that it is {same}.", "I will not tell you that it is {other}."),
    ("There is not a scene that is anything but {same}.", "There is not a scene that could be called {other}."),
    (
        "I have not read the book, and I found this {film} {same}.",
        "I doubt that anybody has found this {film} {other}.",
    ),
    ("It is no secret that the {part} is {same}.", "It is no longer true that the {part} is {other}."),
    ("{name} has never before made such a {same} {film}.", "{name} has never made a {other} {film}, nor is this one."),
    ("I have no doubt that this {film} is {same}.", "I have no reason to think that this {film} is {other}."),
    ("Whoever says that it is not really {same} was asleep.", "Whoever says that it is really {other} was asleep."),
    ("None of us doubted that the {film} was {same}.", "None of us thought that the {film} was {other}."),
    ("I am not ashamed to call the whole thing {same}.", "I would be ashamed to call the whole thing {other}."),
    ("It was no accident that I {same_verb} this {film}.", "It is a rumour that I {other_verb} this {film}."),
    ("It would not be wrong to call it a {same_noun}.", "It would be wrong to call it a {other_noun}."),
)

# A positive and a negative word of the same kind in every sentence, so that only their positions decide.
CONTRAST = (
    "The {part} is {other}, but the {film} itself is {same}.",
    "The {film} itself is {same}, but the {part} is {other}.",
    "Although the {part} was {other}, the {film} as a whole was {same}.",
    "The {film} as a whole was {same}, although the {part} was {other}.",
    "In spite of its {other} {part}, this is a {same} {film}.",
    "This is a {same} {film}, in spite of its {other} {part}.",
    "I went in expecting something {other}, though what I got was something {same}.",
    "What I got was something {same}, though I went in expecting something {other}.",
    "The last {film} by {name} was {other}, while this one was {same}.",
    "This one is {same}, while the last {film} by {name} is {other}.",
    "The critics speak of a {other_noun}, yet I speak of a {same_noun}.",
    "I speak of a {same_noun}, yet the critics speak of a {other_noun}.",
    "My {friend} {other_verb} the {film}, but I {same_verb} it.",
    "I {same_verb} the {film}, but my {friend} {other_verb} it.",
    "It was {same} and not {other}, whatever you may have read.",
    "It was not {other} but {same}, whatever you may have read.",
)

# Plot, cast and cinema. Words of negation and contrast occur here too, without any bearing on the label.
NEUTRAL = (
    "The story follows a {job} who moves to {place} and meets a {job} there.",
    "Most of it was shot in {place}, and the rest in {place}.",
    "{name} plays the {job}, and {name} plays the {job} from {place}.",
    "I saw it on a {day} with my {friend}, in the cinema near the station.",
    "It runs for just under two hours, and one more scene follows the credits.",
    "My {friend} had bought the tickets, but did not come along.",
    "The second half takes place in {place}, some {number} years later.",
    "{name} wrote it together with {name}, who comes from {place}.",
    "There is a train journey to {place}, a wedding, and a letter that nobody opens.",
    "The {job} never meets the {job} until the night of the storm.",
    "The cinema was about half full, and nobody around us spoke.",
    "It is based on a novel by {name}, which I have not read.",
    "We sat in row {number}, next to a {job} and a {job}.",
    "The title is the name of a street in {place}, where the {job} once lived.",
    "Before it they showed {number} trailers, but I missed most of them.",
    "{name}, who used to be a {job}, has a small part as the {job}.",
    "Some scenes are in black and white, although the others are in colour.",
    "The camera stays with the {job} for most of the first hour.",
    "I saw it again at home on {day}, while my {friend} was out.",
    "Afterwards my {friend} and I walked home and talked about {place}.",
    "It opened in {place} last month and comes to {place} on {day}.",
    "There are {number} songs in it, all of them sung by {name}.",
    "At one point the {job} sells the house and takes a boat to {place}.",
    "Nothing is said about where the {job} goes after {place}.",
)


def fill(rng: random.Random, template: str, label: int) -> str:
    """The template with a word drawn for every slot; `label` determines what {same} and {other} mean."""

    def word(slot: re.Match) -> str:
        role, _, kind = slot[1].partition("_")
        if role in NEUTRAL_WORDS:
            return rng.choice(NEUTRAL_WORDS[role])
        return rng.choice(OPPOSITES[kind or "adjective"])[label if role == "same" else 1 - label]

    return re.sub(r"\{(\w+)\}", word, template)


def verdict(rng: random.Random, label: int, construction: str) -> str:
    """The decisive sentence: a template of the construction, filled so that it expresses `label`."""
    if construction == "negation":
        template = rng.choice(rng.choice(NEGATION))
    else:
        template = rng.choice({"direct": DIRECT, "contrast": CONTRAST}[construction])
    return fill(rng, template, label)


def review(rng: random.Random, label: int, construction: str, distance: str) -> str:
    """A complete review: one verdict, with neutral sentences before it and, if `distance` is "far", after it."""
    (before, after) = (rng.randint(*bounds) for bounds in NEUTRALS[distance])
    neutral = [fill(rng, template, label) for template in rng.sample(NEUTRAL, before + after)]
    return " ".join([*neutral[:before], verdict(rng, label, construction), *neutral[before:]])


def draw(rng: random.Random, shares: dict[str, int]) -> str:
    """A key of `shares`, with a probability in proportion to its value."""
    return rng.choices(list(shares), weights=list(shares.values()))[0]


def make_reviews(seed: int = 0) -> DatasetDict:
    """Synthetic reviews: splits train, validation, test (4,000, 1,000, 1,000 rows), columns `text` and `label`.

    The same seed gives the same rows on every machine. Labels alternate, so that the first 2n rows are balanced for
    any n; no text occurs twice.

    Raises:
        ValueError: the seed is not a non-negative integer.
    """
    if not isinstance(seed, int) or seed < 0:  # Random(None) would differ from run to run, Random(-1) is Random(1)
        raise ValueError(f"seed={seed!r} must be a non-negative integer, such as 0.")
    rng = random.Random(seed)
    seen = set()
    features = Features({"text": Value("string"), "label": ClassLabel(names=list(LABELS))})
    splits = DatasetDict()
    for split, size in SPLITS.items():
        rows = {"text": [], "label": []}
        while len(rows["text"]) < size:
            label = len(rows["text"]) % 2
            text = review(rng, label, draw(rng, CONSTRUCTIONS), draw(rng, DISTANCES))
            if text not in seen:
                seen.add(text)
                rows["text"].append(text)
                rows["label"].append(label)
        splits[split] = Dataset.from_dict(rows, features=features)
    return splits
