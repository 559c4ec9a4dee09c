"""Render a run as the comment on a pull request, which is found again by its first line."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.report.runs.pages import Limit, render_page

if TYPE_CHECKING:
    from sdi_gate.report.runs.document import RunDocument

# GitHub's limit for the body of a comment; beyond it the whole comment is refused.
MAX_CHARACTERS = 65_536
MAX_BYTES = 262_144


def comment_marker(key: str, *, is_reported: bool = False) -> str:
    """Return the first line of every comment for a policy.

    Args:
        key: `RunPolicyEntry.key`: 16 hex digits.
        is_reported: Whether it shows what a job of a fork says: such a comment never takes the
            place of one that a job of ours has made.

    Returns:
        A line that no reader sees.
    """
    return f"<!-- sdi-gate:{'reported' if is_reported else 'comment'}:v1:{key} -->"


def render_comment(
    run: RunDocument, *, note: str = "", max_characters: int = MAX_CHARACTERS
) -> str:
    """Render a run as the comment on its pull request.

    Args:
        run: The run; nothing else is looked at, so that another job can render it again.
        note: What has to be known of a run that another job reported, shown above all else; the
            comment is then marked as one of a report.
        max_characters: Greatest length.

    Returns:
        Markdown: the marker of the policy's comment, then the decision. It has at most
        ``max_characters`` characters and 262,144 bytes; where the whole would be longer, detail
        is left out by rank, and the text says which.
    """
    limit = Limit(characters=max_characters, size_bytes=MAX_BYTES, told="a comment")
    marker = comment_marker(run.policy.key, is_reported=bool(note))
    return render_page(run, limit, marker=marker, note=note)
