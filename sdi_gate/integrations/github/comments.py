"""Keep one comment on a pull request, and keep it up to date."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import TYPE_CHECKING

from sdi_gate.integrations.github.errors import GitHubError, shown
from sdi_gate.integrations.github.line import Request, path_to

if TYPE_CHECKING:
    from sdi_gate.integrations.github.fields import Fields
    from sdi_gate.integrations.github.line import Line

LONGEST_COMMENT = 65_536

_GONE = frozenset({404, 410})
_LOGIN = re.compile(r"[A-Za-z0-9_.-]{1,100}(\[bot\])?")
_NUM_REPEATS = 2


class Done(StrEnum):
    """Say what became of a comment."""

    CREATED = "created"
    UPDATED = "updated"
    UNCHANGED = "unchanged"
    ABSENT = "absent"


@dataclass(frozen=True, slots=True, kw_only=True)
class CommentOutcome:
    """Hold what became of a comment.

    Attributes:
        done: What was done.
        url: Where it can be read; empty if GitHub did not say.
    """

    done: Done
    url: str

    @property
    def told(self) -> str:
        """Return the same as one line of a log."""
        if self.done is Done.ABSENT:
            return "no comment: none is called for, and there is none to update"
        return f"comment {self.done}: {self.url}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Comments:
    """Write comments.

    Attributes:
        line: Asks the server.
    """

    line: Line

    def viewer(self) -> str | None:
        """See `GitHub.viewer`.

        Returns:
            A login; None if the token is of nobody.

        Raises:
            GitHubError: If the server cannot be asked, or refuses the token.
        """
        try:
            answer = self.line.one(Request(what="look up whose token this is", path="/user"))
        except GitHubError as exc:
            if exc.status in {403, 404}:
                return None
            raise
        login = answer.text("login")
        if not _LOGIN.fullmatch(login):
            raise answer.wrong("its login is none")
        return login

    def upsert(
        self,
        repository: str,
        number: int,
        *,
        marker: str,
        body: str,
        author: str,
        only_existing: bool = False,
    ) -> CommentOutcome:
        """See `GitHub.upsert_comment`.

        Args:
            repository: ``owner/name``.
            number: Number of the pull request.
            marker: First line of our comments of this kind.
            body: The comment.
            author: Login whose comments are ours.
            only_existing: Whether to leave it where there is no comment of ours.

        Returns:
            What was done.

        Raises:
            GitHubError: If the comment could not be made.
            ValueError: If the comment does not start with its marker.
        """
        if not marker or not author or _first_line(body) != marker:
            msg = "a comment starts with its marker, and has an author"
            raise ValueError(msg)
        if len(body) > LONGEST_COMMENT:
            msg = f"a comment of {len(body):,} characters is longer than {LONGEST_COMMENT:,}"
            raise GitHubError(msg, hint="GitHub refuses it as a whole; write less")
        place = _Place(repository=repository, number=number)
        attempt = 0
        while True:
            own = self._own(place, marker, author)
            if own is not None and (outcome := self._update(place, own, body)) is not None:
                return outcome
            if only_existing:
                return CommentOutcome(done=Done.ABSENT, url="")
            try:
                return self._create(place, body)
            except GitHubError as exc:
                # Who does not know whether the comment was made looks again, or makes two.
                is_known = exc.status is not None and exc.status < 500
                if is_known or attempt == _NUM_REPEATS:
                    raise
                self.line.pause(attempt)
                attempt += 1

    def _own(self, place: _Place, marker: str, author: str) -> Fields | None:
        comments = Request(what=f"list the comments on {place}", path=place.path)
        for comment in self.line.all(comments):
            # Of an account that is gone there is no login; a comment can be without a text.
            if comment.values.get("user") is None or comment.values.get("body") is None:
                continue
            is_by_us = comment.part("user").text("login").lower() == author.lower()
            if is_by_us and _first_line(comment.text("body")) == marker:
                return comment
        return None

    def _update(self, place: _Place, own: Fields, body: str) -> CommentOutcome | None:
        if _same(own.text("body"), body):
            return CommentOutcome(done=Done.UNCHANGED, url=own.page())
        path = path_to(place.repository, "issues", "comments", str(own.number("id")))
        what = f"update the comment on {place}"
        try:
            answer = self.line.one(
                Request(what=what, path=path, method="PATCH", body={"body": body})
            )
        except GitHubError as exc:
            if exc.status in _GONE:
                return None
            raise
        return CommentOutcome(done=Done.UPDATED, url=answer.page())

    def _create(self, place: _Place, body: str) -> CommentOutcome:
        answer = self.line.one(
            Request(
                what=f"comment on {place}",
                path=place.path,
                method="POST",
                body={"body": body},
                is_repeatable=False,
            )
        )
        return CommentOutcome(done=Done.CREATED, url=answer.page())


@dataclass(frozen=True, slots=True, kw_only=True)
class _Place:
    repository: str
    number: int

    def __str__(self) -> str:
        return f"{shown(self.repository)}#{self.number}"

    @property
    def path(self) -> str:
        return path_to(self.repository, "issues", str(self.number), "comments")


def _first_line(body: str) -> str:
    return body.partition("\n")[0].removesuffix("\r")


def _same(there: str, body: str) -> bool:
    # What is typed into a browser comes with other line ends, and ends are trimmed.
    return there.replace("\r\n", "\n").rstrip() == body.replace("\r\n", "\n").rstrip()
