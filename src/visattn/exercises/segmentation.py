"""Exercises on segmentation: labels, scores, the loss, enlarging, and reach.

Shapes: N images, B batch, K classes, H W map, h w smaller map or mask.
"""

import math
from functools import partial

import torch
import torch.nn.functional as F
from torch import Tensor

from visattn.exercises._declare import Draw, Exercise, Inputs, Variant

_PAGE = "far/segmentation.html"
_LOOK = f"{_PAGE}#look-first"
_FORMULA = f"{_PAGE}#the-formula"
_HAND = f"{_PAGE}#by-hand"
_LADDER = f"{_PAGE}#the-ladder"
_PROOF = f"{_PAGE}#prove-it"
_WRONG = f"{_PAGE}#right-shape-still-wrong"

Layers = list[tuple[int, int, int]]


# --- paste_labels ---------------------------------------------------------------


def paste_labels(
    labels: Tensor, mask: Tensor, row: int, column: int, group: int
) -> Tensor:
    """Classes [H, W] after a garment came down with its corner at (row, column)."""
    H, W = labels.shape
    pasted = labels.clone()
    for i in range(mask.shape[0]):
        for j in range(mask.shape[1]):
            a, b = row + i, column + j
            if mask[i, j] and 0 <= a < H and 0 <= b < W:
                pasted[a, b] = group
    return pasted


def _moved(mask: Tensor, row: int, column: int, H: int, W: int) -> Tensor:
    """The mask on a map [H, W]; what lies outside is cut off."""
    empty = torch.zeros(H, W, dtype=torch.int64)
    return paste_labels(empty, mask, row, column, 1).bool()


def _wrapped(mask: Tensor, row: int, column: int, H: int, W: int, both: bool) -> Tensor:
    """A negative index counts from the end; with `both`, one too large goes on at 0."""
    found = torch.zeros(H, W, dtype=torch.bool)
    for i, j in mask.nonzero().tolist():
        a, b = row + i, column + j
        if both or (-H <= a < H and -W <= b < W):
            found[a % H, b % W] = True
    return found


def _paste(
    labels: Tensor, mask: Tensor, row: int, column: int, group: int, *, how: str
) -> Tensor:
    H, W = labels.shape
    place = row, column
    if how == "box":
        mask = torch.ones_like(mask)
    if how == "inverted":
        mask = ~mask
    if how == "exchanged":
        place = column, row
    if how == "pushed inside":
        place = max(row, 0), max(column, 0)
    if how == "centre":
        place = row - mask.shape[0] // 2, column - mask.shape[1] // 2
    if how in ("wrapped", "wrapped at the start"):
        seen = _wrapped(mask, row, column, H, W, both=how == "wrapped")
    else:
        seen = _moved(mask, *place, H, W)
    if how == "below":
        seen = seen & (labels == 0)
    if how == "added":
        return labels + group * seen
    if how == "alone":
        return group * seen.to(labels.dtype)
    return torch.where(seen, group, labels)


def _draw_paste(
    random: Draw, H: int, W: int, h: int, w: int, row: int, column: int
) -> Inputs:
    return {
        "labels": random.integers(0, 2, H, W),
        "mask": random.uniform(h, w) < 0.6,
        "row": row - 3,
        "column": column - 3,
        "group": 4,
    }


PASTE_LABELS = Exercise(
    name="paste_labels",
    oracle=paste_labels,
    draw=_draw_paste,
    sizes=(
        {"H": 5, "W": 6, "h": 2, "w": 3, "row": 4, "column": 5},
        {"H": 5, "W": 5, "h": 3, "w": 3, "row": 1, "column": 4},
        {"H": 6, "W": 7, "h": 3, "w": 4, "row": 5, "column": 1},
        {"H": 6, "W": 7, "h": 4, "w": 4, "row": 7, "column": 8},
        {"H": 4, "W": 4, "h": 6, "w": 6, "row": 2, "column": 2},
    ),
    variants=(
        Variant(
            "whole_box",
            partial(_paste, how="box"),
            "The whole box gets the class. Only pixels of the mask do; around the"
            " garment the scene is seen.",
            _LOOK,
        ),
        Variant(
            "mask_inverted",
            partial(_paste, how="inverted"),
            "The mask is inverted: True marks the garment.",
            _LOOK,
        ),
        Variant(
            "row_and_column_exchanged",
            partial(_paste, how="exchanged"),
            "Row and column are exchanged. The row counts downwards and comes first.",
            _LOOK,
        ),
        Variant(
            "goes_on_at_the_other_side",
            partial(_paste, how="wrapped"),
            "What hangs over an edge comes back at the opposite side: a negative index"
            " counts from the end. Cut it off instead.",
            _LOOK,
            also=(partial(_paste, how="wrapped at the start"),),
        ),
        Variant(
            "pushed_inside",
            partial(_paste, how="pushed inside"),
            "A garment that hangs over the top or the left edge is pushed inside. It"
            " stays where it is; the rows and columns outside are cut off the mask.",
            _LOOK,
        ),
        Variant(
            "first_stays_on_top",
            partial(_paste, how="below"),
            "The garment lies below those that were there. The later one covers the"
            " earlier ones.",
            _LOOK,
        ),
        Variant(
            "classes_added",
            partial(_paste, how="added"),
            "The class is added to what was there. It replaces the old class.",
            _LOOK,
        ),
        Variant(
            "the_rest_lost",
            partial(_paste, how="alone"),
            "Pixels outside the mask became background. They keep their class.",
            _LOOK,
        ),
        Variant(
            "corner_taken_as_centre",
            partial(_paste, how="centre"),
            "(row, column) is taken as the centre. It is the upper left corner.",
            _LOOK,
        ),
    ),
    section=_LOOK,
    gradients=False,
)


# --- confusion_matrix -----------------------------------------------------------


def confusion_matrix(predicted: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Number of pixels [K, K] by true class (row) and predicted class (column)."""
    n = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    for found, truth in zip(predicted.flatten(), target.flatten(), strict=True):
        n[truth, found] += 1
    return n


def _draw_labels(
    random: Draw,
    N: int,
    H: int,
    W: int,
    K: int,
    absent: bool = False,
    phantom: bool = False,
) -> Inputs:
    """Labels of K classes: the last may occur nowhere, or be predicted only."""
    used = max(1, K - absent - phantom)
    target = random.integers(0, used - 1, N, H, W)
    # Images differ in what they hold, so that their mean is not the pooled score.
    target = torch.where(random.uniform(N, 1, 1) < 0.5, target, target // 2)
    other = random.integers(0, min(used - 1 + phantom, K - 1), N, H, W)
    if phantom and K > 1:
        other[0, 0, 0] = min(used, K - 1)
    keep = random.uniform(N, H, W) < 0.6
    keep[0, 0, 0] = not phantom
    return {
        "predicted": torch.where(keep, target, other),
        "target": target,
        "num_classes": K,
    }


def _shares(predicted: Tensor, target: Tensor, num_classes: int, dim: int) -> Tensor:
    n = confusion_matrix(predicted, target, num_classes).double()
    return n / n.sum(dim=dim, keepdim=True).clamp_min(1)


def _cut(predicted: Tensor, target: Tensor, num_classes: int) -> Tensor:
    K = int(torch.maximum(predicted.max(), target.max())) + 1
    return confusion_matrix(predicted, target, K)


def _once(predicted: Tensor, target: Tensor, num_classes: int) -> Tensor:
    n = torch.zeros(num_classes, num_classes, dtype=torch.int64)
    n[target.flatten(), predicted.flatten()] += 1
    return n


def _only(predicted: Tensor, target: Tensor, num_classes: int, right: bool) -> Tensor:
    n = confusion_matrix(predicted, target, num_classes)
    diagonal = torch.diag(n.diagonal())
    return diagonal if right else n - diagonal


CONFUSION_MATRIX = Exercise(
    name="confusion_matrix",
    oracle=confusion_matrix,
    draw=_draw_labels,
    sizes=(
        {"N": 1, "H": 2, "W": 3, "K": 2},
        {"N": 1, "H": 3, "W": 3, "K": 3},
        {"N": 2, "H": 4, "W": 3, "K": 4, "absent": True},
        {"N": 3, "H": 4, "W": 5, "K": 5, "phantom": True},
    ),
    variants=(
        Variant(
            "transposed",
            lambda predicted, target, num_classes: confusion_matrix(
                target, predicted, num_classes
            ),
            "Rows and columns are exchanged: a row belongs to a true class, a column to"
            " a predicted one.",
            _FORMULA,
        ),
        Variant(
            "shares_of_rows",
            partial(_shares, dim=1),
            "The rows are divided by their sums. Return numbers of pixels; shares can"
            " no longer be added over batches.",
            _PROOF,
            also=(partial(_shares, dim=0),),
        ),
        Variant(
            "absent_class_cut_off",
            _cut,
            "The table ends at the largest class that occurs. It is always K by K"
            " (`minlength`), or tables of two batches cannot be added.",
            _LADDER,
        ),
        Variant(
            "each_pair_once",
            _once,
            "Each pair of classes counts once, however many pixels have it. `n[t, p] +="
            " 1` with index tensors adds once to each cell; use `bincount`.",
            _LADDER,
        ),
        Variant(
            "right_pixels_only",
            partial(_only, right=True),
            "Only right pixels are counted. The others belong beside the diagonal.",
            _FORMULA,
        ),
        Variant(
            "wrong_pixels_only",
            partial(_only, right=False),
            "Only wrong pixels are counted. The diagonal holds the right ones.",
            _FORMULA,
        ),
        Variant(
            "symmetric",
            lambda predicted, target, num_classes: (
                confusion_matrix(predicted, target, num_classes)
                + confusion_matrix(target, predicted, num_classes)
            ),
            "Each pixel is counted twice, once the other way round. A pixel adds one,"
            " in the row of its true class.",
            _FORMULA,
        ),
        Variant(
            "first_image_only",
            lambda predicted, target, num_classes: confusion_matrix(
                predicted[:1], target[:1], num_classes
            ),
            "Only the first image is counted. Count the pixels of all of them.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
    gradients=False,
)


# --- mean_iou -------------------------------------------------------------------


def mean_iou(predicted: Tensor, target: Tensor, num_classes: int) -> Tensor:
    """Mean intersection over union of the classes that occur, of all pixels at once."""
    scores = []
    for c in range(num_classes):
        both = either = 0
        for found, truth in zip(predicted.flatten(), target.flatten(), strict=True):
            both += int(found == c and truth == c)
            either += int(found == c or truth == c)
        if either:
            scores.append(both / either)
    return torch.tensor(sum(scores) / len(scores), dtype=torch.float64)


def _score(
    predicted: Tensor, target: Tensor, num_classes: int, *, how: str = ""
) -> Tensor:
    """The same from a confusion matrix, with every part to choose."""
    n = confusion_matrix(predicted, target, num_classes).double()
    right, true, guessed = n.diagonal(), n.sum(1), n.sum(0)
    union = true + guessed - right
    if how == "one ratio":
        return right.sum() / union.sum()
    if how == "accuracy":
        return right.sum() / n.sum()
    if how == "recall":
        return (right / true).nanmean()
    if how == "precision":
        return (right / guessed).nanmean()
    if how == "dice":
        return (2 * right / (true + guessed)).nanmean()
    if how == "union too large":
        return (right / (true + guessed)).nanmean()
    iou = right / union
    if how == "weighted":
        return (iou.nan_to_num(0) * true).sum() / n.sum()
    if how == "absent is zero":
        return iou.nan_to_num(0).mean()
    if how == "absent is one":
        return iou.nan_to_num(1).mean()
    if how == "true classes":
        return iou[true > 0].mean()
    if how == "no background":
        return iou[1:].nanmean()
    return iou.nanmean()


def _each_image(
    predicted: Tensor, target: Tensor, num_classes: int, *, how: str = ""
) -> Tensor:
    pairs = zip(predicted, target, strict=True)
    return torch.stack([_score(p, t, num_classes, how=how) for p, t in pairs]).mean()


MEAN_IOU = Exercise(
    name="mean_iou",
    oracle=mean_iou,
    draw=_draw_labels,
    sizes=(
        {"N": 1, "H": 2, "W": 3, "K": 2},
        {"N": 1, "H": 3, "W": 4, "K": 3},
        {"N": 2, "H": 4, "W": 4, "K": 3},
        {"N": 3, "H": 4, "W": 5, "K": 4, "absent": True},
        {"N": 3, "H": 4, "W": 5, "K": 5, "phantom": True},
    ),
    variants=(
        Variant(
            "mean_over_images",
            _each_image,
            "Each image gets a score of its own, and these are averaged. Count the"
            " pixels of all images first; then divide once for each class.",
            _WRONG,
            also=(
                partial(_each_image, how="absent is zero"),
                partial(_each_image, how="absent is one"),
            ),
        ),
        Variant(
            "absent_class_counts_zero",
            partial(_score, how="absent is zero"),
            "A class that occurs nowhere, neither in the truth nor in the prediction,"
            " counts with 0. Leave it out of the mean.",
            _WRONG,
        ),
        Variant(
            "absent_class_counts_one",
            partial(_score, how="absent is one"),
            "A class that occurs nowhere counts with 1. Leave it out of the mean.",
            _WRONG,
        ),
        Variant(
            "predicted_class_left_out",
            partial(_score, how="true classes"),
            "A class that is predicted but never true is left out. It counts with 0:"
            " its union is not empty.",
            _WRONG,
        ),
        Variant(
            "one_ratio",
            partial(_score, how="one ratio"),
            "All intersections are added, all unions are added, and one ratio is taken."
            " Divide for each class, then take the mean.",
            _WRONG,
        ),
        Variant(
            "pixel_accuracy",
            partial(_score, how="accuracy"),
            "This is the share of right pixels. A large background hides what happens"
            " to small classes.",
            _FORMULA,
        ),
        Variant(
            "mean_recall",
            partial(_score, how="recall"),
            "Only the pixels of the true class stand below the line. The union also has"
            " the pixels that were given this class wrongly.",
            _FORMULA,
        ),
        Variant(
            "mean_precision",
            partial(_score, how="precision"),
            "Only the predicted pixels stand below the line. The union also has the"
            " pixels of this class that were missed.",
            _FORMULA,
        ),
        Variant(
            "dice",
            partial(_score, how="dice"),
            "This is the Dice score, 2|A and B| / (|A| + |B|). The intersection over"
            " union is smaller.",
            _FORMULA,
        ),
        Variant(
            "intersection_counted_twice",
            partial(_score, how="union too large"),
            "Truth and prediction are added, so the pixels of both count twice in the"
            " union. Subtract the intersection once.",
            _HAND,
        ),
        Variant(
            "weighted_by_size",
            partial(_score, how="weighted"),
            "The classes are weighted by their pixels. All classes weigh the same.",
            _FORMULA,
        ),
        Variant(
            "background_left_out",
            partial(_score, how="no background"),
            "Class 0 is left out. Here the background is a class like the others.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
    gradients=False,
    any_float=True,
)


# --- pixel_cross_entropy --------------------------------------------------------


def pixel_cross_entropy(logits: Tensor, target: Tensor, ignore: int) -> Tensor:
    """Mean cross-entropy of the pixels whose true class is not `ignore`."""
    B, _, H, W = logits.shape
    losses = []
    for n in range(B):
        for i in range(H):
            for j in range(W):
                if target[n, i, j] != ignore:
                    p = torch.softmax(logits[n, :, i, j], dim=0)
                    losses.append(-torch.log(p[target[n, i, j]]))
    return torch.stack(losses).sum() / len(losses)


def _draw_loss(random: Draw, B: int, K: int, H: int, W: int) -> Inputs:
    target = random.integers(0, K - 1, B, H, W)
    drop = random.uniform(B, H, W) < 0.3
    # Most of the last image is ignored, so that a mean of image means is another one.
    drop[-1] |= random.uniform(H, W) < 0.5
    drop[:, 0, 0] = False
    return {
        "logits": 2 * random.normal(B, K, H, W),
        "target": torch.where(drop, 255, target),
        "ignore": 255,
    }


def _loss(logits: Tensor, target: Tensor, ignore: int, *, how: str) -> Tensor:
    K = logits.shape[1]
    counts = target != ignore
    index = torch.where(counts, target, 0)
    axis = {"over rows": 2, "over columns": 3, "over the batch": 0}.get(how, 1)
    logs = torch.log_softmax(logits, dim=axis)
    if how == "no softmax":
        logs = logits
    if how == "probability":
        logs = torch.softmax(logits, dim=1) - 1
    if how == "minus probability":
        logs = torch.softmax(logits, dim=1)
    if how == "softmax twice":
        logs = torch.log_softmax(torch.softmax(logits, dim=1), dim=1)
    if how == "two logarithms":
        logs = logs / math.log(2)
    losses = -logs.gather(1, index[:, None])[:, 0]
    if how == "first class":
        return losses.mean()
    losses = losses * counts
    if how == "sum":
        return losses.sum()
    if how == "all pixels":
        return losses.mean()
    if how == "images":
        return (losses.sum((1, 2)) / counts.sum((1, 2))).mean()
    if how == "sum over pixels":
        return losses.sum() / len(losses)
    if how == "sign":
        return -losses.sum() / counts.sum()
    if how == "classes":
        means = [
            losses[counts & (target == c)].mean()
            for c in range(K)
            if (target == c).any()
        ]
        return torch.stack(means).mean()
    return losses.sum() / counts.sum()


PIXEL_CROSS_ENTROPY = Exercise(
    name="pixel_cross_entropy",
    oracle=pixel_cross_entropy,
    draw=_draw_loss,
    sizes=(
        {"B": 1, "K": 2, "H": 1, "W": 3},
        {"B": 1, "K": 3, "H": 3, "W": 3},
        {"B": 2, "K": 3, "H": 3, "W": 4},
        {"B": 3, "K": 4, "H": 4, "W": 4},
    ),
    variants=(
        Variant(
            "ignored_pixels_divide",
            partial(_loss, how="all pixels"),
            "Ignored pixels add nothing, but they are counted below the line. Divide by"
            " the number of pixels that count.",
            _FORMULA,
        ),
        Variant(
            "ignored_pixels_are_class_0",
            partial(_loss, how="first class"),
            "Ignored pixels are trained as class 0. They must add nothing.",
            _FORMULA,
        ),
        Variant(
            "mean_over_images",
            partial(_loss, how="images"),
            "Each image is averaged by itself. All pixels that count weigh the same,"
            " whatever image they are in.",
            _FORMULA,
        ),
        Variant(
            "summed",
            partial(_loss, how="sum"),
            "This is the sum over all pixels. Take the mean.",
            _FORMULA,
            also=(partial(_loss, how="sum over pixels"),),
        ),
        Variant(
            "mean_over_classes",
            partial(_loss, how="classes"),
            "Each class is averaged by itself. Here all pixels weigh the same.",
            _FORMULA,
        ),
        Variant(
            "softmax_over_another_axis",
            partial(_loss, how="over columns"),
            "The softmax runs over places or images. It runs over the classes: axis 1.",
            _FORMULA,
            also=(
                partial(_loss, how="over rows"),
                partial(_loss, how="over the batch"),
            ),
        ),
        Variant(
            "no_softmax",
            partial(_loss, how="no softmax"),
            "The logits are taken as logarithms of probabilities. They need a softmax"
            " over the classes.",
            _FORMULA,
        ),
        Variant(
            "no_logarithm",
            partial(_loss, how="probability"),
            "The logarithm is missing. Take minus the logarithm of the probability of"
            " the true class.",
            _FORMULA,
            also=(partial(_loss, how="minus probability"),),
        ),
        Variant(
            "softmax_twice",
            partial(_loss, how="softmax twice"),
            "The softmax is taken twice: of the logits, and of what came out. One that"
            " takes logits, like `log_softmax`, has it inside.",
            _FORMULA,
        ),
        Variant(
            "logarithm_to_the_base_2",
            partial(_loss, how="two logarithms"),
            "The logarithm is to the base 2. Use the natural one.",
            _FORMULA,
        ),
        Variant(
            "sign_forgotten",
            partial(_loss, how="sign"),
            "The sign is wrong: the logarithm of a probability is negative, a loss is"
            " not.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
)


# --- upsample_logits ------------------------------------------------------------


def upsample_logits(logits: Tensor, height: int, width: int) -> Tensor:
    """Bilinear values [B, K, height, width] at the centres of the pixels."""
    h, w = logits.shape[2:]
    rows = []
    for i in range(height):
        y = min(max((i + 0.5) * h / height - 0.5, 0.0), h - 1.0)
        a = min(math.floor(y), h - 1)
        below = min(a + 1, h - 1)
        row = []
        for j in range(width):
            x = min(max((j + 0.5) * w / width - 0.5, 0.0), w - 1.0)
            b = min(math.floor(x), w - 1)
            right = min(b + 1, w - 1)
            s, t = y - a, x - b
            row.append(
                (1 - s) * (1 - t) * logits[:, :, a, b]
                + (1 - s) * t * logits[:, :, a, right]
                + s * (1 - t) * logits[:, :, below, b]
                + s * t * logits[:, :, below, right]
            )
        rows.append(torch.stack(row, dim=-1))
    return torch.stack(rows, dim=-2)


def _sampled(
    logits: Tensor, height: int, width: int, *, rule: str, outside: str = "edge"
) -> Tensor:
    """The same with other rules for the places and for what lies outside."""

    def matrix(n: int, m: int) -> Tensor:
        i = torch.arange(n).double()
        place = {
            "centres": (i + 0.5) * m / n - 0.5,
            "corners": i * (m - 1) / max(n - 1, 1),
            "no half": i * m / n,
        }[rule]
        if outside == "edge":
            place = place.clamp(0, m - 1)
        distance = (place[:, None] - torch.arange(m).double()).abs()
        return (1 - distance).clamp_min(0)

    h, w = logits.shape[2:]
    return torch.einsum("ia,jb,nkab->nkij", matrix(height, h), matrix(width, w), logits)


def _interpolated(logits: Tensor, height: int, width: int, *, mode: str) -> Tensor:
    return F.interpolate(logits, (height, width), mode=mode)


UPSAMPLE_LOGITS = Exercise(
    name="upsample_logits",
    oracle=upsample_logits,
    draw=lambda random, B, K, h, w, height, width: {
        "logits": random.normal(B, K, h, w),
        "height": height,
        "width": width,
    },
    sizes=(
        {"B": 1, "K": 1, "h": 1, "w": 2, "height": 2, "width": 4},
        {"B": 1, "K": 2, "h": 2, "w": 3, "height": 4, "width": 6},
        {"B": 1, "K": 2, "h": 3, "w": 3, "height": 12, "width": 12},
        {"B": 2, "K": 3, "h": 3, "w": 4, "height": 7, "width": 9},
    ),
    variants=(
        Variant(
            "corners_aligned",
            partial(_sampled, rule="corners"),
            "The corner pixels lie on each other (`align_corners=True`), so the scale"
            " is (h-1)/(H-1). Here the edges of the maps do: the scale is h/H.",
            _LADDER,
        ),
        Variant(
            "half_a_pixel_forgotten",
            partial(_sampled, rule="no half"),
            "The place i*h/H forgets that a pixel's value stands at its centre. It is"
            " (i + 1/2) h/H - 1/2; without that the map moves to the lower right.",
            _LADDER,
        ),
        Variant(
            "zeros_outside",
            partial(_sampled, rule="centres", outside="zero"),
            "Outside the map there are zeros, so the border fades. Take the nearest"
            " pixel inside.",
            _LADDER,
        ),
        Variant(
            "nearest",
            partial(_interpolated, mode="nearest"),
            "Each pixel gets the nearest value. Mix the four values around it.",
            _LADDER,
            also=(partial(_interpolated, mode="nearest-exact"),),
        ),
        Variant(
            "bicubic",
            partial(_interpolated, mode="bicubic"),
            "This is bicubic: it can leave the range of its four neighbours.",
            _LADDER,
        ),
        Variant(
            "height_and_width_exchanged",
            lambda logits, height, width: upsample_logits(logits, width, height),
            "Height and width are exchanged.",
            _LADDER,
        ),
        Variant(
            "softmax_first",
            lambda logits, height, width: upsample_logits(
                logits.softmax(1), height, width
            ),
            "These are probabilities. Enlarge the logits; the softmax comes after.",
            _FORMULA,
        ),
    ),
    section=_LADDER,
)


# --- field_of_view --------------------------------------------------------------


def field_of_view(layers: Layers) -> int:
    """Side of the square of pixels that one place of the last map can see."""
    seen, step = 1, 1
    for kernel_size, stride, dilation in layers:
        seen += dilation * (kernel_size - 1) * step
        step *= stride
    return seen


def _field(layers: Layers, *, how: str) -> int:
    seen, step = 1, 1
    for kernel_size, stride, dilation in layers:
        if how == "own stride":
            step *= stride
        reach = dilation * (kernel_size - 1)
        if how == "no dilation":
            reach = kernel_size - 1
        if how == "kernel times dilation":
            reach = dilation * kernel_size - 1
        if how == "whole kernel":
            reach = dilation * kernel_size
        seen += reach * (1 if how == "no stride" else step)
        if how == "strides added":
            step += stride - 1
        elif how != "own stride":
            step *= stride
    return {"first": seen - 1, "radius": seen // 2, "step": step}.get(how, seen)


FIELD_OF_VIEW = Exercise(
    name="field_of_view",
    oracle=field_of_view,
    draw=lambda random, L, most, widest: {
        "layers": [
            (
                2 * int(random.integers(1, 3)) + 1,
                int(random.integers(1, most)),
                int(random.integers(1, widest)),
            )
            for _ in range(L)
        ]
    },
    sizes=(
        {"L": 1, "most": 1, "widest": 1},
        {"L": 2, "most": 1, "widest": 1},
        {"L": 3, "most": 2, "widest": 1},
        {"L": 4, "most": 3, "widest": 1},
        {"L": 4, "most": 3, "widest": 4},
        {"L": 6, "most": 2, "widest": 3},
    ),
    variants=(
        Variant(
            "strides_ignored",
            partial(_field, how="no stride"),
            "The strides are ignored. Behind a stride of 2 one step of a kernel is two"
            " pixels of the image.",
            _FORMULA,
        ),
        Variant(
            "own_stride_counted",
            partial(_field, how="own stride"),
            "A layer's own stride is counted too early. Its kernel still steps over the"
            " map that enters; only the layers behind it take longer steps.",
            _FORMULA,
        ),
        Variant(
            "strides_added",
            partial(_field, how="strides added"),
            "The strides are added. They multiply: two strides of 2 make 4 pixels.",
            _FORMULA,
        ),
        Variant(
            "last_layer_first",
            lambda layers: field_of_view(layers[::-1]),
            "The layers are read from the last one to the first. A step of a kernel is"
            " as long as the strides of the layers before it.",
            _FORMULA,
        ),
        Variant(
            "stride_and_dilation_exchanged",
            lambda layers: field_of_view([(k, d, s) for k, s, d in layers]),
            "Stride and dilation are exchanged. A layer is (kernel_size, stride,"
            " dilation).",
            _FORMULA,
        ),
        Variant(
            "dilation_ignored",
            partial(_field, how="no dilation"),
            "The dilation is ignored. It is the distance of two weights of a kernel.",
            _FORMULA,
        ),
        Variant(
            "dilation_times_kernel",
            partial(_field, how="kernel times dilation"),
            "A dilated kernel spans d(k-1) + 1 pixels, not d k: there are k-1 gaps.",
            _FORMULA,
        ),
        Variant(
            "whole_kernels_added",
            partial(_field, how="whole kernel"),
            "Each layer adds its whole kernel. The pixel itself is there already: add"
            " k-1.",
            _FORMULA,
        ),
        Variant(
            "first_pixel_forgotten",
            partial(_field, how="first"),
            "The pixel itself is missing: without layers it sees one pixel.",
            _FORMULA,
        ),
        Variant(
            "half_of_it",
            partial(_field, how="radius"),
            "This is how far it sees to one side. Give the whole side of the square.",
            _FORMULA,
        ),
        Variant(
            "distance_of_pixels",
            partial(_field, how="step"),
            "This is the product of the strides: how far apart two neighbours of the"
            " last map are in the image.",
            _FORMULA,
        ),
    ),
    section=_FORMULA,
    gradients=False,
)

EXERCISES = (
    PASTE_LABELS,
    CONFUSION_MATRIX,
    MEAN_IOU,
    PIXEL_CROSS_ENTROPY,
    UPSAMPLE_LOGITS,
    FIELD_OF_VIEW,
)
