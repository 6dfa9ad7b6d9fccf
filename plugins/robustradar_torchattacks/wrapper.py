"""torchattacks' two wrappers, which take more than a network: other attacks, or data to train surrogates on."""

from __future__ import annotations

import contextlib
import io
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, Field

from robustradar.adapter import Stage, declared
from robustradar_torchattacks.attack import TorchAttack
from robustradar_torchattacks.table import PARAMETERS, ROWS, RelativeStep, Row, Steps

# A member must keep to the ball by itself: MultiAttack takes a sample for broken by any wrong answer, however far away.
Member = Literal[
    "APGD", "APGDT", "AutoAttack", "BIM", "DIFGSM", "EOTPGD", "FAB", "FFGSM", "FGSM", "Jitter", "MIFGSM", "NIFGSM", "PGD", "PGDL2",
    "PGDRS", "PGDRSL2", "PIFGSM", "PIFGSMPP", "RFGSM", "SINIFGSM", "SPSA", "Square", "TIFGSM", "TPGD", "UPGD", "VMIFGSM", "VNIFGSM",
]  # fmt: skip
_ROWS = {row.name: row for row in ROWS}


def _norms(members: tuple[str, ...]) -> tuple[float, ...]:
    """The norms that all members can do."""
    return tuple(p for p in _ROWS[members[0]].norms or () if all(p in (_ROWS[name].norms or ()) for name in members))


def _agreeing(members: tuple[Member, ...]) -> tuple[Member, ...]:
    """The members, if there is a norm for all of them."""
    if not _norms(members):
        raise ValueError("attacks that share a norm")
    return members


@dataclass(frozen=True)
class MultiAttack(TorchAttack):
    """Several attacks, each on the samples that those before it left unbroken."""

    members: Annotated[
        tuple[Member, ...], Field(min_length=2, description="Which, in order, with their defaults."), AfterValidator(_agreeing)
    ] = ("FGSM", "PGD")

    def __post_init__(self) -> None:
        """Takes norms and needs over from the members."""
        for fact in ("norms", "images", "min_classes"):
            object.__setattr__(self, fact, getattr(self.row, fact))

    @property
    def row(self) -> Row:
        """The strictest of the members'."""
        rows = [_ROWS[name] for name in self.members]
        return Row(
            "MultiAttack",
            self.kind,
            _norms(self.members),
            self.summary,
            min_classes=max(row.min_classes for row in rows),
            images=any(row.images for row in rows),
            channels=max(row.channels or 0 for row in rows) or None,
            square=any(row.square for row in rows),
        )

    def build(self, stage: Stage) -> Any:
        """The torchattacks object."""
        import torchattacks

        return torchattacks.MultiAttack([declared(TorchAttack, _ROWS[name], PARAMETERS).build(stage) for name in self.members])


@dataclass(frozen=True)
class LGV(TorchAttack):
    """BIM on copies of the network that were trained further, on the batch at hand, with a large learning rate: for transfer."""

    steps: Steps = 10
    relative_step: RelativeStep = None
    lr: Annotated[float, Field(gt=0, description="Learning rate of the copies' training.")] = 0.05
    epochs: Annotated[int, Field(ge=1, description="Copies, each one pass over the batch later than the one before.")] = 10

    @property
    def row(self) -> Row:
        """What there is to know of it."""
        return Row("LGV", self.kind, self.norms, self.summary)

    def build(self, stage: Stage) -> Any:
        """The torchattacks object.

        Raises:
            ValueError: The network has nothing to train.
        """
        import torch
        import torchattacks

        if not any(p.numel() for p in stage.model.parameters()):
            raise ValueError("torchattacks/LGV: got a network without parameters, expected one that can be trained further. Use BIM.")
        # One model an epoch: with more, LGV's fraction of this one-batch loader would round to no batch at all, and nothing be trained.
        attack = torchattacks.LGV(
            stage.model, [(stage.z, stage.y)], lr=self.lr, epochs=self.epochs, nb_models_epoch=1, verbose=False,
            eps=stage.eps, alpha=self.share() * stage.eps, steps=self.steps,
        )  # fmt: skip
        attack.model.requires_grad_(True)  # a copy
        if torch.cuda.is_available():  # LGV then takes its data there, wherever the network is
            attack.model.cuda().home = torch.device("cuda")
            attack.set_device("cuda")
        with contextlib.redirect_stderr(io.StringIO()):  # tqdm
            attack.collect_models()
        return attack


MULTI_ATTACK = MultiAttack(name="MultiAttack", kind="first_success")
LGV_ATTACK = LGV(name="LGV", norms=(float("inf"),))
