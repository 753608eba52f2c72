"""A Hub on loopback: the part of its API that huggingface_hub uses to share models; tests can make it fail.

Repositories have real revisions: every commit is a sha with a tree of its own. Everything is held in memory.
"""

import base64
import hashlib
import json
import re
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from urllib.parse import unquote, urlsplit

import pytest
from accelerate.utils import compare_versions


WRITES, READS = "hf_of_you_that_may_write", "hf_of_you_that_only_reads"

# Suffixes of the files that the Hub keeps out of git: the client uploads those separately.
LARGE = (".safetensors", ".bin", ".png")


def sha256(data: bytes) -> str:
    """The name under which content is stored."""
    return hashlib.sha256(data).hexdigest()


@dataclass
class Repository:
    """The trees of all commits, in order, and the branches that point at them."""

    owner: str
    private: bool
    commits: dict[str, dict[str, bytes]] = field(default_factory=dict)
    branches: dict[str, str] = field(default_factory=dict)

    def commit(self, branch: str, tree: dict[str, bytes]) -> str:
        """Adds a commit with this tree; returns its sha."""
        said = repr([len(self.commits), sorted((name, sha256(data)) for name, data in tree.items())])
        sha = hashlib.sha1(said.encode()).hexdigest()
        self.commits[sha], self.branches[branch] = tree, sha
        return sha

    @property
    def files(self) -> dict[str, bytes]:
        """The files on the main branch, except for the one that the Hub itself puts there."""
        tree = self.commits[self.branches["main"]]
        return {name: data for name, data in tree.items() if name != ".gitattributes"}


class Answer(Exception):
    """A refusal: its status, and the message and code that the client looks for."""

    def __init__(self, status: int, message: str, code: str = "", **body):
        self.status, self.body = status, {"error": message, **body}
        self.headers = {"X-Error-Message": message} | ({"X-Error-Code": code} if code else {})


validates_here = pytest.mark.skipif(
    compare_versions("huggingface_hub", "<", "2"),
    reason="before huggingface_hub 2, ModelCard.validate() calls the real Hub, whatever the endpoint",
)

ROUTES = []
PARTS = {"name": r"[^/]+/[^/]+", "rev": r"[^/]+", "content": r"[^/]+", "folder": r".+", "path": r".+"}


def route(command: str, pattern: str):
    """Makes a method of `Handler` answer such requests; its return value is sent as JSON."""

    def register(method):
        ROUTES.append((command, re.sub(r"\{(\w+)\}", lambda m: rf"(?P<{m[1]}>{PARTS[m[1]]})", pattern), method))
        return method

    return register


class Handler(BaseHTTPRequestHandler):
    """One request: finds the method that answers it."""

    protocol_version = "HTTP/1.1"
    wbufsize = -1  # headers and body are sent together, which is faster

    def answer(self):
        path, hub = unquote(urlsplit(self.path).path), self.server
        self.body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        hub.requests.append((self.command, path, self.headers.get("Range")))
        try:
            for pattern, (status, message) in hub.refusals.items():
                if re.search(pattern, path):
                    raise Answer(status, message)
            self.user, self.may_write = self.who()
            for command, pattern, method in ROUTES:
                if self.command.replace("HEAD", "GET") == command and (found := re.fullmatch(pattern, path)):
                    self.send_json(200, method(self, **found.groupdict()))
                    break
            else:
                raise Answer(404, f"no route for {self.command} {path}")
        except Answer as answer:
            self.send_json(answer.status, answer.body, answer.headers)

    do_GET = do_HEAD = do_POST = do_PUT = answer

    # ---- reading and writing ----

    def send_json(self, status: int, body, headers: dict | None = None):
        if body is not None:  # else the route has answered
            self.send(status, json.dumps(body).encode(), {"Content-Type": "application/json", **(headers or {})})

    def send(self, status: int, body: bytes, headers: dict, cut: int | None = None):
        """Sends the response; with `cut`, the connection breaks after that many bytes of the body."""
        self.send_response(status)
        for name, value in {"Content-Length": len(body), **headers}.items():
            self.send_header(name, str(value))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body[:cut])
        self.close_connection = self.close_connection or cut is not None

    def log_message(self, *args):
        pass

    # ---- who makes the request, and for what ----

    def who(self) -> tuple[str | None, bool]:
        token = (self.headers.get("Authorization") or "").removeprefix("Bearer ")
        if token and token not in self.server.tokens:
            raise Answer(401, "Invalid credentials in Authorization header")
        return self.server.tokens.get(token, (None, False))

    def repository(self, name: str, write: bool = False) -> Repository:
        found = self.server.repositories.get(name)
        if found is None or (found.private and found.owner != self.user):
            # The Hub tells others no more than that.
            raise Answer(404 if self.user else 401, "Repository not found", "RepoNotFound")
        if write and not (self.may_write and found.owner == self.user):
            raise Answer(403, "You don't have the rights to write to this repository")
        return found

    def revision(self, name: str, rev: str, write: bool = False) -> tuple[str, dict[str, bytes]]:
        repository = self.repository(name, write)
        sha = repository.branches.get(rev, rev)
        if sha not in repository.commits:
            raise Answer(404, f"Invalid rev id: {rev}", "RevisionNotFound")
        return sha, repository.commits[sha]

    # ---- accounts and repositories ----

    @route("GET", "/api/whoami-v2")
    def whoami(self):
        if self.user is None:
            raise Answer(401, "Invalid username or password.")
        return {"type": "user", "name": self.user, "orgs": []}

    @route("POST", "/api/repos/create")
    def create(self):
        asked = json.loads(self.body)
        owner = asked.get("organization") or self.user
        name = f"{owner}/{asked['name']}"
        if not self.may_write or owner != self.user:
            raise Answer(403, f'You don\'t have the rights to create a model under the namespace "{owner}"')
        url = f"{self.server.url}/{name}"
        if name in self.server.repositories:
            raise Answer(409, "You already created this model repo", url=url)
        self.server.repositories[name] = Repository(owner, asked.get("visibility") == "private")
        self.server.repositories[name].commit("main", {".gitattributes": b"*.bin filter=lfs\n"})
        return {"url": url, "name": name}

    @route("GET", "/api/models/{name}/auth-check/write")
    def may_be_written(self, name):
        self.repository(name, write=True)
        return {}

    @route("POST", "/api/models/{name}/branch/{rev}")
    def branch(self, name, rev):
        repository = self.repository(name, write=True)
        if rev in repository.branches:
            raise Answer(409, f"Reference already exists: {rev}")
        repository.branches[rev] = repository.branches["main"]
        return {}

    @route("GET", "/api/models/{name}/refs")
    def refs(self, name):
        branches = self.repository(name).branches.items()
        found = [{"name": rev, "ref": f"refs/heads/{rev}", "targetCommit": sha} for rev, sha in branches]
        return {"branches": found, "tags": [], "converts": []}

    # ---- push ----

    @route("POST", "/api/validate-yaml")
    def validate(self):
        whole = re.match(r"---\n(.+\n)---\n", json.loads(self.body)["content"], re.DOTALL)
        return {"errors": [] if whole else [{"message": "no metadata block"}], "warnings": []}

    @route("POST", "/api/models/{name}/preupload/{rev}")
    def preupload(self, name, rev):
        self.revision(name, rev, write=True)
        files = json.loads(self.body)["files"]
        for file in files:
            file |= {"uploadMode": "lfs" if file["path"].endswith(LARGE) else "regular", "shouldIgnore": False}
        return {"files": files}

    @route("POST", "/{name}.git/info/lfs/objects/batch")
    def batch(self, name):
        self.repository(name, write=True)
        objects = json.loads(self.body)["objects"]
        for asked in objects:
            if asked["oid"] not in self.server.large:
                asked["actions"] = {"upload": {"href": f"{self.server.url}/lfs/{asked['oid']}"}}
        return {"transfer": "basic", "objects": objects}

    @route("PUT", "/lfs/{content}")
    def upload(self, content):
        if sha256(self.body) != content:
            raise Answer(400, "This is not what was announced")
        self.server.large[content] = self.body
        return {}

    @route("POST", "/api/models/{name}/commit/{rev}")
    def commit(self, name, rev):
        _, tree = self.revision(name, rev, write=True)
        tree = dict(tree)
        for line in self.body.splitlines():
            kind, value = (part := json.loads(line))["key"], part["value"]
            if kind == "file":
                tree[value["path"]] = base64.b64decode(value["content"])
            elif kind == "lfsFile":
                tree[value["path"]] = self.server.large[value["oid"]]
        sha = self.repository(name).commit(rev, tree)
        return {"success": True, "commitOid": sha, "commitUrl": f"{self.server.url}/{name}/commit/{sha}"}

    # ---- pull ----

    @route("GET", "/api/models/{name}(/revision/{rev})?")
    def info(self, name, rev="main"):
        sha, tree = self.revision(name, rev or "main")
        card = tree.get("README.md", b"").decode()
        return {
            "id": name,
            "sha": sha,
            "private": self.repository(name).private,
            "tags": [],
            "siblings": [{"rfilename": path} for path in tree],
            **dict(re.findall(r"^(pipeline_tag|library_name): (.+)$", card, re.MULTILINE)),
        }

    @route("GET", "/api/models/{name}/tree/{rev}(/{folder})?")
    def tree(self, name, rev, folder=None):
        _, tree = self.revision(name, rev)
        found = [path for path in tree if path.startswith(f"{folder}/" if folder else "")]
        if not found:
            raise Answer(404, f"{folder} does not exist", "EntryNotFound")
        return [{"type": "file", "path": p, "size": len(tree[p]), "oid": sha256(tree[p])} for p in found]

    @route("GET", "/{name}/resolve/{rev}/{path}")
    def resolve(self, name, rev, path):
        sha, tree = self.revision(name, rev)
        if path not in tree:
            answer = Answer(404, f"{path} does not exist", "EntryNotFound")
            answer.headers["X-Repo-Commit"] = sha
            raise answer
        data = tree[path]
        headers = {"ETag": f'"{sha256(data)}"', "X-Repo-Commit": sha, "Accept-Ranges": "bytes"}
        if path in self.server.sizes:
            headers["X-Linked-Size"] = self.server.sizes[path]
        first = int((self.headers.get("Range") or "bytes=0-")[len("bytes=") : -1])
        if first:
            headers["Content-Range"] = f"bytes {first}-{len(data) - 1}/{len(data)}"
        cuts = self.server.cuts.get(path)
        cut = cuts.pop(0) if cuts and self.command == "GET" else None
        self.send(206 if first else 200, data[first:], headers, cut)


class Hub(ThreadingHTTPServer):
    """The server, running inside a `with`: its repositories, and the failures that a test asks for.

    Attributes:
        requests: all requests so far, as method, path and Range.
        refusals: pattern of a path -> status and message of the answer.
        cuts: name of a file -> the numbers of bytes after which its next downloads break.
        sizes: name of a file -> the size that is announced for it.
    """

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server_port}"
        self.tokens = {WRITES: ("you", True), READS: ("you", False)}
        self.repositories: dict[str, Repository] = {}
        self.large: dict[str, bytes] = {}
        self.requests: list[tuple[str, str, str | None]] = []
        self.refusals: dict[str, tuple[int, str]] = {}
        self.cuts: dict[str, list[int]] = {}
        self.sizes: dict[str, int] = {}

    def __enter__(self):
        Thread(target=self.serve_forever, args=(0.01,), daemon=True).start()
        return self

    def __exit__(self, *error):
        self.shutdown()
        self.server_close()
