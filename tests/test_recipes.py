"""Every model of the registry has a recipe."""

import pytest

from edgerec.runtime.errors import ConfigError
from edgerec.train.models import MODELS
from edgerec.train.recipes import RECIPES, recipe_for


def test_every_model_has_a_recipe_and_no_recipe_lacks_a_model() -> None:
    assert list(RECIPES) == list(MODELS)


def test_the_textbook_net_is_trained_as_its_textbook_says() -> None:
    recipe = recipe_for("cnn")
    assert (recipe.epochs, recipe.optimizer.method) == (5, "adam")


def test_a_model_of_the_users_own_and_an_unknown_one() -> None:
    assert recipe_for("mine.nets:build").epochs >= 1
    with pytest.raises(ConfigError, match="resnet20"):
        recipe_for("resnet21")
