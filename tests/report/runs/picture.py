"""Take a picture of a comment as a reader of GitHub sees it.

A program, not a test: ``python tests/report/runs/picture.py COMMENT.md OUT.png [HEIGHT]``. The
Markdown goes through GitHub's parser (cmarkgfm), charts through mermaid of .venv/node, which
``make test`` installs, and the page through chromium without a window. Nothing is fetched.
"""

import html
import re
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import cmarkgfm
from cmarkgfm.cmark import Options

_MERMAID = Path(__file__).parents[3] / ".venv/node/node_modules/mermaid/dist/mermaid.min.js"
_STYLE = """
body { font: 14px/1.5 -apple-system, "Segoe UI", "DejaVu Sans", sans-serif; color: #1f2328;
  margin: 16px auto; max-width: 860px; border: 1px solid #d1d9e0; border-radius: 6px;
  padding: 16px; }
h2 { border-bottom: 1px solid #d1d9e0; padding-bottom: .3em; }
table { border-collapse: collapse; display: block; overflow: auto; max-width: 100%; }
th, td { border: 1px solid #d1d9e0; padding: 6px 13px; }
tr:nth-child(2n) { background: #f6f8fa; }
pre { background: #f6f8fa; padding: 16px; border-radius: 6px; overflow: auto; font-size: 85%; }
pre.mermaid { background: none; }
blockquote { color: #59636e; border-left: .25em solid #d1d9e0; margin: 0 0 16px; padding: 0 1em; }
blockquote.alert { color: inherit; border-color: #9a6700; }
details { margin-bottom: 10px; }
"""
_CHART = re.compile(r'<pre lang="mermaid"><code>(.*?)</code></pre>', re.DOTALL)


def page(markdown):
    """Return the HTML page of a comment.

    Args:
        markdown: Text of the comment.

    Returns:
        The page, which draws its charts when it is opened.
    """
    body = cmarkgfm.github_flavored_markdown_to_html(markdown, Options.CMARK_OPT_UNSAFE)
    body = _CHART.sub(r'<pre class="mermaid">\1</pre>', body)
    alert = "<blockquote>\n<p>[!WARNING]"
    body = body.replace(alert, '<blockquote class="alert">\n<p><b>Warning</b><br>')
    script = f"<script src={html.escape(_MERMAID.as_uri())!r}></script>"
    start = "<script>mermaid.initialize({startOnLoad: true})</script>"
    head = f'<!doctype html><meta charset="utf-8"><style>{_STYLE}</style>'
    return f"{head}{body}{script}{start}"


def main(argv):
    """Take the picture.

    Args:
        argv: Names of the Markdown and of the picture, and the picture's height in pixels.

    Returns:
        Exit code.
    """
    source, target, *height = argv
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "page.html"
        file.write_text(page(Path(source).read_text(encoding="utf-8")), encoding="utf-8")
        command = [
            shutil.which("chromium") or "chromium",
            *("--headless", "--no-sandbox", "--disable-gpu", "--hide-scrollbars"),
            *(f"--user-data-dir={folder}/profile", "--virtual-time-budget=10000"),
            *(f"--window-size=1000,{height[0] if height else 2400}", f"--screenshot={target}"),
            file.as_uri(),
        ]
        return subprocess.run(command, check=False).returncode  # noqa: S603 - our own command


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
