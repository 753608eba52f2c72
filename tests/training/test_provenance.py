"""Where a result comes from: the commit of the code that ran, and of no other repository."""

import importlib.util
import re
import shutil
import subprocess

import pytest

from rnnzoo.training import provenance


@pytest.fixture
def installed(tmp_path):
    """A copy of the module in an environment inside some repository, and a function that calls git there."""
    path = tmp_path / ".venv" / "site-packages" / "provenance.py"
    path.parent.mkdir(parents=True)
    shutil.copy(provenance.__file__, path)

    def git(*arguments):
        who = ("-c", "user.name=You", "-c", "user.email=you@example.org")
        subprocess.run(["git", *who, *arguments], cwd=tmp_path, check=True, capture_output=True)

    git("init")
    (tmp_path / "theirs.txt").touch()
    git("add", "theirs.txt")
    git("commit", "-m", "Theirs")
    spec = importlib.util.spec_from_file_location("installed_provenance", path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module, path, git


def test_an_installed_package_is_not_of_the_repository_around_it(installed):
    module, path, git = installed
    assert module.git_commit() is None
    # Of a repository that tracks the package it is.
    git("add", "--force", str(path))
    git("commit", "-m", "Ours")
    commit = module.git_commit()
    assert re.fullmatch("[0-9a-f]{40}", commit)
    path.write_text(path.read_text() + "\n")
    assert module.git_commit() == f"{commit}-dirty"


def test_outside_of_all_repositories_there_is_no_commit(installed, tmp_path):
    shutil.rmtree(tmp_path / ".git")
    assert installed[0].git_commit() is None
