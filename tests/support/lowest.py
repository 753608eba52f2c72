"""The default suite with the lowest versions that pyproject.toml allows, for `make test-lowest`, which installs them.

When all tests have passed, it writes a line of RELIABILITY.md.
"""

import platform
import subprocess
import sys
from importlib.metadata import requires, version
from pathlib import Path
from tempfile import TemporaryDirectory
from xml.etree import ElementTree

from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet

from tests.support.reliability import note


def lowest() -> dict[str, str]:
    """The version of each package that is declared as its lowest."""
    declared = map(Requirement, requires("rnnzoo"))
    return {each.name: bound.version for each in declared for bound in each.specifier if bound.operator == ">="}


def main(options: list[str]) -> int:
    """Runs pytest with these options, and returns its exit status."""
    bounds = lowest()
    installed = {name: version(name) for name in bounds}
    wrong = [name for name in bounds if not SpecifierSet(f"=={bounds[name]}").contains(installed[name])]
    if wrong:
        told = ", ".join(f"{name} is {installed[name]} and its lowest {bounds[name]}" for name in wrong)
        sys.exit(f"Other versions than the lowest are installed: {told}. `make test-lowest` installs the lowest.")

    with TemporaryDirectory() as folder:
        report = Path(folder, "report.xml")
        code = subprocess.run([sys.executable, "-m", "pytest", f"--junitxml={report}", *options]).returncode
        if code:
            return code
        count = ElementTree.parse(report).find("testsuite").attrib
    skipped = int(count["skipped"])
    versions = ", ".join(f"{name} {number}" for name, number in sorted(installed.items()))
    figures = f"{int(count['tests']) - skipped:,} tests passed, {skipped} skipped"
    note("lowest versions", f"{figures}: Python {platform.python_version()}, {versions}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
