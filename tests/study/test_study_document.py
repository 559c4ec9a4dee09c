import re
from pathlib import Path
from xml.etree import ElementTree as ET

import matplotlib as mpl
import pytest
import study_fits

from sdi_gate.errors import PublishError
from sdi_gate.report.parts import ABSENT
from sdi_gate.study.document.figures.draw import NAMES, draw
from sdi_gate.study.document.figures.scatter import scatter
from sdi_gate.study.document.figures.style import COLOURS, MARKERS, drawing, marks
from sdi_gate.study.document.figures.thresholds import thresholds
from sdi_gate.study.document.markdown import render_markdown
from sdi_gate.study.document.rivals import highest, rivals
from sdi_gate.study.document.view import view_of
from sdi_gate.study.document.write import write_document
from sdi_gate.study.fit.result import CurveEntry
from sdi_gate.study.row import Cost

SVG = "{http://www.w3.org/2000/svg}"
LINK = "{http://www.w3.org/1999/xlink}href"
MAX_BYTES = 150_000


@pytest.fixture(scope="module")
def rows():
    made = study_fits.varied(study_fits.rows())
    reason = "measure: SourceError: cannot read '/srv/secret/place/x.safetensors'"
    cost = Cost(build_s=1.0, measure_s=2.0, evaluate_s=None)
    made = [row.model_copy(update={"cost": cost}) for row in made]
    return [study_fits.failed(made[0], reason), *made[1:]]


@pytest.fixture(scope="module")
def fit(rows):
    return study_fits.fitted(rows)


@pytest.fixture(scope="module")
def figures(fit):
    return draw(fit)


@pytest.fixture
def drawn(monkeypatch, figures):
    """Take the figures as drawn: they depend on the fit alone, and drawing is slow."""
    monkeypatch.setattr("sdi_gate.study.document.write.draw", lambda _: figures)


@pytest.fixture(scope="module")
def document(fit, rows, tmp_path_factory):
    path = tmp_path_factory.mktemp("study") / "docs" / "study.md"
    write_document(fit, rows, path)
    return path


@pytest.fixture(scope="module")
def text(document):
    return document.read_text()


def contents(folder):
    return {
        path.relative_to(folder): path.read_bytes()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


def tables(text):
    """Return the lines of each table of a Markdown text."""
    return [block.splitlines() for block in re.findall(r"(?:^\|.*\n)+", text, re.MULTILINE)]


def cells(line):
    return line.strip("|").split("|")


def test_written_twice_no_byte_changes_and_no_file_is_touched(document, fit, rows):
    before = contents(document.parent)
    times = {path: path.stat().st_mtime_ns for path in document.parent.rglob("*")}
    write_document(fit, rows, document)
    assert contents(document.parent) == before
    assert {path: path.stat().st_mtime_ns for path in document.parent.rglob("*")} == times


@pytest.mark.usefixtures("drawn")
def test_the_order_of_the_rows_changes_no_byte(document, fit, rows, tmp_path):
    other = tmp_path / "other" / "study.md"
    write_document(fit, rows[::-1], other)
    assert contents(other.parent) == contents(document.parent)


def test_settings_of_the_users_matplotlib_change_no_byte(document, fit, rows, tmp_path):
    other = tmp_path / "other" / "study.md"
    mine = {"font.size": 30.0, "axes.facecolor": "red", "svg.hashsalt": None}
    with mpl.rc_context(mine):
        write_document(fit, rows, other)
        assert mpl.rcParams["font.size"] == 30.0
    assert contents(other.parent) == contents(document.parent)


def test_every_section_is_there_in_order(text):
    heads = re.findall(r"^## (.*)$", text, re.MULTILINE)
    assert heads == [
        "The answer",
        "Method",
        "Results",
        "Baselines",
        "Figures",
        "What failed and why",
        "Cost",
        "What it does not say",
        "Rebuild it",
    ]


def test_every_link_of_the_document_leads_somewhere(document, text):
    anchors = {
        re.sub(r"[^a-z0-9 -]", "", head.lower()).replace(" ", "-")
        for head in re.findall(r"^#+ (.*)$", text, re.MULTILINE)
    }
    for target in re.findall(r"\]\(([^)]*)\)", text):
        if target.startswith("#"):
            assert target[1:] in anchors
        else:
            # Figures lie beside it; the rest is in the folder of the repository where it belongs.
            docs = Path(__file__).parents[2] / "docs"
            assert any((folder / target).is_file() for folder in (document.parent, docs))


def test_every_row_of_a_table_has_as_many_cells_as_its_head(text):
    found = tables(text)
    assert len(found) > 15
    for head, rule, *body in found:
        assert re.fullmatch(r"\|(-{3}|--:)(\|(-{3}|--:))*\|", rule)
        assert {len(cells(line)) for line in (head, rule, *body)} == {len(cells(head))}


def test_a_failed_pair_is_named_with_its_reason_and_without_folders(text, rows):
    assert rows[0].pair in text
    assert "cannot read '…/x.safetensors'" in text
    assert "/root" not in text


def test_no_path_of_this_machine_is_in_any_file(document):
    for content in contents(document.parent).values():
        assert str(document.parent).encode() not in content
        assert b"/home/" not in content


def test_recipes_and_doses_of_the_variants_are_told(text):
    assert "| noise | 0.4 | degraded | noise, relative 0.4 |" in text
    assert "| train | 1 | degraded | train, steps 40, 0.5 junk + 0.5 replay |" in text
    told = r" \| degraded \| ablate, layer \d( or ablate, layer \d)+ \|"
    assert re.search(rf"\| ablate \| {ABSENT}{told}", text)
    assert re.search(r"\| prune \| 0.5 \| degraded \| \d+ different ones \|", text)


def test_the_micro_benchmark_is_among_the_baselines(text, figures):
    assert "| micro-benchmark of 250 items |" in text
    assert b"micro-benchmark of 250 items" in figures[1].svg


def test_the_kinds_of_damage_that_are_misjudged_most_are_named(text):
    section = text.split("### Kinds of damage")[1]
    errors = [float(cells(line)[4]) for line in tables(section)[0][2:]]
    assert errors == sorted(errors, reverse=True)
    assert ("Overestimated most" in section) == (errors[0] > 0)
    assert ("Underestimated most" in section) == (errors[-1] < 0)


def test_an_index_without_folds_has_no_stability_to_tell(fit, rows):
    without = study_fits.with_index(fit, folds=())
    assert f"| {ABSENT} | {ABSENT} |" in render_markdown(view_of(without, rows, ()), "figures")


def test_what_was_not_measured_is_said(text):
    assert "public.yaml`, is not yet measured" in text
    assert "`make study-gpu` runs the same recipes on larger organisms" in text
    assert "not measured here" in text


def test_rows_of_the_large_scale_are_not_called_unmeasured(fit, rows):
    large = fit.model_copy(update={"scales": ("large",)})
    text = render_markdown(view_of(large, rows, ()), "figures")
    assert "not measured here" not in text
    assert "$ make study-gpu " in text
    assert "$ sdi-gate study report --manifest organisms-large " in text


def test_hostile_names_are_shown_and_are_no_structure(rows, tmp_path):
    hostile = [
        row.model_copy(
            update={
                "pair": f"{study_fits.HOSTILE}{row.pair}\n# head",
                "family": f"{study_fits.HOSTILE}\x00{row.family}",
                "base": f"{study_fits.HOSTILE}{row.base}",
                "variant": study_fits.HOSTILE,
                "size": study_fits.HOSTILE,
                "recipe": {study_fits.HOSTILE: study_fits.HOSTILE},
                "versions": {study_fits.HOSTILE: study_fits.HOSTILE},
                "signal_ids": (f"behaviour/1?{study_fits.HOSTILE}",),
                "reason": study_fits.HOSTILE if row.reason else None,
            }
        )
        for row in rows
    ]
    path = tmp_path / "study.md"
    write_document(study_fits.fitted(hostile), hostile, path)
    text = path.read_text()
    assert "<script" not in text
    assert not re.search(r"(?<!\\)\]\(http", text)
    assert "\n# head" not in text
    assert "@you" not in text
    for head, *body in tables(text):
        assert {len(cells(line)) for line in body} == {len(cells(head))}
    for picture in path.parent.rglob("*.svg"):
        assert b"<script" not in picture.read_bytes()
        ET.fromstring(picture.read_bytes())  # noqa: S314 - our own text


@pytest.mark.parametrize(
    ("left_out", "told"),
    [
        ("base", "on pairs of a base that had no part in the fit"),
        ("pair", "on pairs that had no part in the fit, of a base that had"),
    ],
)
def test_a_single_family_is_said_to_prove_nothing_of_others(fit, rows, left_out, told):
    alone = study_fits.with_tier(fit, left_out=left_out)
    text = render_markdown(view_of(alone, rows, ()), "figures")
    assert "There was no second family to leave out" in text
    assert told in text
    assert "| met |" not in text


def test_without_an_index_the_document_says_so_and_has_no_figures(fit, rows, tmp_path):
    document = tmp_path / "study.md"
    stale = tmp_path / "figures" / NAMES[0]
    stale.parent.mkdir()
    stale.write_text("of a former run")
    reason = "3 complete pairs; expected more"
    changes = {"sdi": None, "sdi_plus": None, "reason": reason, "baselines": (), "candidates": ()}
    empty = fit
    for tier in fit.tiers:
        empty = study_fits.with_tier(empty, tier, **changes, differences=())
    assert write_document(empty, rows, document) == (document,)
    text = document.read_text()
    assert text.count(f"No index: {reason}") == 3
    assert not stale.exists()
    assert "![" not in text


def test_a_model_that_was_never_read_has_no_parameters(fit, rows):
    unread = [row.model_copy(update={"num_parameters": None, "seed": None}) for row in rows]
    text = render_markdown(view_of(fit, unread, ()), "figures")
    assert f"| llama | s | {ABSENT} | {ABSENT} | 2 |" in text


def test_public_models_are_not_called_organisms(fit, rows):
    public = fit.model_copy(update={"population": "public"})
    text = render_markdown(view_of(public, rows, ()), "figures")
    assert "organism" not in text.lower()
    assert "--manifest public " in text
    assert "Nothing about models that are unlike these" in text


@pytest.mark.usefixtures("drawn")
def test_the_figures_may_lie_elsewhere(fit, rows, tmp_path):
    path = tmp_path / "docs" / "study.md"
    files = write_document(fit, rows, path, tmp_path / "my pictures")
    assert {file.name for file in files[1:]} == set(NAMES)
    assert "](../my%20pictures/study-scatter.svg)" in path.read_text()


@pytest.mark.usefixtures("drawn")
def test_a_folder_that_cannot_be_written_is_told(fit, rows, tmp_path):
    (tmp_path / "docs").write_text("in the way")
    with pytest.raises(PublishError, match="cannot write"):
        write_document(fit, rows, tmp_path / "docs" / "study.md")


def test_the_figures_are_plain_svg_on_white(figures):
    assert tuple(figure.name for figure in figures) == NAMES
    for figure in figures:
        assert len(figure.svg) < MAX_BYTES
        root = ET.fromstring(figure.svg)  # noqa: S314 - our own text
        assert root.tag == f"{SVG}svg"
        tags = {element.tag.removeprefix(SVG) for element in root.iter()}
        assert tags <= {
            "svg",
            "defs",
            "style",
            "g",
            "path",
            "use",
            "text",
            "tspan",
            "clipPath",
            "rect",
        }
        links = [element.get(LINK) for element in root.iter() if element.get(LINK)]
        assert all(link.startswith("#") for link in links)
        assert not re.search(rb"url\((?!#)|@import|DOCTYPE|<!ENTITY", figure.svg)
        background = next(root.iter(f"{SVG}path"))
        assert "fill: #ffffff" in background.get("style")
        fonts = set(re.findall(rb"font-family: ([^;\"]*)", figure.svg))
        assert fonts == {b"sans-serif"}


def test_text_of_the_figures_stays_text(figures):
    for figure in figures:
        root = ET.fromstring(figure.svg)  # noqa: S314 - our own text
        text = " ".join("".join(element.itertext()) for element in root.iter(f"{SVG}text"))
        assert figure.title in text


def test_a_figure_of_many_pairs_stays_small(fit):
    # Twenty bases with twenty-eight variants each.
    times = 560 // len(fit.pairs) + 1
    names = {pair.pair: [f"{pair.pair}-{i}" for i in range(times)] for pair in fit.pairs}
    pairs = tuple(
        pair.model_copy(update={"pair": name}) for pair in fit.pairs for name in names[pair.pair]
    )
    sdi = fit.tiers["full"].sdi
    scores = tuple(
        item.model_copy(update={"pair": name}) for item in sdi.pairs for name in names[item.pair]
    )
    many = study_fits.with_index(fit.model_copy(update={"pairs": pairs}), pairs=scores)
    assert len(pairs) >= 560
    with drawing():
        assert len(scatter(many, "full", "family", many.tiers["full"].sdi).svg) < MAX_BYTES


def test_no_two_families_share_colour_and_marker():
    names = [str(i) for i in range(len(COLOURS) * len(MARKERS))]
    found = marks(names)
    assert len(set(found.values())) == len(names)
    assert len({marker for _, marker in [found[name] for name in names[:7]]}) == 7


def test_a_lower_tier_is_looked_at_if_the_full_one_has_no_index(fit):
    without = study_fits.with_tier(fit, sdi=None, sdi_plus=None, reason="too few")
    assert highest(without) == ("probe", fit.tiers["probe"])
    assert rivals(without).tier == "probe"


def test_undefined_numbers_are_left_out_of_the_figures(fit):
    sdi = fit.tiers["full"].sdi
    rho = sdi.evidence.rho.model_copy(update={"value": None, "lower": None, "upper": None})
    blank = tuple(
        item.model_copy(update={"misses": None, "false_alarms": None}) for item in sdi.curve
    )
    candidates = tuple(
        item.model_copy(update={"rho": item.rho.model_copy(update={"lower": None, "upper": None})})
        for item in fit.tiers["full"].candidates
    )
    doctored = study_fits.with_evidence(fit, rho=rho, within={})
    doctored = study_fits.with_index(doctored, curve=blank, threshold=None)
    doctored = study_fits.with_tier(doctored, candidates=candidates, baselines=())
    for figure in draw(doctored):
        assert b"nan" not in figure.svg.lower()
        ET.fromstring(figure.svg)  # noqa: S314 - our own text


@pytest.mark.parametrize(
    ("rates", "told"),
    [
        ({0.3: (0.15, 0.25), 0.4: (0.1, 0.2), 0.5: (0.16, 0.1)}, "0.30 to 0.40"),
        ({0.3: (0.0, 0.26), 0.4: (0.15, 0.25)}, "0.40"),
    ],
)
def test_the_thresholds_that_keep_both_targets_are_told(fit, rates, told):
    sdi = fit.tiers["full"].sdi
    curve = tuple(
        CurveEntry(threshold=at, misses=misses, false_alarms=alarms)
        for at, (misses, alarms) in rates.items()
    )
    with drawing():
        figure = thresholds("full", sdi.model_copy(update={"curve": curve}))
    assert figure.title == f"Tier full: thresholds that keep both targets: {told}"


def test_models_of_one_size_have_one_number_of_parameters(fit, rows):
    same = fit.model_copy(update={"min_parameters": 1234, "max_parameters": 1234})
    assert "models of 1,234 parameters" in render_markdown(view_of(same, rows, ()), "figures")


def section_of(text, start):
    return text.partition(start)[2].partition("\n### Tier")[0]


def test_each_tier_shows_what_it_predicts_for_the_mean_and_for_each_axis(fit, text):
    own = tables(section_of(text, "### Tier full"))
    axes = next(table for table in own if "Explained" in table[0])
    intervals = next(table for table in own if "95 %: holds" in table[0])
    names = [[cells(line)[0].strip() for line in table[2:]] for table in (axes, intervals)]
    assert names == [["mean of the axes", *fit.axes]] * 2
    entry = fit.tiers["full"].sdi.axes["truth"]
    shown = [cell.strip() for cell in cells(intervals[-1])]
    main = entry.levels[1]
    assert shown[5] == f"{main.mean_width:.3f}"
    assert shown[6].startswith(f"{main.exceeded.hits} of {main.exceeded.trials}")


def test_the_mean_loss_over_the_axes_is_the_mean_degradation(fit, text):
    own = tables(section_of(text, "### Tier full"))
    mean = next(table for table in own if "Explained" in table[0])[2]
    lost = sum(pair.degradation for pair in fit.pairs) / len(fit.pairs)
    assert cells(mean)[1].strip() == f"{lost:.3f}"


def test_an_axis_that_is_not_predicted_is_named_with_the_reason(fit, rows):
    axes = dict(fit.tiers["full"].sdi.axes)
    levels = tuple(
        level.model_copy(update={"offset": None, "slope": None}) for level in axes["truth"].levels
    )
    axes["truth"] = axes["truth"].model_copy(update={"reason": "too rare", "levels": levels})
    text = render_markdown(view_of(study_fits.with_index(fit, axes=axes), rows, ()), "figures")
    own = section_of(text, "### Tier full")
    assert "Not predicted at this tier:\n\n- truth: too rare\n" in own
    assert own.count("(not given)") == 3
    assert "Not predicted" not in section_of(text, "### Tier probe")


def test_a_fit_without_axes_tells_nothing_of_them(fit, rows):
    text = render_markdown(view_of(study_fits.with_index(fit, axes={}), rows, ()), "figures")
    assert "Explained" not in section_of(text, "### Tier full")
    assert "### Tier probe" in text
