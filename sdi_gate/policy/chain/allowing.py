"""Compare and intersect what policies allow: names, quantisations, bases."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sdi_gate.policy.format.provisions import AllowedBase

if TYPE_CHECKING:
    from collections.abc import Iterable

NO_QUANTISATION = "none"


def common_names(a: frozenset[str], b: frozenset[str]) -> frozenset[str]:
    """Return the names that both lists have.

    Args:
        a: One list.
        b: The other list.

    Returns:
        The names, possibly none.
    """
    return a & b


def covers_quantisation(entry: str, quantisation: str) -> bool:
    """Return whether an entry of ``allowed-quantisations`` allows a quantisation.

    Args:
        entry: The entry, such as ``bitsandbytes``.
        quantisation: A quantisation or another entry, such as ``bitsandbytes-nf4``.

    Returns:
        Whether they are the same, or the entry names the method and the other one of its types.
        No quantisation, ``none``, has no types.
    """
    if quantisation == entry:
        return True
    return entry != NO_QUANTISATION and quantisation.startswith(f"{entry}-")


def common_quantisations(a: frozenset[str], b: frozenset[str]) -> frozenset[str]:
    """Return what both lists of quantisations allow.

    Args:
        a: One list.
        b: The other list.

    Returns:
        The entries of each that an entry of the other covers.
    """
    return frozenset(
        entry
        for mine, others in ((a, b), (b, a))
        for entry in mine
        if any(covers_quantisation(other, entry) for other in others)
    )


def covers_base(entry: AllowedBase, other: AllowedBase) -> bool:
    """Return whether every base that one entry allows is allowed by another.

    Args:
        entry: The wider entry.
        other: The narrower entry.

    Returns:
        Whether the other gives everything that the entry gives, and the same.
    """
    return _common_base(entry, other) == other


def common_bases(a: tuple[AllowedBase, ...], b: tuple[AllowedBase, ...]) -> tuple[AllowedBase, ...]:
    """Return the bases that both lists allow.

    Args:
        a: One list.
        b: The other list.

    Returns:
        One entry for each pair that can mean the same base; what it gives, both gave.
    """
    pairs = (_common_base(one, other) for one in a for other in b)
    return widest_bases(pair for pair in pairs if pair is not None)


def widest_bases(bases: Iterable[AllowedBase]) -> tuple[AllowedBase, ...]:
    """Return a list of bases in its canonical form.

    Args:
        bases: Any entries.

    Returns:
        Those that no other one covers, sorted.
    """
    unique = sorted({_key(base): base for base in bases}.items())
    return tuple(
        base
        for _, base in unique
        if not any(other != base and covers_base(other, base) for _, other in unique)
    )


def _common_base(a: AllowedBase, b: AllowedBase) -> AllowedBase | None:
    if any(one and other and one != other for one, other in zip(_key(a), _key(b), strict=True)):
        return None
    name, revision, digest = (
        one or other or None for one, other in zip(_key(a), _key(b), strict=True)
    )
    return AllowedBase(name=name, revision=revision, digest=digest)


def _key(base: AllowedBase) -> tuple[str, str, str]:
    return (base.name or "", base.revision or "", base.digest or "")
