"""What a GitHub on loopback answers: one method per operation, and the rules of each.

The rules that GitHub's own description lacks are here: how long a comment may be, who may edit
it, what a locked conversation refuses, what is listed at most, which permission is asked for.
"""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any
from urllib.parse import urlencode

from git_host import RAW, Told
from github_state import Account, Change, Comment, PullRequest, State, blob_id, refused, told

if TYPE_CHECKING:
    from collections.abc import Callable

    from github_description import Question

LONGEST_COMMENT = 65_536
MOST_FILES = 3_000
MOST_COMPARED = 300
LARGEST_INLINE = 1024 * 1024

REPO = "/repos/{owner}/{repo}"
# Method and template -> the answering method, and one permission per alternative.
OPERATIONS: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("get", "/user"): ("user", ()),
    ("get", REPO): ("repository", ("metadata=read",)),
    ("get", f"{REPO}/commits/{{commit_sha}}/pulls"): ("pulls_of_commit", ("pull_requests=read",)),
    ("get", f"{REPO}/commits/{{ref}}"): ("commit", ("contents=read",)),
    ("get", f"{REPO}/compare/{{basehead}}"): ("compare", ("contents=read",)),
    ("get", f"{REPO}/contents/{{path}}"): ("content", ("contents=read",)),
    ("get", f"{REPO}/pulls"): ("pulls", ("pull_requests=read",)),
    ("get", f"{REPO}/pulls/{{pull_number}}"): ("pull", ("pull_requests=read",)),
    ("get", f"{REPO}/pulls/{{pull_number}}/files"): ("pull_files", ("pull_requests=read",)),
    ("get", f"{REPO}/issues/{{issue_number}}/comments"): (
        "comments", ("issues=read", "pull_requests=read"),
    ),
    ("post", f"{REPO}/issues/{{issue_number}}/comments"): (
        "create_comment", ("issues=write", "pull_requests=write"),
    ),
    ("patch", f"{REPO}/issues/comments/{{comment_id}}"): (
        "update_comment", ("issues=write", "pull_requests=write"),
    ),
    ("post", f"{REPO}/check-runs"): ("create_check", ("checks=write",)),
    ("patch", f"{REPO}/check-runs/{{check_run_id}}"): ("update_check", ("checks=write",)),
}  # fmt: skip


@dataclass(frozen=True, slots=True, kw_only=True)
class Answers:
    """Answer one question of one account.

    Attributes:
        state: What there is.
        question: What is asked.
        account: Who asks; None without a token.
        url: Root of the API, for links.
        whole: Makes an instance of one of GitHub's schemas out of some fields.
    """

    state: State
    question: Question
    account: Account | None
    url: str
    whole: Callable[[str, dict[str, Any]], dict[str, Any]]

    def answer(self) -> Told:
        name, permissions = OPERATIONS[self.question.method, self.question.template]
        if self.name is not None and not self._exists():
            return refused(404, "Not Found")
        if permissions and not self._may(permissions):
            wanted = "; ".join(permissions)
            message = "Resource not accessible by integration"
            return refused(403, message, X_Accepted_GitHub_Permissions=wanted)
        return getattr(self, name)()

    @property
    def name(self) -> str | None:
        values = self.question.values
        return f"{values['owner']}/{values['repo']}" if "repo" in values else None

    @property
    def sent(self) -> dict[str, Any]:
        return json.loads(self.question.body)

    def user(self) -> Told:
        if self.account is None:
            return refused(401, "Requires authentication")
        if self.account.is_app:
            return refused(403, "Resource not accessible by integration")
        return told(
            200,
            self.whole("private-user", {"login": self.account.login, "user_view_type": "private"}),
        )

    def repository(self) -> Told:
        branch = self.state.default_branches.get(self.name, "main")
        fields = {"full_name": self.name, "default_branch": branch, "url": self._url("")}
        return told(200, self.whole("full-repository", fields))

    def commit(self) -> Told:
        commit = self.state.resolve(self.name, self.question.values["ref"])
        if commit is None:
            return refused(422, f"No commit found for SHA: {self.question.values['ref']}")
        return told(
            200, self.whole("commit", {"sha": commit, "url": self._url(f"/commits/{commit}")})
        )

    def compare(self) -> Told:
        base, _, head = self.question.values["basehead"].partition("...")
        base, head = (self.state.resolve(self.name, ref) for ref in (base, head))
        if base is None or head is None:
            return refused(404, "Not Found")
        merge_base = self.state.merge_base(self.name, base, head)
        if merge_base is None:
            return refused(404, f"No common ancestor between {base} and {head}.")
        files = self.state.difference(self.name, base, head)[:MOST_COMPARED]
        fields = {
            "merge_base_commit": self.whole("commit", {"sha": merge_base}),
            "base_commit": self.whole("commit", {"sha": base}),
            "commits": [],
        }
        # The files stand on the first page only, whatever its size.
        if self.question.query.get("page", "1") == "1":
            fields["files"] = [self._change(change) for change in files]
        return told(200, self.whole("commit-comparison", fields))

    def content(self) -> Told:
        path, ref = self.question.values["path"], self.question.query.get("ref", "HEAD")
        commit = self.state.resolve(self.name, ref)
        if commit is None:
            return refused(404, f"No commit found for the ref {ref}")
        at = (self.name, commit, path)
        about = {
            "name": path.rpartition("/")[2],
            "path": path,
            "url": self._url(f"/contents/{path}"),
        }
        if at in self.state.files:
            return self._file(self.state.files[at], about)
        if at in self.state.kinds:
            kind = self.state.kinds[at]
            return told(200, self.whole(f"content-{kind}", {**about, "type": kind}))
        names = [k[2] for k in self.state.files if k[:2] == at[:2] and k[2].startswith(f"{path}/")]
        if names:
            entries = [{"name": name.rpartition("/")[2], "path": name} for name in names]
            return told(200, [self.whole("content-file", entry) for entry in entries])
        return refused(404, "Not Found")

    def pulls(self) -> Told:
        query = self.question.query
        wanted = query.get("state", "open")
        found = [
            self._pull(number, pull, "pull-request-simple")
            for (repository, number), pull in self.state.pull_requests.items()
            if repository == self.name
            and wanted in {pull.state, "all"}
            and query.get("head", pull.head).lower() == pull.head.lower()
        ]
        return self._page(found)

    def pulls_of_commit(self) -> Told:
        commit = self.question.values["commit_sha"]
        if not self.state.has_commit(self.name, commit):
            return refused(422, f"No commit found for SHA: {commit}")
        found = [
            self._pull(number, pull, "pull-request-simple")
            for (repository, number), pull in self.state.pull_requests.items()
            if repository == self.name and commit in self.state.commits_to(self.name, pull.head_sha)
        ]
        return self._page(found)

    def pull(self) -> Told:
        number = int(self.question.values["pull_number"])
        pull = self.state.pull_requests.get((self.name, number))
        if pull is None:
            return refused(404, "Not Found")
        return told(200, self._pull(number, pull, "pull-request"))

    def pull_files(self) -> Told:
        pull = self.state.pull_requests.get((self.name, int(self.question.values["pull_number"])))
        if pull is None:
            return refused(404, "Not Found")
        files = self.state.files_of(self.name, pull)[:MOST_FILES]
        return self._page([self._change(change) for change in files])

    def comments(self) -> Told:
        at = (self.name, int(self.question.values["issue_number"]))
        if (refusal := self._conversation(at)) is not None:
            return refusal
        found = [one for one in self.state.comments if (one.repository, one.number) == at]
        return self._page([self._comment(one) for one in found])

    def create_comment(self) -> Told:
        at = (self.name, int(self.question.values["issue_number"]))
        if (refusal := self._conversation(at)) is not None:
            return refusal
        pull = self.state.pull_requests[at]
        if pull.locked and not self.account.may_write_when_locked:
            return refused(403, "Unable to create comment because issue is locked.")
        if (refusal := self._too_long()) is not None:
            return refusal
        comment = self.state.comment(*at, self.account.login, self.sent["body"])
        return told(201, self._comment(comment))

    def update_comment(self) -> Told:
        wanted = int(self.question.values["comment_id"])
        found = [c for c in self.state.comments if (c.repository, c.id) == (self.name, wanted)]
        if not found:
            return refused(404, "Not Found")
        (comment,) = found
        if comment.author != self.account.login:
            wanted = "issues=write; pull_requests=write"
            message = "Resource not accessible by integration"
            return refused(403, message, X_Accepted_GitHub_Permissions=wanted)
        if (refusal := self._too_long()) is not None:
            return refusal
        comment.body = self.sent["body"]
        return told(200, self._comment(comment))

    def create_check(self) -> Told:
        sent = self.sent
        if not self.state.has_commit(self.name, sent["head_sha"]):
            return refused(422, f"No commit found for SHA: {sent['head_sha']}")
        if sent.get("status") == "completed" and "conclusion" not in sent:
            return refused(422, 'Invalid request. "conclusion" wasn\'t supplied.')
        run = {"id": 70 + len(self.state.check_runs), "repository": self.name, **sent}
        run["annotations"] = list(sent.get("output", {}).get("annotations", []))
        self.state.check_runs.append(run)
        return told(201, self._check(run))

    def update_check(self) -> Told:
        wanted = int(self.question.values["check_run_id"])
        found = [run for run in self.state.check_runs if run["id"] == wanted]
        if not found or found[0]["repository"] != self.name:
            return refused(404, "Not Found")
        (run,) = found
        sent = self.sent
        run["annotations"] += sent.get("output", {}).get("annotations", [])
        run.update({k: v for k, v in sent.items() if k != "output"})
        run["output"] = {**run.get("output", {}), **sent.get("output", {})}
        return told(200, self._check(run))

    def _url(self, path: str) -> str:
        return f"{self.url}/repos/{self.name}{path}"

    def _by(self, login: str) -> dict[str, Any]:
        return self.whole("simple-user", {"login": login})

    def _exists(self) -> bool:
        readable = frozenset() if self.account is None else self.account.repositories
        hidden = self.name in self.state.private and self.name not in readable
        return self.name in self.state.repositories() and not hidden

    def _may(self, permissions: tuple[str, ...]) -> bool:
        if self.account is None:
            return all(one.endswith("=read") for one in permissions)
        pairs = (one.split("=") for one in permissions)
        is_public = self.name not in self.state.private
        return any(
            self.account.may(name, level) or name == "metadata" or (level == "read" and is_public)
            for name, level in pairs
        )

    def _conversation(self, at: tuple[str, int]) -> Told | None:
        if at in self.state.gone:
            return refused(410, "This issue was deleted")
        return None if at in self.state.pull_requests else refused(404, "Not Found")

    def _too_long(self) -> Told | None:
        if len(self.sent["body"]) <= LONGEST_COMMENT:
            return None
        about = {"resource": "IssueComment", "code": "unprocessable", "field": "data"}
        about["message"] = f"Body is too long (maximum is {LONGEST_COMMENT} characters)"
        return told(422, {"message": "Validation Failed", "errors": [about]})

    def _file(self, content: bytes, about: dict[str, str]) -> Told:
        if "raw" in self.question.headers.get("accept", ""):
            return Told(200, {"Content-Type": RAW}, [content])
        is_inline = len(content) <= LARGEST_INLINE
        text = base64.encodebytes(content).decode() if is_inline else ""
        fields = {"type": "file", "encoding": "base64" if is_inline else "none", "content": text}
        fields |= {"size": len(content), "sha": blob_id(content), **about}
        return told(200, self.whole("content-file", fields))

    def _page(self, items: list[dict[str, Any]]) -> Told:
        query = self.question.query
        size = min(int(query.get("per_page", "30")), 100)
        page = int(query.get("page", "1"))
        last = max(1, -(-len(items) // size))
        path = self.question.template.format(**self.question.values)
        numbers = {"prev": page - 1, "next": page + 1, "last": last, "first": 1}
        links = [
            f'<{self.url}{path}?{urlencode({**query, "page": number})}>; rel="{rel}"'
            for rel, number in numbers.items()
            if 1 <= number <= last and (number < page or rel not in {"prev", "first"})
            and (number > page or rel not in {"next", "last"})
        ]  # fmt: skip
        headers = {"Link": ", ".join(links)} if links else {}
        return told(200, items[(page - 1) * size : page * size], **headers)

    def _change(self, change: Change) -> dict[str, Any]:
        fields = {"filename": change.name, "status": change.status}
        if change.previous is not None:
            fields["previous_filename"] = change.previous
        return self.whole("diff-entry", fields)

    def _pull(self, number: int, pull: PullRequest, schema: str) -> dict[str, Any]:
        owner, _, branch = pull.head.partition(":")
        home = self.name if pull.head_repository == "" else pull.head_repository
        repository = None if home is None else {"full_name": home}
        head = {"sha": pull.head_sha, "ref": branch, "label": pull.head, "user": self._by(owner)}
        fields = {
            "number": number,
            "url": self._url(f"/pulls/{number}"),
            "issue_url": self._url(f"/issues/{number}"),
            "state": pull.state,
            "locked": pull.locked,
            "head": {**head, "repo": repository},
            "base": {"sha": pull.base_sha, "ref": "main", "repo": {"full_name": self.name}},
        }
        if schema == "pull-request":
            num_files = len(self.state.files_of(self.name, pull))
            fields["changed_files"] = num_files if pull.num_files is None else pull.num_files
        return self.whole(schema, fields)

    def _comment(self, comment: Comment) -> dict[str, Any]:
        page = f"https://github.com/{self.name}/pull/{comment.number}#issuecomment-{comment.id}"
        fields = {"id": comment.id, "body": comment.body, "html_url": page}
        fields["url"] = self._url(f"/issues/comments/{comment.id}")
        return self.whole("issue-comment", {**fields, "user": self._by(comment.author)})

    def _check(self, run: dict[str, Any]) -> dict[str, Any]:
        page = f"https://github.com/{self.name}/runs/{run['id']}"
        fields = {k: run[k] for k in ("id", "name", "head_sha") if k in run}
        fields["url"] = self._url(f"/check-runs/{run['id']}")
        fields |= {"html_url": page, "status": run.get("status", "queued")}
        fields["check_suite"] = {"id": 5}
        fields["conclusion"] = run.get("conclusion", "success")
        return self.whole("check-run", fields)
