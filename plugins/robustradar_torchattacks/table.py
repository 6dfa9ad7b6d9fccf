"""What torchattacks offers, as data: one row an attack, and one entry a parameter. Checked against the installed library by a test."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import Field

from robustradar import adapter


@dataclass(frozen=True)
class Row(adapter.Row):
    """One attack: its name is the class in torchattacks, its arguments are the constructor's, with ``norm`` as a further source.

    Attributes:
        channels: Number of channels that its kernels are built for; None: any.
        square: Whether height and width must be the same.
        margin: How much wider than the data's box, as a share of it, the box is made that the attack sees.
        stretch: Whether to lengthen the whole perturbation by ``overshoot``. DeepFool's paper does; torchattacks lengthens each step only,
            and so comes to rest on the near side of the boundary.
    """

    channels: int | None = None
    square: bool = False
    margin: float = 0.0
    stretch: bool = False


Steps = Annotated[int, Field(ge=1, description="Iterations.")]
RelativeStep = Annotated[
    float | None,
    Field(gt=0, description="Step size as a share of ε (GN: standard deviation; JSMA: change of a feature); none: 2.5/steps."),
]
PARAMETERS: Mapping[str, Any] = {
    "steps": Steps,
    "relative_step": RelativeStep,
    "restarts": Annotated[int, Field(ge=1, description="Restarts, for the samples that are not broken yet.")],
    "decay": Annotated[float, Field(ge=0, description="Momentum's decay; 0: no momentum.")],
    "eot_iter": Annotated[int, Field(ge=1, description="Gradients averaged a step, for randomised networks.")],
    "noise_sd": Annotated[float, Field(ge=0, description="Standard deviation of the smoothing noise, in box widths.")],
    "noise_batch_size": Annotated[int, Field(ge=1, description="Noisy copies a sample and step.")],
    "m": Annotated[int, Field(ge=1, description="Scaled copies a step.")],
    "N": Annotated[int, Field(ge=1, description="Neighbours that estimate the gradient's variance.")],
    "beta": Annotated[
        float, Field(gt=0, description="Of VMIFGSM and VNIFGSM: the neighbourhood, as a share of ε. Of EAD: the weight of l1.")
    ],
    "scale": Annotated[float, Field(gt=0, description="Logits are scaled to this size before the softmax.")],
    "std": Annotated[float, Field(ge=0, description="Standard deviation of the noise on the softmax.")],
    "amplification": Annotated[float, Field(gt=0, description="Step size in shares of ε/steps.")],
    "delta": Annotated[float, Field(gt=0, description="Width of the finite differences, in box widths.")],
    "nb_sample": Annotated[int, Field(ge=1, description="Random directions a step.")],
    "max_batch_size": Annotated[int, Field(ge=1, description="Copies of the batch in one forward pass.")],
    "c": Annotated[float, Field(gt=0, description="Weight of the misclassification against the distance.")],
    "kappa": Annotated[float, Field(ge=0, description="Margin of the wrong answer, in logits.")],
    "lr": Annotated[float, Field(gt=0, description="Learning rate, in box widths.")],
    "overshoot": Annotated[float, Field(ge=0, description="How far to go beyond the boundary, as a share of the way to it.")],
    "lam": Annotated[float, Field(gt=0, description="Sparsity against distance.")],
    "binary_search_steps": Annotated[int, Field(ge=1, description="Steps of the search for the constant.")],
    "max_iterations": Annotated[int, Field(ge=10, description="Iterations a search step.")],
    "gamma": Annotated[float, Field(gt=0, le=1, description="Largest share of features that may change.")],
    "pixels": Annotated[int, Field(ge=1, description="Pixels that may change.")],
    "popsize": Annotated[int, Field(ge=1, description="Size of the evolving population.")],
    "max_patches": Annotated[int, Field(ge=1, description="Patches tried a restart.")],
    "queries": Annotated[int, Field(ge=1, description="Forward passes a sample.")],
    "loss": Annotated[Literal["ce", "dlr"], Field(description="What is maximised: cross-entropy, or the difference of logits ratio.")],
    "multi_targeted": Annotated[bool, Field(description="Whether to try the 9 likeliest wrong classes in turn.")],
    "version": Annotated[Literal["standard", "plus", "rand"], Field(description="Which ensemble.")],
}

_INF = (math.inf,)
_L2 = (2.0,)
_BOTH = (math.inf, 2.0)
_STEPS = {"steps": 10}
_MOMENTUM = {"steps": 10, "decay": 1.0}
_EAD = {"max_iterations": 100, "binary_search_steps": 9, "lr": 0.01, "beta": 0.001, "kappa": 0.0}
_EAD_ARGUMENTS = "max_iterations binary_search_steps lr beta kappa"
_ITERATED = "eps alpha steps"

ROWS = (
    # No search: controls.
    Row("VANILA", "max_loss", None, "The inputs as they are: a control, not a search."),
    Row(
        "GN", "max_loss", None, "Gaussian noise, brought back into the ball: a control, not a search.", "std=alpha", {"relative_step": 1.0}
    ),
    # Gradient ascent on a loss.
    Row("FGSM", "max_loss", _INF, "One step along the gradient's sign.", "eps"),
    Row("FFGSM", "max_loss", _INF, "One step along the gradient's sign from a random start.", "eps alpha", {"relative_step": 1.25}),
    Row("BIM", "max_loss", _INF, "Projected sign-gradient ascent from the input.", _ITERATED, _STEPS),
    Row("RFGSM", "max_loss", _INF, "Projected sign-gradient ascent after one random step.", _ITERATED, _STEPS),
    Row("PGD", "max_loss", _INF, "Projected sign-gradient ascent from a random start.", _ITERATED, _STEPS),
    Row("PGDL2", "max_loss", _L2, "Projected gradient ascent from a random start.", _ITERATED, _STEPS),
    Row(
        "EOTPGD",
        "max_loss",
        _INF,
        "PGD on gradients averaged over a randomised network.",
        f"{_ITERATED} eot_iter",
        {"steps": 10, "eot_iter": 2},
    ),
    Row("TPGD", "max_loss", _INF, "PGD on the KL divergence to the clean output (TRADES): ignores the labels.", _ITERATED, _STEPS),
    Row("UPGD", "max_loss", _INF, "PGD with momentum.", f"{_ITERATED} decay eot_iter", {**_MOMENTUM, "eot_iter": 1}),
    Row("MIFGSM", "max_loss", _INF, "Iterated sign-gradient ascent with momentum.", f"{_ITERATED} decay", _MOMENTUM),
    Row("NIFGSM", "max_loss", _INF, "Iterated sign-gradient ascent with Nesterov's momentum.", f"{_ITERATED} decay", _MOMENTUM),
    Row("SINIFGSM", "max_loss", _INF, "NIFGSM over darkened copies, for transfer.", f"{_ITERATED} decay m", {**_MOMENTUM, "m": 5}),
    Row(
        "VMIFGSM",
        "max_loss",
        _INF,
        "MIFGSM with tuned variance, for transfer.",
        f"{_ITERATED} decay N beta",
        {**_MOMENTUM, "N": 5, "beta": 1.5},
    ),
    Row(
        "VNIFGSM",
        "max_loss",
        _INF,
        "NIFGSM with tuned variance, for transfer.",
        f"{_ITERATED} decay N beta",
        {**_MOMENTUM, "N": 5, "beta": 1.5},
    ),
    Row(
        "DIFGSM",
        "max_loss",
        _INF,
        "Ascent over resized copies, for transfer.",
        f"{_ITERATED} decay",
        {"steps": 10, "decay": 0.0},
        images=True,
        square=True,
    ),
    Row(
        "TIFGSM",
        "max_loss",
        _INF,
        "DIFGSM on smoothed gradients, for transfer.",
        f"{_ITERATED} decay",
        {"steps": 10, "decay": 0.0},
        images=True,
        square=True,
        channels=3,
    ),
    Row(
        "PIFGSM",
        "max_loss",
        _INF,
        "Amplified steps whose excess goes to neighbouring pixels, for transfer.",
        "max_epsilon=eps num_iter_set=steps amplification",
        {"steps": 10, "amplification": 10.0},
        images=True,
        channels=3,
    ),
    Row(
        "PIFGSMPP",
        "max_loss",
        _INF,
        "PIFGSM on smoothed gradients, for transfer.",
        "max_epsilon=eps num_iter_set=steps amplification",
        {"steps": 10, "amplification": 10.0},
        images=True,
        channels=3,
    ),
    Row(
        "Jitter",
        "max_loss",
        _INF,
        "PGD on the squared error of a scaled, noisy softmax.",
        f"{_ITERATED} scale std",
        {"steps": 10, "scale": 10.0, "std": 0.1},
    ),
    Row(
        "PGDRS",
        "max_loss",
        _INF,
        "PGD on a smoothed network: weak on one that is not smoothed.",
        f"{_ITERATED} noise_sd noise_batch_size",
        {"steps": 10, "noise_sd": 0.5, "noise_batch_size": 5},
    ),
    Row(
        "PGDRSL2",
        "max_loss",
        _L2,
        "PGDL2 on a smoothed network: weak on one that is not smoothed.",
        f"{_ITERATED} noise_sd noise_batch_size",
        {"steps": 10, "noise_sd": 0.5, "noise_batch_size": 5},
    ),
    Row(
        "SPSA",
        "max_loss",
        _INF,
        "Ascent on the margin with gradients from finite differences.",
        "eps lr=alpha nb_iter=steps delta nb_sample max_batch_size",
        {"steps": 10, "delta": 0.01, "nb_sample": 128, "max_batch_size": 16},
    ),
    # The clean input comes back where nothing was found.
    Row(
        "APGD",
        "first_success",
        _BOTH,
        "PGD with a step size that adapts (its start is 2ε).",
        "eps norm seed steps n_restarts=restarts loss",
        {"steps": 10, "restarts": 1, "loss": "ce"},
    ),
    Row(
        "APGDT",
        "first_success",
        _BOTH,
        "APGD towards the 9 likeliest wrong classes.",
        "eps norm seed steps n_restarts=restarts n_classes=classes",
        {"steps": 10, "restarts": 1},
        min_classes=4,
    ),
    Row(
        "Square",
        "first_success",
        _BOTH,
        "Random search over squares, without gradients.",
        "eps norm seed n_queries=queries n_restarts=restarts",
        {"queries": 5000, "restarts": 1},
        images=True,
        square=True,
    ),
    Row(
        "AutoAttack",
        "first_success",
        _BOTH,
        "APGD, APGDT, FAB and Square of 10 iterations each, where the reference AutoAttack has 100.",
        "eps norm seed version n_classes=classes",
        {"version": "standard"},
        min_classes=4,
        images=True,
        square=True,
    ),
    Row(
        "OnePixel",
        "first_success",
        None,
        "Evolution of few pixels: no lp ball is its own, so its change is clipped and weak.",
        "pixels steps popsize",
        {"pixels": 1, "steps": 10, "popsize": 10},
        images=True,
    ),
    Row(
        "Pixle",
        "first_success",
        None,
        "Random rearrangement of pixels: no lp ball is its own, so its change is clipped and weak.",
        "restarts max_iterations=max_patches",
        {"restarts": 20, "max_patches": 10},
        images=True,
        square=True,
    ),
    # The smallest perturbation that is wrong: it counts only where it lies in the ball.
    Row(
        "CW",
        "min_norm",
        _L2,
        "Carlini and Wagner's smallest perturbation, by Adam.",
        "steps c kappa lr",
        {"steps": 50, "c": 1.0, "kappa": 0.0, "lr": 0.01},
        margin=0.1,
    ),
    Row(
        "DeepFool",
        "min_norm",
        _L2,
        "Steps to the nearest linearised boundary.",
        "steps overshoot",
        {"steps": 50, "overshoot": 0.02},
        stretch=True,
    ),
    Row(
        "FAB",
        "min_norm",
        _BOTH,
        "Projections on linearised boundaries, kept near the input.",
        "eps norm seed steps n_restarts=restarts multi_targeted n_classes=classes",
        {"steps": 10, "restarts": 1, "multi_targeted": False},
    ),
    Row("EADL1", "min_norm", (1.0,), "Elastic-net attack that keeps the smallest l1 norm.", _EAD_ARGUMENTS, _EAD),
    Row("EADEN", "min_norm", (1.0, 2.0), "Elastic-net attack that keeps the smallest l2² + beta·l1.", _EAD_ARGUMENTS, _EAD),
    Row(
        "SparseFool",
        "min_norm",
        None,
        "Fewest features, by DeepFool: no lp ball is its own, so few finds lie within one.",
        "steps lam overshoot",
        {"steps": 10, "lam": 3.0, "overshoot": 0.02},
    ),
    Row(
        "JSMA",
        "min_norm",
        None,
        "Fewest features towards class (y+1) mod 10: no lp ball is its own, so few finds lie within one.",
        "theta=alpha gamma",
        {"relative_step": 1.0, "gamma": 0.1},
        min_classes=10,
    ),
)
