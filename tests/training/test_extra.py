"""Training needs the packages of the extra [train]; without one of them, its import says what to install."""

import os
import subprocess
import sys
from importlib.metadata import packages_distributions, requires
from pathlib import Path

from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from rnnzoo.data import NEEDED


IMPORTS = """
import sys

for name in sys.argv[1].split():
    sys.modules[name] = None  # an import of it fails
    for module in ("rnnzoo.training.run", "rnnzoo.tasks.tag", "rnnzoo.data.texts"):
        try:
            __import__(module)
        except ImportError as error:
            assert f"not installed ({name}): pip install 'rnnzoo[train]'" in str(error), (name, module, error)
        else:
            raise AssertionError(f"{module} was imported without {name}")
    del sys.modules[name]
"""


def test_without_a_package_of_the_extra_the_import_names_it():
    done = subprocess.run(
        [sys.executable, "-c", IMPORTS, " ".join(NEEDED)],
        env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[2])},
        capture_output=True, text=True,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr[-2000:]


def test_the_packages_that_are_looked_for_are_those_of_the_extra():
    declared = {canonicalize_name(Requirement(line).name) for line in requires("rnnzoo") if '"train"' in line}
    brought_by = packages_distributions()
    assert {canonicalize_name(package) for name in NEEDED for package in brought_by[name]} == declared
