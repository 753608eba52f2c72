"""Where a model errs: probes of its pipeline with names, negation, other domains and other case, for results.json.

The texts are this project's own, few and plain: they can reveal a weakness, but not prove its absence. The idea of
sentences that differ only in a name is that of Kiritchenko & Mohammad 2018 (https://arxiv.org/abs/1805.04508).
"""

from pathlib import Path
from statistics import mean
from typing import Any, NamedTuple

from transformers import pipeline


class Probe(NamedTuple):
    """One line of the card: what was probed with how many texts, and the result, between 0 and 1."""

    tried: str
    texts: int
    measure: str
    value: float


NAMES = {
    "English names of women": ("Emily", "Hannah", "Margaret", "Alice", "Charlotte"),
    "English names of men": ("Jack", "Thomas", "Edward", "Harry", "George"),
    "Arabic names": ("Fatima", "Yusuf", "Khalid", "Amina", "Ibrahim"),
    "Chinese names": ("Xiaoming", "Meiling", "Jianguo", "Yating", "Zhiwei"),
    "Indian names": ("Priya", "Rajesh", "Lakshmi", "Arjun", "Sunita"),
    "Spanish names": ("Guadalupe", "Alejandro", "Ximena", "Joaquín", "Mercedes"),
    "West African names": ("Chinedu", "Adaeze", "Kwame", "Oluwaseun", "Aminata"),
}


def share(found: list) -> float:
    """The mean of booleans or of probabilities."""
    return round(float(mean(found)), 4)


# ---- sentiment ----

NEUTRAL = ("{} wrote the script.", "The main part is played by {}.", "I saw it with {}.", "{} made this film.")

PRAISE = ("good", "great", "funny", "interesting", "well made", "moving")
BLAME = ("bad", "boring", "stupid", "awful", "badly made", "annoying")
NEGATION = {
    "plain: “the film is good”": ("The film is {}.", False),
    "negated: “the film is not good”": ("The film is not {}.", True),
    "negated from afar: “I do not think that the film is good”": ("I do not think that the film is {}.", True),
}

DOMAINS = {
    "restaurants": {
        "positive": (
            "The soup was delicious and the waiter friendly.",
            "Fresh fish, generous portions, and a table by the window: we will come back.",
            "The best pizza in town.",
        ),
        "negative": (
            "The soup was cold and the waiter rude.",
            "We waited an hour for tiny portions of overcooked fish, and will not come back.",
            "The pizza was burnt.",
        ),
    },
    "appliances": {
        "positive": (
            "The battery lasts for days, and it charges quickly.",
            "Easy to set up, quiet, and works perfectly.",
            "Arrived early, well packed, exactly as described.",
        ),
        "negative": (
            "The battery dies within an hour, and it takes all night to charge.",
            "It broke after a week, and nobody answers the phone.",
            "Arrived late, scratched, and with parts missing.",
        ),
    },
    "hotels": {
        "positive": (
            "Spotless rooms, a quiet street and a helpful reception.",
            "The bed was comfortable and breakfast was excellent.",
            "Lovely view of the sea, and everybody was kind to us.",
        ),
        "negative": (
            "Dirty rooms, a noisy street and nobody at the reception.",
            "The bed was hard and breakfast was stale.",
            "There were insects in the bath, and they refused to give us our money back.",
        ),
    },
    "the office": {
        "positive": (
            "Thank you for your quick reply, which solved my problem.",
            "The team has met every deadline and our customers are delighted.",
            "I am happy to tell you that you got the job.",
        ),
        "negative": (
            "Your reply came too late and did not solve my problem.",
            "The team has missed every deadline and our customers are furious.",
            "I am sorry to tell you that we have lost the contract.",
        ),
    },
}


def sentiment(folder: Path, **options: Any) -> list[Probe]:
    """Probes of a classifier into negative and positive; none for one with other labels."""
    ask = pipeline("text-classification", model=str(folder), device="cpu", batch_size=32, top_k=None, **options)
    if set(ask.model.config.id2label.values()) != {"negative", "positive"}:
        return []

    def positive(texts: list[str]) -> list[float]:
        return [next(part["score"] for part in parts if part["label"] == "positive") for parts in ask(texts)]

    def right(tried: str, texts: list[str], praise: list[bool]) -> Probe:
        found = [(score > 0.5) == wanted for score, wanted in zip(positive(texts), praise, strict=True)]
        return Probe(tried, len(texts), "share that is right", share(found))

    found = []
    for group, names in NAMES.items():
        texts = [sentence.format(name) for sentence in NEUTRAL for name in names]
        found.append(
            Probe(f"neutral sentences, {group}", len(texts), "mean probability of positive", share(positive(texts)))
        )
    for tried, (sentence, turned) in NEGATION.items():
        texts = [sentence.format(word) for word in PRAISE + BLAME]
        found.append(right(tried, texts, [(word in PRAISE) != turned for word in PRAISE + BLAME]))
    for domain, sides in DOMAINS.items():
        texts, praise = zip(
            *((text, side == "positive") for side, texts in sides.items() for text in texts), strict=True
        )
        found.append(right(f"not about films: {domain}", list(texts), list(praise)))
    return found


# ---- named entities ----

PEOPLE = ("{} lives in Berlin.", "Yesterday {} called.", "We spoke to {} about the weather.", "{} won the second set.")

CASED = (
    ("John Smith works for Microsoft in London.", ("John Smith", "Microsoft", "London")),
    ("The bank of Portugal has an office in Paris.", ("Portugal", "Paris")),
    ("Maria flew from Madrid to New York on Friday.", ("Maria", "Madrid", "New York")),
    ("Volkswagen builds cars in Germany and Mexico.", ("Volkswagen", "Germany", "Mexico")),
    ("Arsenal beat Liverpool in London.", ("Arsenal", "Liverpool", "London")),
    ("Peter Miller, who was born in Vienna, plays for Ajax.", ("Peter Miller", "Vienna", "Ajax")),
)
PERSONS = ("per", "person")


def names(folder: Path) -> list[Probe]:
    """Probes of a tagger that finds persons; none for one that does not."""
    ask = pipeline(
        "token-classification", model=str(folder), device="cpu", batch_size=32, aggregation_strategy="simple"
    )
    if not {label.lower().removeprefix("b-") for label in ask.model.config.id2label.values()} & set(PERSONS):
        return []
    found = []
    for group, people in NAMES.items():
        whole = []
        for sentence in PEOPLE:
            start = sentence.index("{")
            for name, entities in zip(people, ask([sentence.format(name) for name in people]), strict=True):
                spans = {(part["start"], part["end"]) for part in entities if part["entity_group"].lower() in PERSONS}
                whole.append((start, start + len(name)) in spans)
        found.append(
            Probe(f"sentences with one person, {group}", len(whole), "share found, as a person", share(whole))
        )
    for case, change in {"as written": str, "in lower case": str.lower, "in upper case": str.upper}.items():
        whole = []
        for (text, wanted), entities in zip(CASED, ask([change(text) for text, _ in CASED]), strict=True):
            spans = {(part["start"], part["end"]) for part in entities}
            whole += [(text.index(name), text.index(name) + len(name)) in spans for name in wanted]
        found.append(Probe(f"plain sentences, {case}", len(CASED), "share of the entities found", share(whole)))
    return found
