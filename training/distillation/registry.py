"""The table of training methods: the loss of each, the teacher it needs, and the settings it fixes.

A new method is one row here and, where its loss is new, one function in ``methods``.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from training.distillation.method import Method
from training.distillation.methods.born_again import cwtc, cwtm
from training.distillation.methods.cckd import cckd
from training.distillation.methods.ce import ce
from training.distillation.methods.controls import cpfd_constant, cpfd_inverted, cpfd_shuffled
from training.distillation.methods.cpfd import cpfd, cpfd_adaptive, cpfd_preview
from training.distillation.methods.ea_kd import ea_kd
from training.distillation.methods.mtl import mtl
from training.distillation.methods.pckd import pckd, pckd_preview
from training.distillation.methods.pfd import pfd, pfd_joint
from training.distillation.methods.tpd import tpd
from training.distillation.methods.wsld import wsld

_CPFD = "arXiv:2410.03038"
_SCALED: Final = {"confidence": "true_prob", "weighting": "scale"}
_BALANCED: Final = _SCALED | {"per_class_norm": True}

_ALL: Final[tuple[Method, ...]] = (
    Method("ce", ce, teacher="none", source="cross-entropy"),
    # Distillation without privileged features: what PFD must beat to owe its gain to them.
    Method("kd", pfd, teacher="plain_large", source="arXiv:1503.02531"),
    Method("self_distillation", pfd, teacher="plain", source="arXiv:1805.04770, arXiv:2209.08754"),
    Method("self_distillation_crossfit", pfd, teacher="plain_crossfit", source="arXiv:1805.04770, method.md 1.6"),
    # The teacher reads the privileged features and nothing else; the authors' code has the T^2, their text does not.
    Method("gend", pfd, teacher="privileged_only", source="arXiv:1511.03643"),
    Method("mtl", mtl, teacher="none", source="arXiv:1907.05171, method.md 4", predicts_privileged=True),
    Method("pfd", pfd, teacher="privileged", source="arXiv:1907.05171"),
    Method("pfd_crossfit", pfd, teacher="privileged_crossfit", source="arXiv:1907.05171, method.md 1.6"),
    Method("pfd_joint", pfd_joint, teacher="joint", source="arXiv:1907.05171"),
    Method("cpfd", cpfd, teacher="privileged", source=f"{_CPFD}, method.md 1.5"),
    # As much distillation as PFD: where CPFD differs from PFD and this does not, the difference was a smaller lambda.
    Method("cpfd_norm", cpfd, "privileged", f"{_CPFD}, method.md 1.5", options=_SCALED | {"weighting": "norm"}),
    # "Adaptive" read as a lambda for each row.
    Method("cpfd_mix", cpfd, "privileged", f"{_CPFD}, method.md 1.5", options=_SCALED | {"weighting": "mix"}),
    # Confidence and soft targets both of teachers that did not see the row.
    Method("cpfd_crossfit", cpfd, "privileged_crossfit", f"{_CPFD}, method.md 1.6", options=_SCALED),
    # Rare positives, of which a teacher is less sure, are not distilled less. A multilabel task's labels are apart.
    Method("cpfd_balanced", cpfd, "privileged_crossfit", f"{_CPFD}, method.md 1.6", options=_BALANCED),
    Method(
        "cpfd_adaptive",
        cpfd_adaptive,
        "privileged_crossfit",
        f"{_CPFD} with lambda from the teacher's out-of-fold information gain",
        options=_SCALED,
    ),
    Method(
        "cpfd_preview",
        cpfd_preview,
        "privileged_crossfit",
        f"{_CPFD} and PCKD (TCSVT 2025), method.md 4",
        options=_SCALED,
        couples_rows=True,
    ),
    Method("cpfd_constant", cpfd_constant, teacher="privileged", source="control, method.md 1.6"),
    Method("cpfd_shuffled", cpfd_shuffled, teacher="privileged", source="control, method.md 1.6"),
    Method("cpfd_inverted", cpfd_inverted, teacher="privileged", source="control, method.md 1.6"),
    Method("pckd_preview", pckd_preview, teacher="privileged", source="arXiv:2410.14143", couples_rows=True),
    Method("pckd", pckd, "privileged", "arXiv:2410.14143", needs_features=True, couples_rows=True),
    Method("wsld", wsld, teacher="privileged", source="arXiv:2102.00650"),
    Method("ea_kd", ea_kd, teacher="privileged", source="arXiv:2311.13621"),
    Method("tpd", tpd, teacher="privileged", source="TPD (KBS 2025), method.md 2.3"),
    Method("cckd", cckd, teacher="privileged", source="arXiv:2107.06993, method.md 4"),
    Method("cwtm", cwtm, teacher="privileged", source="arXiv:1805.04770"),
    Method("cwtc", cwtc, teacher="privileged", source="method.md 4 (CWTC)"),
)
METHODS: Final[dict[str, Method]] = {method.name: method for method in _ALL}


def require_known(names: Iterable[str]) -> None:
    """Raises unless every name is in the table.

    Raises:
        ValueError: one is not; the message names it and lists those there are.
    """
    for name in names:
        if name not in METHODS:
            raise ValueError(f"no method {name!r}; there are: {', '.join(METHODS)}")
