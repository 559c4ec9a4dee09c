"""Write docs/families.md from what the tests found."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping, Sequence

    from family_proofs import Proof, Row

_HEAD = """\
# Families of models

This file is written by `tests/families/test_family_matrix.py` and compared with what that test
finds. To write it anew: `pytest tests/families --update-goldens`.

For each family the test builds a tiny model of two layers from its transformers configuration,
saves it, and scans it: against a copy with noise, where every signal must be measured and finite,
and against itself under other names, where every signal must be exactly 0. The layouts are those
that `save_pretrained` writes (the names of transformers 4), those of the modules that run (the
names of transformers 5, experts stacked), and those without the first part of the name, as a model
without its head has them. In every scan the coverage must be 1.

No table of families stands behind this. transformers builds the model from its configuration
without memory for weights, and the names, shapes, ties, transposed matrices and decoder layers are
read from its modules; how older names become today's is transformers' own knowledge. So a family
that nobody listed is read in the same way: those marked with * are named nowhere in our code. Only
the roles come from the usual names of fields, and a field that has none of these is `other`: it is
measured like every tensor, and stands in its layer. A family that transformers does not know is
compared by the names of its tensors at tier weights, and is not run.
"""
_COLUMNS = """
"On outputs" says whether a matrix is also measured by what it does to the probe's activations, not
by its weights alone: yes for linear maps that see every token exactly once. Experts and most
routers do not, or are no linear map of their own. Vectors are compared by their weights.
"""


def document_of(proofs: Mapping[str, Proof], *, unlisted: Sequence[str]) -> str:
    """Write the document.

    Args:
        proofs: What was found, by family.
        unlisted: Families that the code does not name.

    Returns:
        Markdown.
    """
    summary = _table(
        ("Family", "Class in transformers", "Tiers that ran", "Decoder layers", "Layouts compared"),
        (
            (
                f"{family} *" if family in unlisted else family,
                f"`{proof.class_name}`",
                ", ".join(tier.value for tier in proof.noisy),
                f"{proof.num_layers} of 2",
                "3" if proof.stored != proof.shown else "2, for old and new names are the same",
            )
            for family, proof in proofs.items()
        ),
    )
    alike: dict[str, list[str]] = {}
    for family, proof in proofs.items():
        alike.setdefault(_section(proof), []).append(family)
    sections = [f"## {', '.join(families)}\n\n{text}" for text, families in alike.items()]
    return "\n".join((_HEAD, summary, _COLUMNS.lstrip("\n"), *sections))


def _section(proof: Proof) -> str:
    table = _table(
        ("Tensor", "Role", "On outputs"),
        ((f"`{row.pattern}`", _role(row), _on_outputs(row)) for row in proof.rows),
    )
    if proof.stored == proof.shown:
        return table
    old = _listed(name for name in proof.stored if name not in proof.shown)
    new = _listed(name for name in proof.shown if name not in proof.stored)
    return f"{table}\nStored as {old}; run as {new}.\n"


def _role(row: Row) -> str:
    return f"{row.role}, stored transposed" if row.is_transposed else row.role


def _on_outputs(row: Row) -> str:
    if len(row.shape) == 1 or ".N." not in row.pattern:
        return ""
    return "yes" if row.is_on_outputs else "no"


def _listed(names: Iterable[str]) -> str:
    return ", ".join(f"`{name}`" for name in names)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)
