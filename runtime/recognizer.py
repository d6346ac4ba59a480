"""What products embed: an image goes in, labels and scores come out."""

import os
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, overload

import numpy as np
import numpy.typing as npt

from .binding import Binding, Bindings
from .errors import DataError, ModelError
from .intake import Image, Sample, read_image, write_image
from .preprocess import MAX_PIXELS
from .scores import Prediction, Scores, as_scores_, rank
from .session import Session, open_session
from .spec import InputSpec, ModelSpec

# `packed` and `stream` load where they are used: 2 ms of a start that needs neither.
if TYPE_CHECKING:
    from .stream import Stream

Array = npt.NDArray[np.generic]


class Recognizer:
    """An image classifier, ready to use; safe to share between threads. `with` closes it.

    A thread's buffers are made at its first call and used again by every later one.

    Args:
        session: A loaded model.
        spec: What it expects, for files that do not say so themselves.
        top: How many predictions an image gets, best first.
        max_pixels: Image files with more pixels are refused before they are decoded.
    """

    def __init__(self, session: Session, spec: ModelSpec | None = None, *, top: int = 5, max_pixels: int = MAX_PIXELS) -> None:
        known = spec or session.spec
        if known is None:
            raise ModelError(
                "the model does not say what it expects",
                "no edgerec metadata",
                "give a ModelSpec (on the command line: --input-size, --mean, --std ...)",
            )
        self.spec = session.fit(known)
        self.top = top
        self.max_pixels = max_pixels
        self._session: Session | None = session
        self._only = self.spec.inputs[0] if len(self.spec.inputs) == 1 else None
        self._inputs: dict[str, InputSpec] = {one.name: one for one in self.spec.inputs}
        # A packed file takes images of any size as they are: there is nothing to write into.
        shapes = {} if self.spec.packed else {name: one.shape for name, one in self._inputs.items()}
        self._bindings: Bindings | None = Bindings(session, shapes)
        self._classifying = self._bindings if self.spec.task == "classification" else None

    @classmethod
    def load(
        cls,
        file: str | os.PathLike[str],
        *,
        provider: str = "cpu",
        profile: str = "latency",
        threads: int | None = None,
        options: Mapping[str, str] | None = None,
        allow_fallback: bool = False,
        min_on_provider: float = 0.9,
        spec: ModelSpec | None = None,
        top: int = 5,
        max_pixels: int = MAX_PIXELS,
        replay: bool = False,
    ) -> "Recognizer":
        """Load an ONNX file.

        Args:
            file: The model.
            provider: Execution provider.
            profile: How the session uses the machine: latency, throughput, camera or low-memory.
            threads: Threads of one run; by default what the profile says. Where several threads call `predict` or `stream`, 1 is best.
            options: Options of the provider.
            allow_fallback: Accept that nodes run on the CPU instead.
            min_on_provider: Smallest fraction of nodes that must run on the provider.
            spec: What the model expects, for files that do not say so themselves.
            top: How many predictions an image gets, best first.
            max_pixels: Image files with more pixels are refused before they are decoded.
            replay: A packed file must first give the answer to its golden image that it was made with.

        Raises:
            ModelError: The file is missing, damaged, or does not say what it expects and no `spec` was given.
            ProviderError: The provider is unknown or not installed.
            GateError: The provider is there but does not run the model, or the golden answer is another one here.
        """
        session = open_session(
            Path(file),
            provider=provider,
            profile=profile,
            threads=threads,
            options=options,
            allow_fallback=allow_fallback,
            min_on_provider=min_on_provider,
        )
        loaded = cls(session, spec, top=top, max_pixels=max_pixels)
        if replay:
            from . import packed

            packed.replay(session, loaded.spec)
        return loaded

    @property
    def session(self) -> Session:
        """The model underneath.

        Raises:
            ModelError: The recognizer is closed.
        """
        if self._session is None:
            raise ModelError("the recognizer is closed", "used after close()", "load it again")
        return self._session

    @property
    def outputs(self) -> tuple[str, ...]:
        """Names of the model's outputs, in its order; what `run` returns."""
        return tuple(one.name for one in self.session.outputs)

    @overload
    def predict(self, image: list[Sample] | tuple[Sample, ...]) -> list[list[Prediction]]: ...
    @overload
    def predict(self, image: Sample) -> list[Prediction]: ...
    def predict(self, image: "Sample | list[Sample] | tuple[Sample, ...]") -> list[Prediction] | list[list[Prediction]]:
        """Recognise one image; a list of images gives a list.

        Args:
            image: A path, the bytes of an image file, a Pillow image, or uint8 pixels (H, W), (H, W, 1), (H, W, 3) in RGB order or
                (H, W, 4); or a float32 array in the shape of the input, with or without a leading 1, that is ready for the model.
                A mapping from input names to these for a model with several inputs.

        Raises:
            DataError: The image cannot be decoded, has another dtype or shape, or holds NaN or infinity.
            ModelError: The model is no classifier, or the recognizer is closed.
        """
        if isinstance(image, list | tuple):
            return self.predict_batch(image)
        binding = (self._classifying or self._classifier()).of(1)
        if isinstance(image, np.ndarray) and binding.take(image):
            return rank(binding.run(), self.spec, self.top)[0]
        return self._infer(binding, self._fill(binding, [image]))[0]

    def predict_batch(self, images: Sequence[Sample] | Array) -> list[list[Prediction]]:
        """Recognise several images in one run of the model; sizes may differ. An array counts images in its first dimension."""
        bindings = self._classifier()
        if not len(images):
            return []
        if self.spec.packed is not None:
            from . import packed

            return rank(packed.scores(self.session, self.spec, [self._pixels(one) for one in images]), self.spec, self.top)
        binding = bindings.of(len(images))
        return self._infer(binding, self._fill(binding, images))

    def stream(self, frames: Iterable[Sample], *, waiting: int = 4, workers: int = 1, latest: bool = False) -> "Stream[list[Prediction]]":
        """Recognise frames one after the other, reading and preparing the next ones in other threads meanwhile.

        Args:
            frames: What `predict` takes, one at a time; read in a thread of its own.
            waiting: Frames that may wait for the model; more are not read.
            workers: Threads that decode and prepare.
            latest: For cameras: never let the source wait. Of the frames that no thread has begun only the newest is kept, and of the prepared
                ones only the newest; `Stream.dropped` counts the others.

        Returns:
            An iterator of what `predict` returns, in the order of the frames; closing it, or leaving its `with` block, stops the threads.

        Raises:
            ConfigError: A number is below 1.
        """
        from .stream import Stream

        bindings = self._classifier()

        def prepare(frame: Sample, binding: Binding) -> Mapping[str, Array]:
            return self._fill(binding, [frame])

        def infer(binding: Binding, others: Mapping[str, Array]) -> list[Prediction]:
            return self._infer(binding, others)[0]

        return Stream(frames, lambda: bindings.new(1), prepare, infer, waiting=waiting, workers=workers, latest=latest)

    def run(self, image: Sample) -> dict[str, Array]:
        """Run the model on one image, prepared as by `predict`; return every output by name, as the model gives it (N is 1)."""
        binding = self._open().of(1)
        return self.session.run({**binding.inputs, **self._fill(binding, [image])})

    def scores(self, feeds: Mapping[str, Array]) -> Scores:
        """Run prepared tensors; return the scores of every class, shape (N, classes), rows that sum to one."""
        self._classifier()
        return as_scores_(np.array(self.session.predict(feeds), np.float32), self.spec)

    def close(self) -> None:
        """Let go of the model and of all buffers; calls that run in other threads end first. A second call does nothing."""
        self._session = None
        self._bindings = self._classifying = None

    def __enter__(self) -> "Recognizer":
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _fill(self, binding: Binding, images: Sequence[Sample] | Array) -> dict[str, Array]:
        """Write images into a binding; return the arrays for inputs that take no image, by name, and the one image of a packed file."""
        if self.spec.packed is not None:
            from . import packed

            (image,) = images
            return {self.spec.input.name: packed.as_input(self._pixels(image), self.spec)}
        others: dict[str, Array] = {}
        for at, image in enumerate(images):
            if isinstance(image, Mapping):
                others = self._write_named(binding, at, image)
            else:
                spec = self._only or self.spec.input
                write_image(image, spec, binding.inputs[spec.name][at], self.max_pixels)
        return others

    def _pixels(self, image: Sample) -> Array:
        """Return the decoded image for the only input of a packed file."""
        if isinstance(image, Mapping):
            if image.keys() != self._inputs.keys():
                raise DataError("a packed file has one input", ", ".join(image) or "nothing given", f"give {self.spec.input.name}")
            image = image[self.spec.input.name]
        return read_image(image, self.max_pixels)

    def _write_named(self, binding: Binding, at: int, images: Mapping[str, Image]) -> dict[str, Array]:
        missing, others = self._inputs.keys() - images.keys(), images.keys() - self._inputs.keys()
        if missing:
            raise DataError("an input of the model is missing", ", ".join(sorted(missing)), f"give {', '.join(sorted(self._inputs))}")
        for name, spec in self._inputs.items():
            write_image(images[name], spec, binding.inputs[name][at], self.max_pixels)
        if others and binding.count > 1:
            raise DataError("only images can be batched", f"inputs {', '.join(sorted(others))}", "predict them one by one")
        return {name: np.asarray(images[name]) for name in others}

    def _infer(self, binding: Binding, others: Mapping[str, Array]) -> list[list[Prediction]]:
        found = self.session.predict({**binding.inputs, **others}) if others else binding.run()
        return rank(found, self.spec, self.top)

    def _classifier(self) -> Bindings:
        if self.spec.task != "classification":
            raise ModelError("predictions need a classifier", f"task {self.spec.task!r}", "use run and read the outputs")
        return self._open()

    def _open(self) -> Bindings:
        if self._bindings is None:
            raise ModelError("the recognizer is closed", "used after close()", "load it again")
        return self._bindings
