"""What passes whose network learns from a teacher let their user say, beside how it is trained."""

from pydantic import Field

from optimizer.recipe.training import Training


class Taught(Training):
    """alpha * loss(labels) + (1 - alpha) * T^2 * KL(teacher || student), or its like for tasks without classes.

    Without labels alpha is taken as 0. With `alpha: 1` it is plain fine-tuning, and nobody teaches.
    """

    temperature: float = Field(default=2.0, gt=0)
    alpha: float = Field(default=0.1, ge=0, le=1)
