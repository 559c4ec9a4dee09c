"""Speak to GitHub, or to an Enterprise Server, about what a check on models needs."""

from __future__ import annotations

from sdi_gate.integrations.github.check_runs import CheckRun, CheckRuns
from sdi_gate.integrations.github.comments import CommentOutcome, Comments
from sdi_gate.integrations.github.line import Bounds, Clock, Line
from sdi_gate.integrations.github.pull_requests import ChangedFiles, PullRequests
from sdi_gate.integrations.github.repositories import Repositories

API_URL = "https://api.github.com"


class GitHub:
    """Read repositories and pull requests, and write comments and check runs.

    Every method raises `GitHubError`, and nothing else, where GitHub cannot be asked or refuses.

    Args:
        api_url: Root of the API, as in GITHUB_API_URL; None for GitHub's.
        token: Token of all requests, if any. It is sent to that server only: redirects are
            refused.
        bounds: What may be spent.
        clock: Time, for tests.

    Raises:
        GitHubError: If the address or the token cannot be used.
    """

    def __init__(
        self,
        *,
        api_url: str | None = None,
        token: str | None = None,
        bounds: Bounds | None = None,
        clock: Clock | None = None,
    ) -> None:
        # An Actions secret that is not set arrives as an empty string.
        self._has_token = bool(token)
        self._line = Line(api_url or API_URL, token or None, bounds or Bounds(), clock or Clock())

    def __repr__(self) -> str:
        """Return the client without its token."""
        return f"GitHub(host={self.host!r}, token={'set' if self._has_token else 'none'})"

    @property
    def host(self) -> str:
        """Server that is asked, fit to be shown."""
        return self._line.host

    def default_branch(self, repository: str) -> str:
        """Look up the default branch.

        Args:
            repository: ``owner/name``.

        Returns:
            Its name, printable; give `commit_of` ``heads/NAME``.
        """
        return self._repositories().default_branch(repository)

    def commit_of(self, repository: str, ref: str) -> str:
        """Look up the commit that a name means now.

        Args:
            repository: ``owner/name``.
            ref: ``heads/BRANCH``, ``tags/TAG``, or a commit.

        Returns:
            40 hex digits; those of `ref` if it has 40.
        """
        return self._repositories().commit_of(repository, ref)

    def merge_base(self, repository: str, base_sha: str, head_sha: str) -> str:
        """Look up where one commit left the history of another.

        Args:
            repository: ``owner/name``.
            base_sha: 40 hex digits.
            head_sha: 40 hex digits.

        Returns:
            40 hex digits.
        """
        return self._repositories().merge_base(repository, base_sha, head_sha)

    def changed_files(
        self, repository: str, *, pull_request: int | None, base_sha: str, head_sha: str
    ) -> ChangedFiles:
        """List the files that differ between a merge base and a head.

        Args:
            repository: ``owner/name``.
            pull_request: Its number, whose list may have 3,000 files; None compares commits,
                whose list may have 300.
            base_sha: 40 hex digits; not looked at where there is a pull request.
            head_sha: 40 hex digits.

        Returns:
            The files; not complete where GitHub lists no more, where it counts others than it
            lists, and where the pull request has another head by now.
        """
        return self._pull_requests().changed_files(
            repository, pull_request=pull_request, base_sha=base_sha, head_sha=head_sha
        )

    def read_file(self, repository: str, path: str, commit: str, *, max_bytes: int) -> bytes | None:
        """Read a file at a commit.

        Args:
            repository: ``owner/name``.
            path: Path in the repository, without ``.`` and ``..``.
            commit: 40 hex digits.
            max_bytes: Largest file that is read; GitHub sends no more than 1 MiB.

        Returns:
            The content, of which git's own name was checked; None if the commit is there and has
            no such file. Of a link inside the repository GitHub sends the file that it leads to.
        """
        return self._repositories().read_file(repository, path, commit, max_bytes=max_bytes)

    def pull_request_of(self, repository: str, *, head: str | None, head_sha: str) -> int | None:
        """Find the one open pull request that has a commit as its head.

        Args:
            repository: ``owner/name`` that it asks to change.
            head: ``owner:branch`` it comes from, if it is known; looked for first.
            head_sha: 40 hex digits.

        Returns:
            Its number; None if there is none, or there are several.
        """
        return self._pull_requests().pull_request_of(repository, head=head, head_sha=head_sha)

    def viewer(self) -> str | None:
        """Look up whose token this is.

        Returns:
            A login; None for the token of a job or an app, which may not ask.
        """
        self._line.begin()
        return Comments(line=self._line).viewer()

    def upsert_comment(
        self,
        repository: str,
        number: int,
        *,
        marker: str,
        body: str,
        author: str,
        only_existing: bool = False,
    ) -> CommentOutcome:
        """Make one comment, or bring ours up to date.

        Ours is the oldest whose first line is the marker and whose author is `author`. Where there
        are several, the others are left as they are: they may be of a run that races with this.

        Args:
            repository: ``owner/name``.
            number: Number of the pull request.
            marker: First line of our comments of this kind.
            body: The comment, which starts with the marker; at most 65,536 characters.
            author: Login whose comments are ours, whatever the case of its letters; an app's ends
                with ``[bot]``.
            only_existing: Whether to make none where there is none of ours.

        Returns:
            What was done. Nothing is sent where the comment says all that already.
        """
        self._line.begin()
        return Comments(line=self._line).upsert(
            repository,
            number,
            marker=marker,
            body=body,
            author=author,
            only_existing=only_existing,
        )

    def create_check_run(self, repository: str, run: CheckRun) -> str:
        """Write a check run, in as many requests as its annotations need.

        Args:
            repository: ``owner/name``.
            run: The check run.

        Returns:
            Where it can be looked at; empty if GitHub did not say.
        """
        self._line.begin()
        return CheckRuns(line=self._line).create(repository, run)

    def _repositories(self) -> Repositories:
        self._line.begin()
        return Repositories(line=self._line)

    def _pull_requests(self) -> PullRequests:
        return PullRequests(line=self._line, repositories=self._repositories())
