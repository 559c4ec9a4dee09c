import json
from io import StringIO

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sdi_gate.errors import IncomparableError, PublishError, UsageError
from sdi_gate.progress import LineProgress, NullProgress
from sdi_gate.study.pace import duration
from sdi_gate.study.units import Effects, Unit, UnitStore, pending, run_units

QUIET = Effects(progress=NullProgress())


def unit(name, step="measure", key="0" * 16):
    return Unit(step=step, name=name, key=key, task=name)


def fragile(done):
    """Fail as the name says."""
    match done.name:
        case "incomparable":
            raise IncomparableError("another\narchitecture")
        case "bug":
            raise ZeroDivisionError("division by zero")
        case "nan":
            return {"value": float("nan")}
        case "object":
            return {"value": object()}
        case "interrupt":
            raise KeyboardInterrupt
        case _:
            return {"value": done.task}


def test_whatever_fails_is_recorded_in_one_line_and_the_rest_goes_on(tmp_path):
    store = UnitStore(folder=tmp_path)
    units = [unit(name) for name in ("a", "incomparable", "bug", "nan", "object", "b")]
    assert run_units(units, fragile, store, QUIET) == 4
    found = [store.read(each) for each in units]
    assert [done.status for done in found] == ["done", *["failed"] * 4, "done"]
    for done, reason in zip(
        found[1:5],
        (
            "IncomparableError: another architecture",
            "ZeroDivisionError: division by zero",
            "ValueError: Out of range float values",
            "TypeError: Object of type object",
        ),
        strict=True,
    ):
        assert done.reason.startswith(reason)
        assert "\n" not in done.reason
    assert found[0].payload == {"value": "a"}


def test_an_interrupt_passes_and_leaves_no_file(tmp_path):
    store = UnitStore(folder=tmp_path)
    units = [unit("a"), unit("interrupt"), unit("b")]
    with pytest.raises(KeyboardInterrupt):
        run_units(units, fragile, store, QUIET)
    assert [store.read(each) is not None for each in units] == [True, False, False]
    assert pending(store, units) == units[1:]


def test_what_failed_is_tried_again_only_if_asked_for(tmp_path):
    store = UnitStore(folder=tmp_path)
    units = [unit("a"), unit("bug"), unit("c")]
    run_units(units[:2], fragile, store, QUIET)
    assert pending(store, units) == units[2:]
    assert pending(store, units, retry_failed=True) == units[1:]
    run_units(units[1:2], lambda _unit: {}, store, QUIET)
    assert pending(store, units, retry_failed=True) == units[2:]


def test_names_that_look_alike_as_files_and_steps_have_files_of_their_own(tmp_path):
    store = UnitStore(folder=tmp_path)
    units = [
        unit("a/b", key="0" * 16),
        unit("a__b", key="1" * 16),
        unit("a/b", step="build"),
        unit("../../a b:é" * 50, key="2" * 16),
    ]
    paths = {store.path(each) for each in units}
    assert len(paths) == len(units)
    for each in units:
        run_units([each], fragile, store, QUIET)
        assert tmp_path in store.path(each).resolve().parents
        assert json.loads(store.path(each).read_text())["name"] == each.name


def test_a_file_that_is_no_unit_is_one_clear_error(tmp_path):
    store = UnitStore(folder=tmp_path)
    run_units([unit("a")], fragile, store, QUIET)
    store.path(unit("a")).write_text("{")
    with pytest.raises(UsageError, match="cannot read the unit"):
        pending(store, [unit("a")])


def test_a_folder_that_takes_no_file_is_one_clear_error(tmp_path):
    (tmp_path / "units").write_text("")
    with pytest.raises(PublishError, match="cannot write the unit"):
        run_units([unit("a")], fragile, UnitStore(folder=tmp_path), QUIET)


def test_a_log_says_how_far_it_is_and_how_long_the_rest_takes(tmp_path):
    stream, now = StringIO(), iter(range(0, 100_000, 100)).__next__
    lines = LineProgress(stream, clock=now, every_s=1.0)
    effects = Effects(progress=lines, clock=now)
    run_units([unit(str(i)) for i in range(3)], fragile, UnitStore(folder=tmp_path), effects)
    shown = stream.getvalue().splitlines()
    assert shown[-1].startswith("sdi-gate: measure: 3 done in ")
    assert any("1 of 3 done; 0, " in line and line.endswith(" left") for line in shown)


def test_a_log_that_was_asked_for_no_lines_between_has_one_for_each_stage():
    stream = StringIO()
    progress = LineProgress(stream)
    for done in range(4):
        progress.advance("measure", done, 3)
    assert len(stream.getvalue().splitlines()) == 1


@pytest.mark.parametrize(
    ("seconds", "text"), [(12.4, "12 s"), (90.0, "2 min"), (3000.0, "50 min"), (9000.0, "2.5 h")]
)
def test_a_duration_is_said_as_a_person_says_it(seconds, text):
    assert duration(seconds) == text


@given(st.dictionaries(st.text(max_size=20), st.integers(), max_size=5))
def test_a_payload_comes_back_as_it_was(tmp_path_factory, payload):
    store = UnitStore(folder=tmp_path_factory.mktemp("units"))
    run_units([unit("a")], lambda _unit: payload, store, QUIET)
    assert store.read(unit("a")).payload == payload


def test_a_file_of_another_unit_is_not_taken_for_ones_own(tmp_path):
    store = UnitStore(folder=tmp_path)
    run_units([unit("a")], lambda _unit: {}, store, QUIET)
    store.path(unit("b")).write_bytes(store.path(unit("a")).read_bytes())
    with pytest.raises(UsageError, match="is of measure 'a', not of measure 'b'"):
        store.read(unit("b"))
