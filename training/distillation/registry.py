"""The registry of training methods. A new method is one file in ``methods`` and one line here."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from training.distillation.method import Method
from training.distillation.methods import (
    born_again,
    cckd,
    ce,
    controls,
    cpfd,
    cpfd_adaptive,
    cpfd_balanced,
    cpfd_crossfit,
    cpfd_mix,
    cpfd_norm,
    cpfd_preview,
    ea_kd,
    gend,
    kd,
    mtl,
    pckd,
    pckd_preview,
    pfd,
    pfd_crossfit,
    pfd_joint,
    self_distillation,
    self_distillation_crossfit,
    tpd,
    wsld,
)

_ALL: Final[tuple[Method, ...]] = (
    ce.METHOD,
    kd.METHOD,
    self_distillation.METHOD,
    self_distillation_crossfit.METHOD,
    gend.METHOD,
    mtl.METHOD,
    pfd.METHOD,
    pfd_crossfit.METHOD,
    pfd_joint.METHOD,
    cpfd.METHOD,
    cpfd_norm.METHOD,
    cpfd_mix.METHOD,
    cpfd_crossfit.METHOD,
    cpfd_balanced.METHOD,
    cpfd_adaptive.METHOD,
    cpfd_preview.METHOD,
    controls.CONSTANT,
    controls.SHUFFLED,
    controls.INVERTED,
    pckd_preview.METHOD,
    pckd.METHOD,
    wsld.METHOD,
    ea_kd.METHOD,
    tpd.METHOD,
    cckd.METHOD,
    born_again.CWTM,
    born_again.CWTC,
)
METHODS: Final[dict[str, Method]] = {method.name: method for method in _ALL}


def require_known(names: Iterable[str]) -> None:
    """Does nothing where every name is in the registry.

    Raises:
        ValueError: one is not; the message names it and lists those there are.
    """
    for name in names:
        if name not in METHODS:
            raise ValueError(f"no method {name!r}; there are: {', '.join(METHODS)}")
