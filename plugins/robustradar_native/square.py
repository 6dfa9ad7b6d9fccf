"""Square Attack (Andriushchenko et al. 2020): random search with square windows, from outputs alone."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from robustradar import Victim
from robustradar.numerics.balls import confine, norm
from robustradar_native.gradient import column

# The paper's schedule: after so many of 10,000 queries, the share of pixels in a window is its first value over 2, 4, 8, ...
_SCHEDULE = (10, 50, 200, 500, 1000, 2000, 4000, 6000, 8000)
_SHARE = 0.8
_TINY = 1e-12


@dataclass(frozen=True)
class Trial:
    """The samples that are still right.

    Attributes:
        x: Clean images [n, channels, height, width].
        y: Labels [n].
        best: The points of lowest margin so far.
        margin: Their margins [n], z_y - max_{i != y} z_i.
        index: Which sample of the batch this is.
    """

    x: Tensor
    y: Tensor
    best: Tensor
    margin: Tensor
    index: Tensor

    def rows(self, keep: Tensor) -> Trial:
        """The chosen samples."""
        return Trial(self.x[keep], self.y[keep], self.best[keep], self.margin[keep], self.index[keep])


@dataclass(frozen=True)
class Chance:
    """Where is drawn from.

    Attributes:
        signs: The victim's generator, where the images are.
        places: On the host, which has to know places, so that no query waits for an accelerator to tell one; on a CPU the same.
    """

    signs: torch.Generator
    places: torch.Generator

    @classmethod
    def of(cls, generator: torch.Generator) -> Chance:
        """Both from the victim's."""
        if generator.device.type == "cpu":
            return cls(generator, generator)
        seed = torch.randint(2**31, (), generator=generator, device=generator.device)
        return cls(generator, torch.Generator().manual_seed(int(seed)))


def square(victim: Victim, x: Tensor, y: Tensor, queries: int) -> Tensor:
    """Random search for a wrong answer: p = inf by windows of one sign a channel, p = 2 by windows of mass moved to another place.

    The windows' place and size are shared by a batch, their signs are drawn for every sample. A proposal is kept where it lowers the
    margin.

    Args:
        victim: Model (only its outputs are used) and threat.
        x: Clean images [N, channels, height, width], inside the box.
        y: Labels [N].
        queries: Forward passes a sample may cost, >= 1, the clean one and that of the start aside.

    Returns:
        A point with a wrong answer where one was found, else x.
    """
    chance = Chance.of(victim.generator)
    propose, start = (_stripes_moved, _stripes) if math.isinf(victim.p) else (_mass_moved, _tiles)
    points = x.clone()
    clean, wrong = margin(victim, x, y)
    trial = Trial(x, y, x, clean, torch.arange(len(x), device=x.device)).rows(~wrong)
    for query in range(queries + 1):
        if not len(trial.index):
            break
        if query == 0:
            point = _inside(victim, trial.x, start(victim, trial.x, chance))
        else:
            side = window(query - 1, queries, trial.x.shape[2:], odd=victim.p == 2)
            point = _inside(victim, trial.x, propose(victim, trial, side, chance))
        found, wrong = margin(victim, point, trial.y)
        # At a tie the answer decides: the margin is 0 whether it is right or wrong.
        lower = (found < trial.margin) | wrong if query else torch.ones_like(wrong)
        best = torch.where(column(lower, point), point, trial.best)
        trial = Trial(trial.x, trial.y, best, torch.where(lower, found, trial.margin), trial.index)
        if wrong.any():
            points[trial.index[wrong]] = trial.best[wrong]
            trial = trial.rows(~wrong)
    return points


def margin(victim: Victim, x: Tensor, y: Tensor) -> tuple[Tensor, Tensor]:
    """z_y - max_{i != y} z_i [N], and whether the answer is wrong [N]: where it is 0, two outputs are tied, and the first is the answer."""
    with torch.no_grad():
        outputs: Tensor = victim.model(x)
    own = outputs.gather(1, y[:, None])[:, 0]
    return own - outputs.scatter(1, y[:, None], -torch.inf).amax(1), outputs.argmax(1) != y


def window(query: int, queries: int, size: tuple[int, ...], *, odd: bool) -> int:
    """The side of the window at a query, at most that of the image; odd and at least 3 (where the image is) for p = 2.

    >>> window(0, 5000, (32, 32), odd=False), window(4999, 5000, (32, 32), odd=False)
    (29, 1)
    """
    scaled = query * 10_000 // queries
    halvings = sum(scaled > limit for limit in _SCHEDULE)
    share = _SHARE / 2.0**halvings
    side = max(round(math.sqrt(share * size[0] * size[1])), 1)
    if odd:
        side = max(side, 3)
        side += 1 - side % 2
    return min(side, *size)


def bump(rows: int, columns: int) -> Tensor:
    """The paper's eta [rows, columns]: two opposite peaks, one in the upper and one in the lower half, of norm 1.

    A peak's value at distance d = max(abs(r - r0), abs(s - s0)) from its middle is sum_{k >= d} 1 / (k + 1) ** 2.
    """
    upper = max(rows // 2, 1)
    halves = [_peak(upper, columns)] + ([-_peak(rows - upper, columns)] if rows > upper else [])
    return _unit(torch.cat(halves))


def _peak(rows: int, columns: int) -> Tensor:
    """One peak of norm 1."""
    down = (torch.arange(rows) - rows // 2).abs()
    across = (torch.arange(columns) - columns // 2).abs()
    distance = torch.maximum(down[:, None], across[None, :])
    reach = max(rows, columns) // 2 + 1
    tail = (1 / torch.arange(1, reach + 1).square()).flip(0).cumsum(0).flip(0)
    return _unit(tail[distance])


def _unit(shape: Tensor) -> Tensor:
    """The shape over its 2-norm."""
    return shape.div(torch.linalg.vector_norm(shape))


def _inside(victim: Victim, x: Tensor, point: Tensor) -> Tensor:
    """A proposal, brought into ball and box."""
    return x + confine(x, point - x, victim.p, victim.eps, victim.bounds)


def _signs(shape: tuple[int, ...], like: Tensor, chance: Chance) -> Tensor:
    """Fair signs."""
    return torch.randint(0, 2, shape, generator=chance.signs, device=like.device).to(like.dtype).mul_(2).sub_(1)


def _place(size: torch.Size, side: int, chance: Chance) -> tuple[slice, slice]:
    """A window of the side, anywhere in the image."""
    corner = torch.rand(2, generator=chance.places).tolist()
    rows, columns = (int(share * (extent - side + 1)) for share, extent in zip(corner, size, strict=True))
    return slice(rows, rows + side), slice(columns, columns + side)


def _stripes(victim: Victim, x: Tensor, chance: Chance) -> Tensor:
    """The start for p = inf: vertical stripes of +-eps."""
    n, channels, _, columns = x.shape
    return x + victim.eps * _signs((n, channels, 1, columns), x, chance)


def _stripes_moved(victim: Victim, trial: Trial, side: int, chance: Chance) -> Tensor:
    """A proposal for p = inf: one window set to +-eps, a sign for every channel."""
    n, channels, *_ = trial.x.shape
    rows, columns = _place(trial.x.shape[2:], side, chance)
    point = trial.best.clone()
    point[:, :, rows, columns] = trial.x[:, :, rows, columns] + victim.eps * _signs((n, channels, 1, 1), point, chance)
    return point


def _eta(side: int, like: Tensor, chance: Chance) -> Tensor:
    """A bump [n, channels, side, side], lying or standing by a fair coin, with a fair sign a channel."""
    shape = bump(side, side).to(like, non_blocking=True)
    if torch.rand((), generator=chance.places) < 0.5:
        shape = shape.T
    return shape * _signs((*like.shape[:2], 1, 1), like, chance)


def _tiles(victim: Victim, x: Tensor, chance: Chance) -> Tensor:
    """The start for p = 2: five bumps across, five down, scaled to eps."""
    height, width = x.shape[2:]
    side = min(max(height // 5, 2), height, width)
    delta = torch.zeros_like(x)
    top, left = (height % side) // 2, (width % side) // 2
    for row in range(top, height - side + 1, side):
        for start in range(left, width - side + 1, side):
            delta[:, :, row : row + side, start : start + side] = _eta(side, x, chance)
    return x + _scaled(delta, victim.eps)


def _mass_moved(victim: Victim, trial: Trial, side: int, chance: Chance) -> Tensor:
    """A proposal for p = 2: the mass of one window, and what the budget has left, goes into a new bump in another (algorithm 3)."""
    delta = trial.best - trial.x
    n, channels, height, width = delta.shape
    filled = _place(delta.shape[2:], side, chance)
    emptied = _place(delta.shape[2:], side, chance)
    either = torch.zeros(height, width, dtype=torch.bool, device=delta.device)
    either[filled], either[emptied] = True, True
    unused = (victim.eps**2 - delta.flatten(1).square().sum(1)).clamp_min(0)
    budget = ((delta * either).square().sum((2, 3)) + unused[:, None] / channels).sqrt()[:, :, None, None]
    old = delta[:, :, *filled]
    shape = _eta(side, delta, chance) + old / (_window_norm(old) + _TINY)
    delta[:, :, *emptied] = 0
    delta[:, :, *filled] = shape / (_window_norm(shape) + _TINY) * budget
    return trial.x + _scaled(delta, victim.eps)


def _window_norm(delta: Tensor) -> Tensor:
    """Norms [n, channels, 1, 1] of every channel's window."""
    return delta.square().sum((2, 3), keepdim=True).sqrt()


def _scaled(delta: Tensor, eps: float) -> Tensor:
    """Perturbations of 2-norm eps."""
    return delta * (eps / column(norm(delta, 2).clamp_min(_TINY), delta))
