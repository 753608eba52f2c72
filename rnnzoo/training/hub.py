"""A run on the Hub: its repository is claimed before the training, and its files follow as one commit."""

import shlex
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_session, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id

from rnnzoo.data.errors import RecipeError


_PROBE_SECONDS = 10


def check_id(repo_id: str) -> None:
    """Refuses what cannot be the id of a repository.

    Raises:
        RecipeError: the id, and what is wrong with it.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise RecipeError(
            f"push_to_hub: {repo_id!r} cannot be a repository's id ({_brief(error)}). Give --hub_model_id you/name; "
            "without it, the id is the name of output_dir."
        ) from None


def claim(repo_id: str, private: bool) -> str:
    """Makes the repository where there is none, and shows that it may be written; gives its whole id, you/name.

    Raises:
        RecipeError: no Hub, no token, one that may not do this, or a public repository for a private model.
    """
    api = HfApi()
    try:
        # The calls that follow would wait for minutes.
        get_session().head(constants.ENDPOINT, timeout=_PROBE_SECONDS)
        user = api.whoami()["name"]
        repo_id = repo_id if "/" in repo_id else f"{user}/{repo_id}"
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        # Of a repository that is there already, the call above shows nothing.
        api.auth_check(repo_id, write=True)
        public = not api.model_info(repo_id).private
    except Exception as error:  # the classes differ between HTTP clients
        raise RecipeError(f"push_to_hub: {_trouble(error, repo_id)} Nothing was trained.") from None
    if private and public:
        raise RecipeError(
            f"hub_private is true, and {repo_id} is public: make it private in its settings, or give another "
            "--hub_model_id."
        )
    return repo_id


def push(folder: Path, names: list[str], repo_id: str, message: str) -> str:
    """Adds these files of the folder to the repository; gives the address of the commit.

    Raises:
        RecipeError: it failed; how to do it later is in the message.
    """
    files = [CommitOperationAdd(name, folder / name) for name in names]
    try:
        # Not upload_folder, which may make several commits, and would take along what else is in the folder.
        return HfApi().create_commit(repo_id, files, commit_message=message).commit_url
    except Exception as error:  # as above
        # All files of a run lie at the top of its folder: others, a tracker's for one, do not go along.
        again = shlex.join(["hf", "upload", repo_id, str(folder), ".", "--exclude", "*/*"])
        raise RecipeError(
            f"{folder} is whole, but was not pushed: {_trouble(error, repo_id)} Then push it: {again}"
        ) from None


def _trouble(error: Exception, repo_id: str) -> str:
    """What is in the way, and what to do."""
    if type(error) is RuntimeError and error.__cause__:  # of an upload, which says only which file it was
        error = error.__cause__
    log_in = "Log in with `hf auth login`, or set HF_TOKEN, with a token that may write."
    if isinstance(error, LocalTokenNotFoundError):
        return f"there is no token for the Hub. {log_in}"
    if not isinstance(error, HfHubHTTPError):
        return (
            f"the Hub at {constants.ENDPOINT} cannot be asked ({_brief(error)}). Check the network, HF_ENDPOINT, "
            "HF_HUB_OFFLINE and the token."
        )
    if error.response.status_code == 401:
        return f"the Hub does not take the token ({_brief(error)}). {log_in}"
    if error.response.status_code == 403:
        return (
            f"the token may not write to {repo_id} ({_brief(error)}). Log in with one that may, or choose another "
            "repository with --hub_model_id."
        )
    return f"the Hub refused {repo_id} ({_brief(error)}). Try again, or choose another with --hub_model_id."


def _brief(error: Exception) -> str:
    """An error as part of our paragraph, without the token, which a server might repeat."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return text.replace(get_token() or "\0", "<token>")[:300]
