"""Losses against Dice and cross-entropy computed by hand, pixel by pixel."""

from __future__ import annotations

from math import exp, log

import pytest
import torch
from monai.losses import DiceCELoss

from handseg_monai.losses import DeepSupervisionLoss, PerBoneLoss
from tests.targets import packed

SMOOTH = 1e-5  # MONAI's, in numerator and denominator of the Dice


def sigmoid(x: float) -> float:
    return 1 / (1 + exp(-x))


def example(bones: int = 29) -> tuple[torch.Tensor, torch.Tensor]:
    """Logits and target, (2, bones, 3, 4), overlapping; every third bone of the first image is absent."""
    generator = torch.Generator().manual_seed(0)
    logits = torch.randn(2, bones, 3, 4, generator=generator, dtype=torch.float64) * 2
    target = (torch.rand(2, bones, 3, 4, generator=generator) < 0.4).double()
    target[0, ::3] = 0
    return logits, target


def dice_and_cross_entropy_by_hand(logits: torch.Tensor, target: torch.Tensor) -> float:
    """Mean over images and bones of (1 - Dice) + binary cross-entropy, in plain loops."""
    total = 0.0
    for image_logits, image_target in zip(logits.tolist(), target.tolist(), strict=True):
        for bone_logits, bone_target in zip(image_logits, image_target, strict=True):
            xs = [x for row in bone_logits for x in row]
            ts = [t for row in bone_target for t in row]
            ps = [sigmoid(x) for x in xs]
            both = sum(p * t for p, t in zip(ps, ts, strict=True))
            dice = (2 * both + SMOOTH) / (sum(ps) + sum(ts) + SMOOTH)
            entropy = -sum(t * log(p) + (1 - t) * log(1 - p) for p, t in zip(ps, ts, strict=True)) / len(xs)
            total += (1 - dice) + entropy
    return total / (len(logits) * logits.shape[1])


def gradient_by_hand(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Derivative of the above by each logit: Dice by the quotient rule, cross-entropy p - t."""
    gradient = torch.zeros_like(logits)
    images, bones, height, width = logits.shape
    for b in range(images):
        for k in range(bones):
            p = [[sigmoid(x) for x in row] for row in logits[b, k].tolist()]
            t = target[b, k].tolist()
            pixels = [(r, c) for r in range(height) for c in range(width)]
            numerator = 2 * sum(p[r][c] * t[r][c] for r, c in pixels) + SMOOTH
            denominator = sum(p[r][c] + t[r][c] for r, c in pixels) + SMOOTH
            for r, c in pixels:
                dice = (2 * t[r][c] * denominator - numerator) / denominator**2 * p[r][c] * (1 - p[r][c])
                gradient[b, k, r, c] = (-dice + (p[r][c] - t[r][c]) / len(pixels)) / (images * bones)
    return gradient


class TestPerBoneLoss:
    @pytest.mark.parametrize("bones", [29, 1])
    def test_equals_dice_and_binary_cross_entropy_by_hand(self, bones: int) -> None:
        logits, target = example(bones)
        loss = PerBoneLoss(DiceCELoss(sigmoid=True))(logits, packed(target))
        assert loss.ndim == 0
        assert float(loss) == pytest.approx(dice_and_cross_entropy_by_hand(logits, target), rel=1e-9)

    def test_its_gradient_equals_that_by_hand(self) -> None:
        logits, target = example()
        logits.requires_grad_()
        PerBoneLoss(DiceCELoss(sigmoid=True))(logits, packed(target)).backward()
        torch.testing.assert_close(logits.grad, gradient_by_hand(logits.detach(), target), rtol=1e-7, atol=1e-12)

    def test_absent_bones_count(self) -> None:
        logits, target = example()
        absent = torch.zeros_like(target)
        loss = float(PerBoneLoss(DiceCELoss(sigmoid=True))(logits, packed(absent)))
        assert loss == pytest.approx(dice_and_cross_entropy_by_hand(logits, absent), rel=1e-9)
        lower = float(PerBoneLoss(DiceCELoss(sigmoid=True))(logits - 5, packed(absent)))
        assert lower < loss

    def test_a_false_positive_of_one_bone_leaves_the_gradient_of_others_alone(self) -> None:
        logits, target = example()
        gradients = []
        for shift in (0.0, 4.0):
            shifted = logits.clone()
            shifted[:, 3] += shift
            shifted.requires_grad_()
            PerBoneLoss(DiceCELoss(sigmoid=True))(shifted, packed(target)).backward()
            gradients.append(shifted.grad)
        others = [k for k in range(29) if k != 3]
        torch.testing.assert_close(gradients[0][:, others], gradients[1][:, others], rtol=1e-12, atol=0)
        assert not torch.allclose(gradients[0][:, 3], gradients[1][:, 3])

    def test_monais_loss_on_29_channels_is_another_one(self) -> None:
        """Its cross-entropy is a softmax across the bones, which is why the loss is folded."""
        logits, target = example()
        plain = float(DiceCELoss(sigmoid=True)(logits, target))
        assert abs(plain - dice_and_cross_entropy_by_hand(logits, target)) > 1

    def test_targets_of_another_type_or_shape_are_refused(self) -> None:
        logits, target = example()
        planes, known = packed(target)
        loss = PerBoneLoss(DiceCELoss(sigmoid=True))
        with pytest.raises(TypeError, match=r"int32, got torch\.float32"):
            loss(logits, (planes.float(), known))
        for wrong in ((planes[:1], known), (planes[:, 0], known), (planes, known[:1])):
            with pytest.raises(ValueError, match=r"expected logits \(B, 29, H, W\), planes \(B, 1, H, W\) and known"):
                loss(logits, wrong)


class TestUnknownBones:
    """Masks of NaN stand for bones that nobody has labelled in an image."""

    UNKNOWN = ((0, 3), (0, 28), (1, 0), (1, 3))

    def example(self) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits, whole target, and the target with unknown bones."""
        logits, target = example()
        partial = target.clone()
        for image, bone in self.UNKNOWN:
            partial[image, bone] = torch.nan
        return logits, target, partial

    def of_known(self, logits: torch.Tensor, target: torch.Tensor) -> float:
        """Mean over the known images and bones of the loss by hand."""
        pairs = [(b, k) for b in range(2) for k in range(29) if (b, k) not in self.UNKNOWN]
        parts = [
            dice_and_cross_entropy_by_hand(logits[b : b + 1, k : k + 1], target[b : b + 1, k : k + 1]) for b, k in pairs
        ]
        return sum(parts) / len(pairs)

    def test_the_loss_is_the_mean_over_the_known_ones(self) -> None:
        logits, target, partial = self.example()
        loss = PerBoneLoss(DiceCELoss(sigmoid=True))(logits, packed(partial))
        assert float(loss) == pytest.approx(self.of_known(logits, target), rel=1e-9)

    def test_their_gradient_is_exactly_zero_and_the_others_that_of_finite_differences(self) -> None:
        logits, target, partial = self.example()
        logits.requires_grad_()
        PerBoneLoss(DiceCELoss(sigmoid=True))(logits, packed(partial)).backward()
        gradient, plain, step = logits.grad, logits.detach(), 1e-5
        for b in range(2):
            for k in range(29):
                if (b, k) in self.UNKNOWN:
                    assert (gradient[b, k] == 0).all()
                else:
                    assert (gradient[b, k] != 0).all()
        for b, k, r, c in ((0, 0, 0, 0), (0, 4, 2, 3), (1, 28, 1, 2)):
            moved = []
            for sign in (1, -1):
                other = plain.clone()
                other[b, k, r, c] += sign * step
                moved.append(self.of_known(other, target))
            assert float(gradient[b, k, r, c]) == pytest.approx((moved[0] - moved[1]) / (2 * step), rel=1e-5)

    def test_heads_of_deep_supervision_leave_them_out_too(self) -> None:
        logits, target, partial = self.example()
        stack = torch.stack([logits, logits * 0.5], dim=1).requires_grad_()
        loss = DeepSupervisionLoss(PerBoneLoss(DiceCELoss(sigmoid=True)))(stack, packed(partial))
        loss.backward()
        expected = self.of_known(logits, target) + 0.5 * self.of_known(logits * 0.5, target)
        assert float(loss) == pytest.approx(expected, rel=1e-6)
        for b, k in self.UNKNOWN:
            assert (stack.grad[b, :, k] == 0).all()

    def test_a_batch_that_knows_nothing_has_no_loss(self) -> None:
        logits, target = example()
        logits.requires_grad_()
        loss = PerBoneLoss(DiceCELoss(sigmoid=True))(logits, packed(torch.full_like(target, torch.nan)))
        loss.backward()
        assert float(loss) == 0
        assert (logits.grad == 0).all()


class TestDeepSupervisionLoss:
    HEADS = 3  # MONAI adds them up in float32, whatever they are, hence the tolerances here

    def heads(self) -> torch.Tensor:
        """Logits of three heads at the full resolution, (2, 3, 29, 3, 4), as DynUNet stacks them."""
        logits, _ = example()
        return torch.stack([logits, logits.flip(1) + 0.3, logits * 0.2 - 1], dim=1)

    def by_hand(self, stack: torch.Tensor, target: torch.Tensor) -> float:
        """Each head counts half of the one before."""
        return sum(0.5**i * dice_and_cross_entropy_by_hand(stack[:, i], target) for i in range(self.HEADS))

    def test_a_stack_is_the_weighted_sum_by_hand(self) -> None:
        _, target = example()
        loss = DeepSupervisionLoss(PerBoneLoss(DiceCELoss(sigmoid=True)))(self.heads(), packed(target))
        assert float(loss) == pytest.approx(self.by_hand(self.heads(), target), rel=1e-6)

    def test_a_list_is_the_same_as_a_stack(self) -> None:
        _, target = example()
        loss = DeepSupervisionLoss(PerBoneLoss(DiceCELoss(sigmoid=True)))
        given = packed(target)
        assert float(loss(list(torch.unbind(self.heads(), 1)), given)) == float(loss(self.heads(), given))

    def test_as_many_heads_as_images_are_told_apart(self) -> None:
        """Heads and images both number two: the heads are the second axis."""
        _, target = example()
        stack = self.heads()[:, :2]
        expected = sum(0.5**i * dice_and_cross_entropy_by_hand(stack[:, i], target) for i in range(2))
        loss = DeepSupervisionLoss(PerBoneLoss(DiceCELoss(sigmoid=True)))(stack, packed(target))
        assert float(loss) == pytest.approx(expected, rel=1e-6)

    def test_one_head_is_the_loss_itself(self) -> None:
        logits, target = example()
        loss = DeepSupervisionLoss(PerBoneLoss(DiceCELoss(sigmoid=True)))(logits, packed(target))
        assert float(loss) == pytest.approx(dice_and_cross_entropy_by_hand(logits, target), rel=1e-6)

    def test_every_head_gets_a_gradient(self) -> None:
        _, target = example()
        stack = self.heads().requires_grad_()
        DeepSupervisionLoss(PerBoneLoss(DiceCELoss(sigmoid=True)))(stack, packed(target)).backward()
        for i in range(self.HEADS):
            expected = 0.5**i * gradient_by_hand(stack.detach()[:, i], target)
            torch.testing.assert_close(stack.grad[:, i], expected, rtol=1e-4, atol=1e-8)

    def test_a_dictionary_counts_its_output_first(self) -> None:
        _, target = example()
        heads = torch.unbind(self.heads(), 1)[:2]
        loss = DeepSupervisionLoss(PerBoneLoss(DiceCELoss(sigmoid=True)))
        given = packed(target)
        assert float(loss({"aux": heads[1], "out": heads[0]}, given)) == float(loss(list(heads), given))

    def test_a_smaller_head_sees_the_target_at_its_own_size(self) -> None:
        generator = torch.Generator().manual_seed(2)
        full, half = (torch.randn(2, 29, side, side, generator=generator, dtype=torch.float64) for side in (8, 4))
        target = (torch.rand(2, 29, 4, 4, generator=generator) < 0.4).double()
        whole = target.repeat_interleave(2, 2).repeat_interleave(2, 3)
        loss = DeepSupervisionLoss(PerBoneLoss(DiceCELoss(sigmoid=True)))
        by_hand = dice_and_cross_entropy_by_hand(full, whole) + 0.5 * dice_and_cross_entropy_by_hand(half, target)
        assert float(loss((half, full), packed(whole))) == pytest.approx(by_hand, rel=1e-6)

    def test_a_head_of_one_pixel_learns_which_of_the_known_bones_are_there(self) -> None:
        logits, target = example()
        target[0, 4], target[1, 28] = 0, 0
        there = torch.linspace(-2, 3, 58, dtype=torch.float32).view(2, 29, 1, 1).requires_grad_()
        unknown = [(0, 3), (1, 0)]
        pairs = [(b, k) for b in range(2) for k in range(29) if (b, k) not in unknown]
        by_hand = 0.0
        for b, k in pairs:
            p = 1 / (1 + exp(-float(there[b, k])))
            by_hand -= log(p if bool(target[b, k].any()) else 1 - p) / len(pairs)
        loss = DeepSupervisionLoss(PerBoneLoss(DiceCELoss(sigmoid=True)))
        for b, k in unknown:
            target[b, k] = torch.nan
        given = packed(target)
        alone, whole = loss([logits.float()], given), loss([logits.float(), there], given)
        assert float(whole - alone) == pytest.approx(by_hand, rel=1e-5)
        whole.backward()
        assert [(b, k) for b, k, *_ in there.grad.nonzero().tolist()] == pairs


class TestStride:
    def test_the_loss_of_a_grid_is_that_of_every_second_pixel_from_some_corner(self) -> None:
        generator = torch.Generator().manual_seed(1)
        logits = torch.randn(2, 3, 6, 8, generator=generator, dtype=torch.float64)
        target = (torch.rand(2, 3, 6, 8, generator=generator) < 0.4).double()
        grids = [(y, x) for y in range(2) for x in range(2)]
        possible = [dice_and_cross_entropy_by_hand(logits[..., y::2, x::2], target[..., y::2, x::2]) for y, x in grids]
        loss = PerBoneLoss(DiceCELoss(sigmoid=True), stride=2)
        torch.manual_seed(0)
        seen = {
            min(range(4), key=lambda k: abs(possible[k] - value)) for value in _values(loss, logits, target, possible)
        }
        assert seen == {0, 1, 2, 3}

    @pytest.mark.parametrize("side", [1, 2, 3])
    def test_a_stride_beyond_the_head_takes_a_pixel_of_it(self, side: int) -> None:
        """Heads of deep supervision are small: a corner beyond them would leave nothing, and a loss of NaN."""
        logits = torch.randn(1, 29, side, side)
        for seed in range(20):
            torch.manual_seed(seed)
            assert PerBoneLoss(DiceCELoss(sigmoid=True), stride=8)(logits, packed((logits > 0).float())).isfinite()

    def test_a_stride_below_one_is_refused(self) -> None:
        with pytest.raises(ValueError, match="at least 1, got 0"):
            PerBoneLoss(DiceCELoss(sigmoid=True), stride=0)


def _values(loss: PerBoneLoss, logits: torch.Tensor, target: torch.Tensor, possible: list[float]) -> list[float]:
    values = [float(loss(logits, packed(target))) for _ in range(40)]
    for value in values:
        assert min(abs(value - other) for other in possible) < 1e-9
    return values
