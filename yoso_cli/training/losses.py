"""The set-prediction loss: class, mask and dice terms of every stage, on matched pairs and sampled points."""

# B images, N proposals, K classes, M matched pairs of the batch, P points

from collections.abc import Sequence
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from torch import Tensor

from yoso_cli.loading.dataset import Target
from yoso_cli.model.yoso import Output
from yoso_cli.training.matcher import Match, match
from yoso_cli.training.points import Rand, sample_logits, sample_masks, uncertain_points
from yoso_cli.training.share import Share


@dataclass(frozen=True)
class _Points:
    """The sampled points of one stage, in 0..1; none lies in padding.

    Attributes:
        matching: (B, P, 2), for all proposals and targets of an image.
        candidates: (M, C, 2), of which the most uncertain are used for each matched pair.
        others: (M, R, 2), all of which are used.
    """

    matching: Tensor
    candidates: Tensor
    others: Tensor


@dataclass(frozen=True)
class SetLoss:
    """The set-prediction loss. Each stage is matched separately, on its own points (deep supervision).

    Attributes:
        class_weight: of the class loss, in the matching and in the sum.
        mask_weight: of the binary cross-entropy, in both.
        dice_weight: of the dice loss, in both.
        no_object_weight: of the no-object class within the class loss; most proposals are no object.
        num_points: points per mask.
        oversample_ratio: candidates per point, of which the uncertain are kept.
        importance_ratio: share of the points chosen by uncertainty.
    """

    class_weight: float = 2.0
    mask_weight: float = 5.0
    dice_weight: float = 5.0
    no_object_weight: float = 0.1
    num_points: int = 12544
    oversample_ratio: float = 3.0
    importance_ratio: float = 0.75

    def __call__(
        self, outputs: Sequence[Output], targets: Sequence[Target], rand: Rand, share: Share | None = None
    ) -> dict[str, Tensor]:
        """The weighted terms; their sum is the loss. Outputs that are not finite make a loss that is not.

        Args:
            outputs: one per stage; a stage without class logits has no class term.
            targets: one per image, masks of the padded picture's size. No targets, empty masks and more targets than
                proposals are all fine.
            rand: called before anything else: per stage for each image's matching, for the candidates, and for the rest
                of the points.
            share: which part of a divided batch these images are; all of it if None.

        Returns:
            scalars named "s0.mask", "s0.dice", "s1.class", "s1.mask", ...
        """
        share = share or Share.whole(targets)
        points = self._points(outputs, targets, rand, share)
        matches = match(
            outputs,
            targets,
            [one.matching for one in points],
            class_weight=self.class_weight,
            mask_weight=self.mask_weight,
            dice_weight=self.dice_weight,
        )
        terms = {}
        for stage, (output, found, places) in enumerate(zip(outputs, matches, points, strict=True)):
            for name, term in self._stage(output, targets, found, places, share).items():
                terms[f"s{stage}.{name}"] = term
        return terms

    def _points(self, outputs: Sequence[Output], targets: Sequence[Target], rand: Rand, share: Share) -> list[_Points]:
        """The points of all stages, since all are matched before any loss: 330 KB for each target and stage."""
        proposals = outputs[0].mask_logits.shape[1]
        others = self.num_points - int(self.importance_ratio * self.num_points)
        candidates = int(self.num_points * self.oversample_ratio)
        extents = [target.extent for target in targets]
        repeated = [extent for extent, count in zip(extents, share.pairs(proposals), strict=True) for _ in range(count)]
        like = outputs[0].mask_logits
        of_images, of_pairs = (  # (B, 1, 2), (M, 1, 2)
            like.new_tensor(found, dtype=torch.float32).view(-1, 1, 2) for found in (extents, repeated)
        )
        return [
            _Points(
                share.for_images(rand, self.num_points, 2) * of_images,
                share.for_pairs(rand, proposals, candidates, 2) * of_pairs,
                share.for_pairs(rand, proposals, others, 2) * of_pairs,
            )
            for _ in outputs
        ]

    def _stage(
        self, output: Output, targets: Sequence[Target], matches: Sequence[Match], points: _Points, share: Share
    ) -> dict[str, Tensor]:
        terms = {}
        if output.class_logits is not None:
            found = class_loss(output.class_logits, targets, matches, share, no_object_weight=self.no_object_weight)
            terms["class"] = self.class_weight * found
        mask, dice = self._mask_losses(output.mask_logits, targets, matches, points, share)
        if not all(pairs.sound for pairs in matches):
            mask = mask * torch.nan
        terms["mask"] = self.mask_weight * mask
        terms["dice"] = self.dice_weight * dice
        return terms

    def _mask_losses(
        self, logits: Tensor, targets: Sequence[Target], matches: Sequence[Match], points: _Points, share: Share
    ) -> tuple[Tensor, Tensor]:
        """Binary cross-entropy and dice of the matched pairs, per target of the whole batch."""
        predicted = torch.cat([row[pairs.queries] for row, pairs in zip(logits, matches, strict=True)]).float()
        places = uncertain_points(predicted, points.candidates, points.others, num_points=self.num_points)
        at_points = sample_logits(predicted, places)
        wanted = _sample_targets(targets, matches, places)
        bce = F.binary_cross_entropy_with_logits(at_points, wanted, reduction="none").mean(1).sum()
        return bce / share.num_masks, _dice(at_points.sigmoid(), wanted).sum() / share.num_masks


def class_loss(
    logits: Tensor, targets: Sequence[Target], matches: Sequence[Match], share: Share, *, no_object_weight: float
) -> Tensor:
    """Cross-entropy of all proposals (B, N, K+1); unmatched ones are trained to predict "no object"."""
    no_object = logits.shape[-1] - 1
    wanted = torch.full(logits.shape[:2], no_object, dtype=torch.int64, device=logits.device)  # (B, N)
    for row, target, pairs in zip(wanted, targets, matches, strict=True):
        row[pairs.queries] = target.labels[pairs.targets]
    weight = torch.ones(no_object + 1, device=logits.device)
    weight[no_object] = no_object_weight
    total = F.cross_entropy(logits.float().flatten(0, 1), wanted.flatten(), weight, reduction="sum")
    return total / (share.class_weight(logits.shape[1], no_object_weight) or 1.0)


def _sample_targets(targets: Sequence[Target], matches: Sequence[Match], points: Tensor) -> Tensor:
    """(M, P): the targets' masks at their pairs' points."""
    shares = torch.split(points, [len(pairs.queries) for pairs in matches])
    sampled = [
        sample_masks(target.masks[pairs.targets], share)
        for target, pairs, share in zip(targets, matches, shares, strict=True)
    ]
    return torch.cat(sampled)


def _dice(probability: Tensor, wanted: Tensor) -> Tensor:
    """(M,): 1 - the overlap of soft masks (M, P); the ones keep empty masks off 0 / 0."""
    overlap = 2 * (probability * wanted).sum(1) + 1
    return 1 - overlap / (probability.sum(1) + wanted.sum(1) + 1)
