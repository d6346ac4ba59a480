"""A model's logits on a split, and the accuracy they give: arrays in, arrays out."""

from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
import torch
from torch import nn

from ..benchmarks.accuracy import Accuracy, count
from ..data.splits import Split
from ..runtime.errors import ModelError
from ..runtime.preprocess import prepare_feeds
from ..runtime.spec import ModelSpec

Logits = npt.NDArray[np.float32]


def predict_fn(model: nn.Module) -> Callable[[Mapping[str, npt.NDArray[np.generic]]], Logits]:
    """Return the model as a function from prepared arrays by input name to logits, float32, shape (N, classes).

    The arrays are passed to `forward` in their order. Every call evaluates (no dropout, running statistics) and leaves the model in the mode
    it was in.
    """

    def predict(feeds: Mapping[str, npt.NDArray[np.generic]]) -> Logits:
        device = next((tensor.device for tensor in model.parameters()), torch.device("cpu"))
        tensors = [torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in feeds.values()]
        with evaluating(model), torch.inference_mode():
            return model(*tensors).float().cpu().numpy()

    return predict


def evaluate(model: nn.Module, split: Split, spec: ModelSpec) -> Accuracy:
    """Return the model's accuracy on a labelled split; the model keeps its mode.

    Raises:
        DataError: No labels, no images, or a label outside the model's classes.
        ModelError: The model refuses the images, or returns NaN.
    """
    return count(predict_fn(model), split, spec, check_model(model, spec)).result()


def check_model(model: nn.Module, spec: ModelSpec) -> int:
    """Run the model once on an empty image and return its number of classes.

    Raises:
        ModelError: It refuses its own input's shape, or does not return one row of logits for each image, or not one for each label.
    """
    feeds = prepare_feeds({one.name: np.zeros((2, one.height, one.width, one.channels), np.uint8) for one in spec.inputs}, spec)
    given = ", ".join(f"{name} {array.shape}" for name, array in feeds.items())
    try:
        shape = predict_fn(model)(feeds).shape
    # A user's forward may raise anything; what matters is that it does so on the shape it is said to take.
    except Exception as error:
        raise ModelError("the model refuses its input", f"{given} ({error})", "check --input-size and the model") from error
    if len(shape) != 2 or shape[0] != 2:
        raise ModelError("the model does not return one row of logits for each image", f"{given} gave {shape}", "return (N, classes)")
    if spec.labels and shape[1] != len(spec.labels):
        raise ModelError(
            "the model's logits do not fit its labels", f"{shape[1]} logits, {len(spec.labels)} labels", "build it for these classes"
        )
    return shape[1]


@contextmanager
def evaluating(model: nn.Module) -> Generator[None]:
    """Put a model into evaluation mode; afterwards every module is in the mode it was in, frozen ones too."""
    modes = [(module, module.training) for module in model.modules()]
    model.eval()
    try:
        yield
    finally:
        for module, mode in modes:
            module.training = mode
