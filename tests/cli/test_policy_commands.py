import pytest
from commands import POLICIES, assert_one_clear_error

SHIPPED = sorted(POLICIES.glob("*.yml"))
BAD = """version: 1
name: bad
limitz:
  sdi: {fail: 0.5}
limits:
  sdi: {fial: 0.5}
  coverage: {fail: 1e-3}
"""


def test_the_shipped_policies_are_valid_and_described(run_here):
    ended = run_here("policy", "validate", *SHIPPED)
    assert (ended.code, ended.err) == (0, "")
    for path in SHIPPED:
        assert path.stem in ended.out


def test_the_schema_that_is_printed_is_the_one_that_is_published(run_here):
    ended = run_here("policy", "schema")
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (POLICIES / "schema" / "v1.json").read_text(encoding="utf-8")


def test_no_text_of_a_policy_forges_a_line_or_moves_the_cursor(run_here, tmp_path):
    path = tmp_path / "a\u202eb\nMode observe: forged.yml"
    path.write_text(
        'version: 1\nname: x\nowner: "us\\nMode observe: forged"\n'
        'description: "One.\\nMode observe: forged\\u202e"\nlimits: {sdi: {fail: 0.5}}\n',
        encoding="utf-8",
    )
    ended = run_here("policy", "validate", path)
    assert (ended.code, ended.err) == (0, "")
    assert "\u202e" not in ended.out
    assert "\\u202e" in ended.out
    starts = [line for line in ended.out.splitlines() if line.startswith("Mode ")]
    assert starts == ["Mode enforce: a verdict of fail or inconclusive closes the gate."]


def test_every_mistake_is_told_with_its_line(run_here, tmp_path):
    path = tmp_path / "bad.yml"
    path.write_text(BAD, encoding="utf-8")
    ended = run_here("policy", "validate", path)
    assert_one_clear_error(ended, 3, f"{path}:3:1: ", f"{path}:6:9: ", f"{path}:7:20: ")
    assert "did you mean 'limits'?" in ended.err or 'did you mean "limits"?' in ended.err
    assert "write 0.001" in ended.err


def test_one_bad_policy_hides_no_good_one_and_no_good_one_hides_a_bad_one(run_here, tmp_path):
    path = tmp_path / "bad.yml"
    path.write_text("limits: [", encoding="utf-8")
    for files in ((path, SHIPPED[0]), (SHIPPED[0], path)):
        ended = run_here("policy", "validate", *files)
        assert ended.code == 3
        assert SHIPPED[0].stem in ended.out
        assert str(path) in ended.err


UNUSABLE = {
    "missing": (None, "cannot be read: No such file"),
    "no-yaml": (b"limits: [", ":1:"),
    "no-text": (b"\xff\xfe", "not UTF-8"),
    "a-list": (b"- 1\n", ":1:1:"),
    "empty": (b"", ":1:1:"),
    "no-limits": (b"version: 1\nname: x\n", "limits"),
    "unknown-keys": (BAD.encode(), ":3:1:"),
}


@pytest.mark.parametrize(("content", "words"), UNUSABLE.values(), ids=UNUSABLE)
def test_no_scan_starts_under_a_policy_that_cannot_be_used(
    content, words, check_here, models, tmp_path
):
    path = tmp_path / "policy.yml"
    if content is not None:
        path.write_bytes(content)
    ended = check_here(models / "near", policy=path)
    assert_one_clear_error(ended, 3, str(path), words)
    assert not (tmp_path / "out").exists()
    assert run_lines(ended) == {"sdi-gate"}


def run_lines(ended):
    return {line.split(":")[0] for line in ended.err.splitlines()}
