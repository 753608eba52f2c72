"""A run on the Hub: its repository is created before training, and its files are pushed as one commit."""

import shlex
from pathlib import Path

from huggingface_hub import CommitOperationAdd, HfApi, constants, get_session, get_token
from huggingface_hub.errors import HfHubHTTPError, HFValidationError, LocalTokenNotFoundError
from huggingface_hub.utils import validate_repo_id

from rnnzoo.data.errors import RecipeError


_PROBE_SECONDS = 10


def check_id(repo_id: str) -> None:
    """Refuses an id that no repository can have.

    Raises:
        RecipeError: what is wrong with it.
    """
    try:
        validate_repo_id(repo_id)
    except HFValidationError as error:
        raise RecipeError(
            f"push_to_hub: {repo_id!r} is not a valid repository id ({_brief(error)}). Give --hub_model_id you/name; "
            "without it, the id is the name of output_dir."
        ) from None


def claim(repo_id: str, private: bool) -> str:
    """Creates the repository if it does not exist, and checks that it can be written; returns its id, you/name.

    Raises:
        RecipeError: no Hub, no token, a token without write access, or a public repository for a private model.
    """
    api = HfApi()
    try:
        # Without a Hub, the calls that follow would wait for minutes.
        get_session().head(constants.ENDPOINT, timeout=_PROBE_SECONDS)
        user = api.whoami()["name"]
        repo_id = repo_id if "/" in repo_id else f"{user}/{repo_id}"
        api.create_repo(repo_id, private=private or None, exist_ok=True)
        # For an existing repository, the call above proves nothing.
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
    """Adds these files of the folder to the repository; returns the URL of the commit.

    Raises:
        RecipeError: it failed; the message says how to push them later.
    """
    files = [CommitOperationAdd(name, folder / name) for name in names]
    try:
        # Not upload_folder, which may make several commits, and would upload whatever else is in the folder.
        return HfApi().create_commit(repo_id, files, commit_message=message).commit_url
    except Exception as error:  # as above
        # All files of a run lie at the top of its folder; others, such as a tracker's, are excluded.
        again = shlex.join(["hf", "upload", repo_id, str(folder), ".", "--exclude", "*/*"])
        raise RecipeError(
            f"{folder} is complete, but was not pushed: {_trouble(error, repo_id)} Then push it: {again}"
        ) from None


def _trouble(error: Exception, repo_id: str) -> str:
    """What went wrong, and what to do."""
    if type(error) is RuntimeError and error.__cause__:  # an upload's error says only which file it was
        error = error.__cause__
    log_in = "Log in with `hf auth login`, or set HF_TOKEN, with a token that has write access."
    if isinstance(error, LocalTokenNotFoundError):
        return f"there is no token for the Hub. {log_in}"
    if not isinstance(error, HfHubHTTPError):
        return (
            f"the Hub at {constants.ENDPOINT} cannot be reached ({_brief(error)}). Check the network, HF_ENDPOINT, "
            "HF_HUB_OFFLINE and the token."
        )
    if error.response.status_code == 401:
        return f"the Hub rejects the token ({_brief(error)}). {log_in}"
    if error.response.status_code == 403:
        return (
            f"the token has no write access to {repo_id} ({_brief(error)}). Log in with one that has, or choose "
            "another repository with --hub_model_id."
        )
    return f"the Hub refused {repo_id} ({_brief(error)}). Try again, or choose another with --hub_model_id."


def _brief(error: Exception) -> str:
    """An error as part of a sentence, without the token, which a server might repeat."""
    text = f"{type(error).__name__}: {' '.join(str(error).split())}"
    return text.replace(get_token() or "\0", "<token>")[:300]
