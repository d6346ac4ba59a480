"""Clean-up of any ONNX file: one plain form for everything that reads graphs after it, and the proof that nothing else changed."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import onnx_ir as ir
import onnx_ir.passes.common as passes
from onnx import ModelProto

from ..runtime.errors import ModelError, OutputError, ProviderError
from .affine import fold_arithmetic_, fold_batch_norms_
from .copying import copy_model
from .folding import fold_constants_
from .gemm import join_bias_, plain_gemm_
from .hard_swish import name_hard_sigmoids_
from .idle import drop_idle_
from .naming import name_free_sizes_, name_nodes_
from .padding import fold_pads_, number_auto_pads_, number_pad_axes_
from .patterns import spell_for_kernels_
from .random_inputs import Feeds
from .reference import Reference
from .refusals import refuse_quantized, refuse_unknown_domains
from .sequences import untype_sequences_
from .versions import LEAST_OPSET, opset_of, pin_versions

Rewrite = Callable[[ModelProto], ModelProto | None]


@dataclass(frozen=True, slots=True)
class Normalised:
    """A model in plain form, and what was done to it.

    Attributes:
        model: The model.
        applied: Names of the rewrites that changed it, in order.
        undone: (name, reason) of each rewrite that failed or changed an output, and so was taken back.
    """

    model: ModelProto
    applied: tuple[str, ...]
    undone: tuple[tuple[str, str], ...]


def normalise(model: ModelProto, feeds: Feeds | None = None) -> Normalised:
    """Return the same function at opset 13 or later, with as little graph around the arithmetic as can be.

    After each rewrite all outputs are compared with the original's; one that does not keep them is undone. What a rewrite does not
    understand it leaves alone. Tensors that survive keep their names. Equal input gives equal bytes.

    Args:
        model: Any float model; it is not changed.
        feeds: A few real inputs to compare on, by name; without them random ones that fit the declared shapes and types.

    Raises:
        ModelError: The model is quantized, has operators of an unknown domain, cannot be run or raised to opset 13, or gives NaN.
        DataError: `feeds` do not fit the model.
        OutputError: The temporary folder is full.
        ProviderError: onnxruntime is not installed.
    """
    refuse_quantized(model)
    refuse_unknown_domains(model)
    reference = Reference.of(model, feeds)
    applied: list[str] = []
    undone: list[tuple[str, str]] = []
    for name, rewrite in REWRITES.items():
        rewritten, reason = _attempt(rewrite, model, reference)
        if reason is not None:
            undone.append((name, reason))
        elif rewritten is not None:
            model = rewritten
            applied.append(name)
    if opset_of(model) < LEAST_OPSET:
        reasons = "; ".join(reason for _, reason in undone)
        raise ModelError(f"the model cannot be raised to opset {LEAST_OPSET}", reasons, "export it again with a newer exporter")
    return Normalised(model, tuple(applied), tuple(undone))


def _attempt(rewrite: Rewrite, model: ModelProto, reference: Reference) -> tuple[ModelProto | None, str | None]:
    """Return the rewritten model, or None where nothing applies; and the reason why it cannot be used, or None."""
    try:
        rewritten = rewrite(model)
        return rewritten, reference.fault(rewritten) if rewritten is not None else None
    except (OutputError, ProviderError):  # about this machine, not about the rewrite
        raise
    except Exception as error:  # whatever goes wrong in a rewrite, or in running its result, the model before it still works
        return None, f"{type(error).__name__}: {str(error).strip().partition(chr(10))[0][:200]}"


def _edited(rule: Callable[[ir.Model], bool]) -> Rewrite:
    """Return a rewrite that edits a copy of the graph, and takes out what nobody needs any more."""

    def rewrite(model: ModelProto) -> ModelProto | None:
        copy = ir.from_proto(copy_model(model))  # onnx_ir keeps the tensors it is given, and writes new names into them
        passes.ShapeInferencePass(strict_mode=False)(copy)
        if not rule(copy):
            return None
        passes.RemoveUnusedNodesPass()(copy)
        return untype_sequences_(ir.to_proto(copy))

    return rewrite


def _passed(*steps: ir.passes.InPlacePass) -> Rewrite:
    """Return a rewrite that runs passes of onnx_ir."""

    def rewrite(model: ModelProto) -> ModelProto | None:
        copy = ir.from_proto(copy_model(model))  # onnx_ir keeps the tensors it is given, and writes new names into them
        modified = [step(copy).modified for step in steps]
        return untype_sequences_(ir.to_proto(copy)) if any(modified) else None

    return rewrite


# In the order in which they are tried: each finds what the ones before it made plain.
REWRITES: Mapping[str, Rewrite] = {
    "inline-functions": _passed(passes.InlinePass(), passes.RemoveUnusedFunctionsPass()),
    "fix-weights": _passed(passes.RemoveInitializersFromInputsPass()),
    "name-free-sizes": _edited(name_free_sizes_),
    "pin-versions": pin_versions,
    "lift-constants": _passed(passes.LiftConstantsToInitializersPass(lift_all_constants=True, size_limit=0)),
    "fold-constants": _edited(fold_constants_),
    "drop-idle": _edited(drop_idle_),
    "join-bias": _edited(join_bias_),
    "plain-gemm": _edited(plain_gemm_),
    "name-hard-sigmoids": _edited(name_hard_sigmoids_),
    "fold-batch-norms": _edited(fold_batch_norms_),
    "fold-arithmetic": _edited(fold_arithmetic_),
    "number-auto-pads": _edited(number_auto_pads_),
    "number-pad-axes": _edited(number_pad_axes_),
    "fold-pads": _edited(fold_pads_),
    "spell-for-kernels": _edited(spell_for_kernels_),
    "drop-unused": _passed(passes.RemoveUnusedNodesPass(), passes.RemoveUnusedOpsetsPass()),
    "share-weights": _passed(passes.DeduplicateHashedInitializersPass()),
    "name-nodes": _edited(name_nodes_),
    "infer-shapes": _passed(passes.ShapeInferencePass(strict_mode=False)),
}
