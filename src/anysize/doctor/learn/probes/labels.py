"""Targets that cannot be learned: values that are no class, interpolated masks, one class only, 255 in one-hots."""

import torch

from anysize.doctor.finding import Finding
from anysize.doctor.learn.case import NO_CLASS, Case

__all__ = ["ORDER", "probe"]

ORDER = 0
_BORDER_SHARE = 0.005  # ignored pixels of VOC's outlines are about 5 % of an image; fewer are no class by mistake
_BETWEEN = 0.1  # of the border pixels: 0.28 and more in masks resized bilinearly, under 0.005 in drawn ones
_LEAST_BORDER = 200
_MOST_OF_THEM = 0.9  # one value: an outline, such as that of cells or pets; interpolation runs through all values
_SHOWN = 8


def probe(case: Case) -> list[Finding]:
    """Look at the values of images and targets."""
    findings = []
    if not bool(torch.isfinite(case.images).all()):
        share = 1 - float(torch.isfinite(case.images).float().mean())
        findings.append(
            Finding(
                "labels",
                "error",
                f"{share:.2%} of the image values are NaN or infinite",
                "finite numbers",
                "look at the normalisation: a standard deviation of 0 divides by zero",
            )
        )
    findings += _one_hot(case) if case.is_one_hot else _indices(case) or _interpolated(case)
    return findings or _present(case)


def _interpolated(case: Case) -> list[Finding]:
    """Masks that were resized bilinearly: between classes 0 and 15 lies a seam of 4, 7 and 11."""
    if case.targets.dim() != 3 or case.num_classes < 3 or case.targets.shape[-1] < 3:
        return []
    num_border, between = 0, torch.zeros(case.num_classes, dtype=torch.int64)
    for target in (case.targets, case.targets.transpose(1, 2)):
        left, middle, right = target[..., :-2], target[..., 1:-1], target[..., 2:]
        valid = (left != case.ignore_label) & (middle != case.ignore_label) & (right != case.ignore_label)
        ramps = valid & (((left < middle) & (middle < right)) | ((left > middle) & (middle > right)))
        between += torch.bincount(middle[ramps].cpu(), minlength=case.num_classes)
        num_border += int(((left != right) & valid).sum())
    num_between = int(between.sum())
    share = num_between / max(num_border, 1)
    case.figures["mask_values_between_neighbours"] = share
    if num_border < _LEAST_BORDER or share < _BETWEEN:
        return []
    if int(between.max()) >= _MOST_OF_THEM * num_between:
        outline = int(between.argmax())
        return [
            Finding(
                "labels",
                "warning",
                f"class {outline} lies between two others in {share:.0%} of the mask pixels at borders",
                "a class that is an outline does so; so do masks of three classes that were resized bilinearly",
                f"if class {outline} is no outline, resize masks with nearest neighbour (Image.NEAREST, "
                "mode='nearest'), or leave them at their native size",
            )
        ]
    return [
        Finding(
            "labels",
            "error",
            f"{share:.0%} of the mask pixels at borders have a class number between those of their neighbours: masks "
            "that were resized bilinearly, with seams of classes that are not there",
            "borders from one class straight to the other",
            "resize masks with nearest neighbour (Image.NEAREST, mode='nearest'), or leave them at their native size",
        )
    ]


def _indices(case: Case) -> list[Finding]:
    values = torch.unique(case.targets).tolist()
    classes = max(case.num_classes, 2)
    ignored = case.ignore_label
    odd = [value for value in values if value != ignored and not 0 <= value < classes]
    expected = f"class indices 0..{classes - 1}" + ("" if ignored is None else f", or {ignored} where nothing counts")
    if odd:
        share = float(torch.isin(case.targets, torch.tensor(odd, device=case.targets.device)).float().mean())
        shown = ", ".join(map(str, odd[:_SHOWN])) + (", ..." if len(odd) > _SHOWN else "")
        fix = _fix_for(values, odd, classes)
        found = f"targets hold {shown}, in {share:.1%} of the pixels"
        return [Finding("labels", "error", found, expected, fix)]
    share = float((case.targets == ignored).float().mean()) if ignored is not None else 0.0
    if classes == 2 and ignored is not None and set(values) == {0, ignored} and share > _BORDER_SHARE:
        return [
            Finding(
                "labels",
                "error",
                f"masks hold 0 and {ignored} only: class 1 never occurs, and {share:.1%} of the pixels, all of the "
                "foreground, are ignored",
                expected,
                f"--mask-values 0,{ignored} reads {ignored} as class 1 (in Python: mask = mask // {ignored})",
            )
        ]
    return []


def _fix_for(values: list[int], odd: list[int], classes: int) -> str:
    if classes == 2 and len(values) == 2 and 0 in values:
        return f"--mask-values 0,{odd[0]} reads {odd[0]} as class 1"
    if odd == [255]:
        return "ignore_label=255 (--ignore-label 255): 255 marks what counts in no loss"
    if len(odd) == 1:
        return f"--ignore-label {odd[0]} if that pixel counts in no loss, or one class more: num_classes={odd[0] + 1}"
    if len(odd) > _SHOWN:
        return (
            "read masks as palette indices, and resize them with nearest neighbour: these look like interpolated grey"
        )
    return f"num_classes={max(odd) + 1}, or list the values of the masks: --mask-values {','.join(map(str, values))}"


def _one_hot(case: Case) -> list[Finding]:
    values = case.targets
    outside = (values < 0) | (values > 1)
    if bool(outside.any()):
        share = float(outside.any(dim=1).float().mean())
        shown = ", ".join(f"{value:g}" for value in torch.unique(values[outside])[:_SHOWN].tolist())
        return [
            Finding(
                "labels",
                "error",
                f"one-hot targets hold {shown} in their channels, in {share:.1%} of the pixels: such a pixel weighs "
                f"{float(values.max()):g} times as much as any other",
                "0 and 1, and all channels 0 where a pixel is ignored",
                "build one-hot masks from classes only, and set every channel to 0 where the mask is "
                f"{case.ignore_label}; or give class indices, which need no channels",
            )
        ]
    sums = values.sum(dim=1)
    several = float((sums > 1 + 1e-3).float().mean())
    if several > 0:
        return [
            Finding(
                "labels",
                "warning",
                f"one-hot targets add up to more than 1 over the channels in {several:.1%} of the pixels",
                "one class a pixel",
                "take class indices; for several labels a pixel use a sigmoid and binary cross-entropy",
            )
        ]
    return []


def _present(case: Case) -> list[Finding]:
    present = torch.unique(case.labels[case.labels != NO_CLASS]).tolist()
    if not present:
        return [
            Finding(
                "labels",
                "error",
                f"every target is ignored ({case.ignore_label})",
                "some pixels with a class",
                "look at the masks' values: --mask-values, or another --ignore-label",
            )
        ]
    if len(present) == 1:
        num = len(case.images)
        return [
            Finding(
                "labels",
                "warning",
                f"all targets of {num} samples are class {present[0]}",
                "at least two classes",
                "choose samples in which other classes occur; if none do, look at how masks are read",
            )
        ]
    return []
