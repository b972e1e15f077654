"""Autograd's error messages, by their stems: what kind of hazard an error is a symptom of.

Texts as torch 2.13 raises them, with older wordings beside them where they differ. Matched by content, not by type:
most are plain `RuntimeError`s.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from gradfix.findings import HazardKind


class Cure(Enum):
    """How the original can be run so that its gradients exist: decides on the oracle."""

    HOOKS = "clone-packing saved-tensor hooks"
    FRESH_LEAVES = "the original with leaves fed as `leaf * 1`"
    UPDATES = "the original with updates of leaves made without gradients"
    ONES = "the original's autograd with a cotangent of ones"
    KEPT = "the original with its graphs kept"
    APART = "the original with expanded tensors copied"
    PLAINLY = "the original with `torch.func` carried out by autograd alone"
    COPIES = "the original with hooks given copies of gradients"
    LEAF = "the original with what it computes handed out as a leaf"
    DIFFERENCES = "float64 central differences"
    NONE = "none"


@dataclass(frozen=True, slots=True)
class Symptom:
    """One error of autograd's catalogue."""

    stem: str  # what the message contains
    short: str  # how reports call it
    cure: Cure
    kind: HazardKind | None = None  # the hazard it shows


_KINDS = {
    "modified by an inplace operation": HazardKind.SAVED_THEN_WRITTEN,
    "a view of a leaf written": HazardKind.LEAF_VIEW_WRITTEN,
    "a leaf written": HazardKind.LEAF_WRITTEN,
    "grad can be implicitly created only for scalars": HazardKind.NON_SCALAR_BACKWARD,
    "does not require grad": HazardKind.DISCONNECTED,
    "not used in the graph": HazardKind.DISCONNECTED,
    "a forbidden view written": HazardKind.MULTI_VIEW_WRITTEN,
    "a view's base written": HazardKind.MULTI_VIEW_WRITTEN,
    "a no_grad view written": HazardKind.NO_GRAD_VIEW_WRITTEN,
    "out= with gradients": HazardKind.OUT_WRITTEN,
    "an expanded tensor written": HazardKind.EXPANDED_WRITTEN,
    "an in-place write under vmap": HazardKind.VMAP_WRITTEN,
    "a write by mask under vmap": HazardKind.VMAP_WRITTEN,
    "backward a second time": HazardKind.SECOND_BACKWARD,
    "an optimizer over a non-leaf": HazardKind.NON_LEAF_GRAD,
}
SYMPTOMS = tuple(
    Symptom(*row, _KINDS.get(row[1]))
    for row in (
        ("has been modified by an inplace operation", "modified by an inplace operation", Cure.HOOKS),
        ("a view of a leaf Variable that requires grad is being used", "a view of a leaf written", Cure.FRESH_LEAVES),
        ("a leaf Variable that requires grad is being used", "a leaf written", Cure.FRESH_LEAVES),
        ("a leaf Variable that requires grad has been used", "a leaf written", Cure.FRESH_LEAVES),
        ("grad can be implicitly created only for", "grad can be implicitly created only for scalars", Cure.ONES),
        ("does not require grad and does not have a grad_fn", "does not require grad", Cure.DIFFERENCES),
        ("appears to not have been used in the graph", "not used in the graph", Cure.DIFFERENCES),
        ("and is being modified inplace", "a forbidden view written", Cure.DIFFERENCES),
        ("is being modified inplace with grad mode enabled", "a no_grad view written", Cure.DIFFERENCES),
        ("its base or another view of its base has been modified inplace", "a view's base written", Cure.DIFFERENCES),
        ("functions with out=... arguments don't support", "out= with gradients", Cure.DIFFERENCES),
        ("Can't call numpy() on Tensor that requires grad", "numpy() on a tracked tensor", Cure.DIFFERENCES),
        ("of the written-to tensor refers to a single memory location", "an expanded tensor written", Cure.APART),
        ("refer to a single memory location", "memory overlap in a write", Cure.NONE),
        ("Inplace update to inference tensor", "an inference tensor written", Cure.NONE),
        ("Inference tensors cannot be saved for backward", "an inference tensor saved", Cure.NONE),
        ("vmap: inplace arithmetic", "an in-place write under vmap", Cure.PLAINLY),
        ("vmap: We do not support batching operators", "a write by mask under vmap", Cure.PLAINLY),
        ("data-dependent control flow", "data-dependent control flow under vmap", Cure.PLAINLY),
        ("would mutate a captured Tensor", "a captured tensor written", Cure.PLAINLY),
        ("can't optimize a non-leaf Tensor", "an optimizer over a non-leaf", Cure.LEAF),
        ("backward through the graph a second time", "backward a second time", Cure.KEPT),
    )
)


def symptom_of(message: str) -> Symptom | None:
    """The symptom a message shows, None when the error isn't autograd's."""
    return next((symptom for symptom in SYMPTOMS if symptom.stem in message), None)
