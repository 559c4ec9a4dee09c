"""The README's figures are those of the committed fit."""

from pathlib import Path

from sdi_gate.study.fit.result import load

ROOT = Path(__file__).parents[2]


def test_the_readme_says_what_the_committed_fit_found():
    fit = load((ROOT / "study/results/organisms-small-fit.json").read_bytes(), "the fit")
    full = fit.tiers["full"]
    rho = full.sdi.evidence.rho
    rivals = [row.evidence.rho.value for row in full.baselines if row.name.startswith("KL")]
    plus, weights = full.sdi_plus.evidence.rho.value, fit.tiers["weights"].sdi.evidence.rho.value
    text = " ".join((ROOT / "README.md").read_text("utf-8").split())
    for said in (
        f"a rank correlation of {rho.value:.2f} ({rho.lower:.2f} to {rho.upper:.2f})",
        f"KL divergence alone does better ({max(rivals):.2f})",
        f"behaviour, has {plus:.2f}",
        f"hardly better than chance ({weights:.2f})",
        f"in {fit.num_pairs} pairs",
        f"{fit.min_parameters / 1e6:.2f} to {fit.max_parameters / 1e6:.2f} million parameters",
    ):
        assert said in text
