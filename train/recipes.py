"""How each model of the registry is trained when nothing else is asked for.

Chosen for 28-pixel images (MNIST, Fashion-MNIST) on a CPU with two cores: all of them together take well under two hours on 60,000 images.
Short trainings want the learning rate to rise and fall once over the whole of it (Smith and Topin 2017, arXiv 1708.07120).
"""

from ..runtime.errors import ConfigError
from .settings import Optimizer, Schedule, Settings

_ONE_CYCLE = Schedule("one_cycle", warmup=0.3)

RECIPES: dict[str, Settings] = {
    "cnn": Settings(epochs=5, batch_size=64, optimizer=Optimizer("adam", 2e-3, 0.0), schedule=Schedule("cosine", warmup=0.1)),
    # Gradients through 28 time steps are clipped (Pascanu et al. 2012, arXiv 1211.5063).
    "rnn": Settings(epochs=8, optimizer=Optimizer("adamw", 5e-3, 0.01, clip_norm=1.0), schedule=_ONE_CYCLE),
    "rnn_gru": Settings(epochs=8, optimizer=Optimizer("adamw", 5e-3, 0.01, clip_norm=1.0), schedule=_ONE_CYCLE),
    "attention": Settings(epochs=8, optimizer=Optimizer("adamw", 6e-3, 0.01), schedule=_ONE_CYCLE),
    "vit_tiny": Settings(epochs=3, optimizer=Optimizer("adamw", 1e-3, 0.05, clip_norm=1.0), schedule=_ONE_CYCLE),
    "resnet8": Settings(epochs=8, optimizer=Optimizer("sgd", 0.3, 5e-4), schedule=_ONE_CYCLE),
    "resnet20": Settings(epochs=6, optimizer=Optimizer("sgd", 0.2, 5e-4), schedule=_ONE_CYCLE),
    "resnet32": Settings(epochs=4, optimizer=Optimizer("sgd", 0.2, 5e-4), schedule=_ONE_CYCLE),
    "resnet56": Settings(epochs=3, optimizer=Optimizer("sgd", 0.2, 5e-4), schedule=_ONE_CYCLE),
    # Where depthwise convolutions take most of the time, bf16 is slower than fp32 on a CPU: 1.8x on MobileNetV2, more on the others.
    "mobilenet_v2": Settings(epochs=2, optimizer=Optimizer("adamw", 3e-3, 0.01), schedule=_ONE_CYCLE, precision="fp32"),
    "mobilenet_v3_small": Settings(epochs=4, optimizer=Optimizer("adamw", 3e-3, 0.01), schedule=_ONE_CYCLE, precision="fp32"),
    "efficientnet_lite0": Settings(epochs=2, optimizer=Optimizer("adamw", 3e-3, 0.01), schedule=_ONE_CYCLE, precision="fp32"),
    "efficientnet_lite0_silu": Settings(epochs=2, optimizer=Optimizer("adamw", 3e-3, 0.01), schedule=_ONE_CYCLE, precision="fp32"),
}

# For a model of the user's own nothing is known; AdamW forgives a wrong learning rate more than SGD does.
OWN_MODEL = Settings(epochs=10, optimizer=Optimizer("adamw", 1e-3, 0.01), schedule=_ONE_CYCLE)


def recipe_for(name: str) -> Settings:
    """Return the recipe of a registry model, or a careful one for `package.module:factory`.

    Raises:
        ConfigError: The registry has no such model.
    """
    if ":" in name:
        return OWN_MODEL
    if name not in RECIPES:
        raise ConfigError("no model has this name", repr(name), f"choose one of {', '.join(RECIPES)}, or give package.module:function")
    return RECIPES[name]
