import json
from datetime import UTC, datetime, timedelta

import pytest
from commands import POLICIES, assert_one_clear_error

SHIPPED = [path for path in sorted(POLICIES.glob("*.yml")) if not path.stem.endswith(".test")]
HEAD = "apiVersion: sdi-gate/v1\nkind: Policy\n"
BAD = f"""{HEAD}metadata: {{name: bad}}
limitz:
  sdi: {{fail: 0.5}}
limits:
  sdi: {{fial: 0.5}}
  coverage: {{fail: 1e-3}}
"""
OWNED = "metadata: {name: x, owner: team, contact: team}\n"
LIMITS = "limits: {sdi: {fail: 0.5}}\n"


def write(path, text):
    path.write_text(text, encoding="utf-8")
    return path


def waiver(identity, first, last):
    return (
        f"  - {{id: {identity}, owner: team, reason: known, approved-by: board, model: m,"
        f" granted: {first:%Y-%m-%d}, expires: {last:%Y-%m-%d}, metric: sdi, limit: 0.7}}\n"
    )


def test_the_shipped_policies_are_valid_and_described(run_here):
    ended = run_here("policy", "validate", *SHIPPED)
    assert (ended.code, ended.err) == (0, "")
    for path in SHIPPED:
        assert path.stem in ended.out


@pytest.mark.parametrize(("kind", "file"), [("Policy", "v1.json"), ("PolicyTest", "test-v1.json")])
def test_the_schema_that_is_printed_is_the_one_that_is_published(run_here, kind, file):
    ended = run_here("policy", "schema", "--kind", kind)
    assert (ended.code, ended.err) == (0, "")
    assert ended.out == (POLICIES / "schema" / file).read_text(encoding="utf-8")


def test_the_schema_of_policies_is_printed_unless_another_is_asked_for(run_here):
    assert run_here("policy", "schema") == run_here("policy", "schema", "--kind", "Policy")


def test_no_text_of_a_policy_forges_a_line_or_moves_the_cursor(run_here, tmp_path):
    path = tmp_path / "a\u202eb\nDigest: forged.yml"
    write(
        path,
        f'{HEAD}metadata:\n  name: x\n  owner: "us\\u00adDigest: forged"\n'
        f'  description: "One.\\nDigest: forged\\u00ad"\n{LIMITS}',
    )
    ended = run_here("policy", "validate", path)
    assert (ended.code, ended.err) == (0, "")
    assert not set(ended.out) & {"\u202e", "\u00ad"}
    assert "\\u202e" in ended.out
    assert "us\\xadDigest: forged" in ended.out
    starts = [line for line in ended.out.splitlines() if line.startswith("Digest: ")]
    assert [start.startswith("Digest: sha256:") for start in starts] == [True]


def test_every_mistake_is_told_with_its_line(run_here, tmp_path):
    path = write(tmp_path / "bad.yml", BAD)
    ended = run_here("policy", "validate", path)
    assert_one_clear_error(ended, 3, f"{path}:4:1: ", f"{path}:7:9: ", f"{path}:8:20: ")
    assert "did you mean 'limits'?" in ended.err
    assert "write 0.001" in ended.err


def test_one_bad_policy_hides_no_good_one_and_no_good_one_hides_a_bad_one(run_here, tmp_path):
    path = write(tmp_path / "bad.yml", "limits: [")
    for files in ((path, SHIPPED[0]), (SHIPPED[0], path)):
        ended = run_here("policy", "validate", *files)
        assert ended.code == 3
        assert SHIPPED[0].stem in ended.out
        assert str(path) in ended.err


def test_the_json_of_good_and_bad_policies_is_one_object(run_here, tmp_path):
    good = write(tmp_path / "good.yml", f"{HEAD}{OWNED}{LIMITS}")
    child = write(
        tmp_path / "child.yml",
        f"{HEAD}metadata: {{name: y, revision: 2}}\nextends: ./good.yml\n"
        "limits: {sdi: {fail: 0.4}}\n",
    )
    bad = write(tmp_path / "bad.yml", "limits: [")
    ended = run_here("policy", "validate", "--json", good, bad, child)
    assert ended.code == 3
    found = json.loads(ended.out)
    assert found["schema"] == "sdi-gate/policy-validate/v1"
    first, second, third = found["policies"]
    digest = run_here("policy", "digest", good).out.split()[-1]
    assert first == {
        "file": str(good),
        "valid": True,
        "policy": {
            "name": "x",
            "revision": None,
            "digest": digest,
            "file": str(good),
            "levels": [str(good)],
            "signature": "not-checked",
            "signature_key": None,
        },
        "remarks": [],
    }
    assert (second["file"], second["valid"]) == (str(bad), False)
    assert str(bad) in second["error"]
    levels = [level.rsplit("/", 1)[-1] for level in third["policy"]["levels"]]
    assert levels == ["good.yml", "child.yml"]
    assert third["policy"]["revision"] == 2
    assert len(third["remarks"]) == 2


def test_an_owner_and_a_contact_that_are_missing_are_remarked_on(run_here, tmp_path):
    path = write(tmp_path / "p.yml", f"{HEAD}metadata: {{name: x}}\n{LIMITS}")
    ended = run_here("policy", "validate", path)
    assert (ended.code, ended.err) == (0, "")
    remarks = [line for line in ended.out.splitlines() if line.startswith("Remark: ")]
    assert ["owner" in remarks[0], "contact" in remarks[1]] == [True, True]
    owned = write(tmp_path / "p.yml", f"{HEAD}{OWNED}{LIMITS}")
    assert "Remark" not in run_here("policy", "validate", owned).out


@pytest.mark.parametrize(
    ("family", "words"),
    [
        ("qwen2", "no model is of family qwen2: models of that type are of family qwen."),
        ("lama", "means only models whose own model_type is lama; it is another one than llama."),
        ("qwen", None),
        ("falcon", None),
    ],
)
@pytest.mark.parametrize(
    "said", ["allowed-families: [{}]\n", "match:\n  - {{match: {{family: {}}}, mode: warn}}\n"]
)
def test_a_family_that_hardly_can_be_meant_is_remarked_on(run_here, tmp_path, family, words, said):
    path = write(tmp_path / "p.yml", f"{HEAD}{OWNED}{LIMITS}{said.format(family)}")
    ended = run_here("policy", "validate", path)
    assert ended.code == 0
    remarks = [line for line in ended.out.splitlines() if line.startswith("Remark: ")]
    assert len(remarks) == (words is not None)
    assert all(f"{path}:" in remark and remark.endswith(words) for remark in remarks)


@pytest.mark.parametrize(
    ("first", "last", "words"),
    [
        (-40, -1, "expired on"),
        (-10, 14, "expires in 14 days"),
        (-10, 1, "expires tomorrow"),
        (-10, 0, "expires today"),
    ],
    ids=["expired", "soon", "tomorrow", "today"],
)
def test_a_waiver_that_ends_soon_or_has_ended_is_remarked_on(
    run_here, tmp_path, first, last, words
):
    now = datetime.now(UTC)
    days = now + timedelta(days=first), now + timedelta(days=last)
    path = write(tmp_path / "p.yml", f"{HEAD}{OWNED}{LIMITS}waivers:\n{waiver('W-1', *days)}")
    ended = run_here("policy", "validate", path)
    assert (ended.code, ended.err) == (0, "")
    (remark,) = (line for line in ended.out.splitlines() if line.startswith("Remark: "))
    assert f"{path}:6: " in remark
    assert f"W-1 {words}" in remark


def test_a_waiver_with_time_left_or_to_come_is_not_remarked_on(run_here, tmp_path):
    now = datetime.now(UTC)
    long = waiver("W-1", now - timedelta(days=1), now + timedelta(days=15))
    later = waiver("W-2", now + timedelta(days=2), now + timedelta(days=5))
    path = write(tmp_path / "p.yml", f"{HEAD}{OWNED}{LIMITS}waivers:\n{long}{later}")
    assert "Remark" not in run_here("policy", "validate", path).out


def test_the_digest_is_printed_as_the_line_that_is_signed(run_here, tmp_path):
    path = write(tmp_path / "p.yml", f"{HEAD}{OWNED}{LIMITS}")
    ended = run_here("policy", "digest", path)
    assert (ended.code, ended.err) == (0, "")
    words = ended.out.removesuffix("\n").split(" ")
    assert words[:2] == ["sdi-gate/v1", "Policy"]
    assert ended.out.count("\n") == 1
    assert f"Digest: {words[2]}\n" in run_here("policy", "validate", path).out


def test_a_policy_that_is_broken_has_no_digest(run_here, tmp_path):
    ended = run_here("policy", "digest", write(tmp_path / "p.yml", BAD))
    assert_one_clear_error(ended, 3, "p.yml:4:1: ")


UNUSABLE = {
    "missing": (None, "cannot be read: No such file"),
    "no-yaml": (b"limits: [", ":1:"),
    "no-text": (b"\xff\xfe", "not UTF-8"),
    "a-list": (b"- 1\n", ":1:1:"),
    "empty": (b"", ":1:1:"),
    "no-limits": (f"{HEAD}metadata: {{name: x}}\n".encode(), "limit"),
    "unknown-keys": (BAD.encode(), ":4:1:"),
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
