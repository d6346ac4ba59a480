"""Models, augmentation, checkpoints and the one training loop."""

from importlib import import_module
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .augment import POLICIES as POLICIES
    from .augment import Augment as Augment
    from .augment import Policy as Policy
    from .augment import policy_for as policy_for
    from .batches import Loss as Loss
    from .batches import TrainBatch as TrainBatch
    from .batches import cross_entropy as cross_entropy
    from .checkpoint import Checkpoint as Checkpoint
    from .checkpoint import fresh_checkpoint as fresh_checkpoint
    from .checkpoint import load_checkpoint as load_checkpoint
    from .checkpoint import save_checkpoint as save_checkpoint
    from .evaluation import predict_fn as predict_fn
    from .loop import Fitted as Fitted
    from .loop import fit as fit
    from .output import Output as Output
    from .plan import PruningPlan as PruningPlan
    from .plan import apply_plan as apply_plan
    from .recipes import RECIPES as RECIPES
    from .recipes import recipe_for as recipe_for
    from .run import Epoch as Epoch
    from .settings import Optimizer as Optimizer
    from .settings import Schedule as Schedule
    from .settings import Settings as Settings
    from .steps import Step as Step
    from .weights import LoadedWeights as LoadedWeights
    from .weights import load_weights as load_weights

_HOMES = {
    "Augment": "augment",
    "Checkpoint": "checkpoint",
    "Epoch": "run",
    "Fitted": "loop",
    "LoadedWeights": "weights",
    "Loss": "batches",
    "Optimizer": "settings",
    "Output": "output",
    "Policy": "augment",
    "PruningPlan": "plan",
    "Schedule": "settings",
    "Settings": "settings",
    "Step": "steps",
    "TrainBatch": "batches",
    "apply_plan": "plan",
    "cross_entropy": "batches",
    "fit": "loop",
    "fresh_checkpoint": "checkpoint",
    "load_checkpoint": "checkpoint",
    "load_weights": "weights",
    "policy_for": "augment",
    "predict_fn": "evaluation",
    "recipe_for": "recipes",
    "save_checkpoint": "checkpoint",
}

__all__ = [
    "Augment",
    "Checkpoint",
    "Epoch",
    "Fitted",
    "LoadedWeights",
    "Loss",
    "Optimizer",
    "Output",
    "Policy",
    "PruningPlan",
    "Schedule",
    "Settings",
    "Step",
    "TrainBatch",
    "apply_plan",
    "cross_entropy",
    "fit",
    "fresh_checkpoint",
    "load_checkpoint",
    "load_weights",
    "policy_for",
    "predict_fn",
    "recipe_for",
    "save_checkpoint",
]


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f".{_HOMES[name]}", __name__), name)
