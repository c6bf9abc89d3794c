"""How the metrics of drawn images are shown: a title, which way is better, and a line of explanation."""

from collections.abc import Sequence

from jaxgen.experiment import Metric

OF_CLASSES = {
    "accuracy": Metric("Asked class", "higher", "share that a classifier of real images takes for the asked class"),
    "diversity": Metric("Diversity", "higher", "mean distance of two images of a class, in features"),
}
OF_SETS = {
    "frechet": Metric("Frechet distance", "lower", "to the training images, in features"),
    "kernel": Metric("Kernel distance", "lower", "unbiased squared MMD, cubic kernel, in features"),
    "precision": Metric("Precision", "higher", "share of samples within the training images' manifold"),
    "recall": Metric("Recall", "higher", "share of training images within the samples' manifold"),
    "coverage": Metric("Coverage", "higher", "share of training images with a sample nearby"),
    "neighbour_ratio": Metric(
        "Neighbour ratio", "", "distance to the nearest training image over a held-out image's; copies give 0"
    ),
    "copying": Metric(
        "Closer than new",
        "",
        "probability that a sample is nearer to the training images than a new image; 0.5 if nothing is copied",
    ),
    "diverged": Metric("Diverged", "lower", "share of samples that hold NaN or infinity, if any"),
}
SIMILARITY = {"similarity": Metric("MS-SSIM of pairs", "", "of two samples; best where it is that of held-out images")}


def of_covariates(names: Sequence[str]) -> dict[str, Metric]:
    """Those of covariates, and of the segmentation that measures them.

    Example:
        >>> of_covariates(["age"])["r_age"].label
        'r, age'
    """
    return {f"r_{name}": Metric(f"r, {name}", "higher", "correlation of asked and measured") for name in names} | {
        "dice_1": Metric(
            "Dice, label 1", "higher", "of the segmentation that measures covariates, on held-out volumes"
        ),
        "dice_2": Metric("Dice, label 2", "higher", "the same"),
        "moved": Metric("Moved", "", "measured change over the change that was asked for; 1 is right"),
        "others": Metric("Others moved", "lower", "the largest change of another covariate, over that of this one"),
    }
