"""How the metrics of drawn images are shown: a title, which way is better, and a line of explanation."""

from collections.abc import Mapping, Sequence

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


LOW_DOSE: dict[str, Metric] = {
    "mae": Metric("MAE", "lower", "mean absolute error to the full dose, in percent of the window"),
    "psnr": Metric("PSNR", "higher", "dB to the full dose, in the window"),
    "ssim": Metric("SSIM", "higher", "to the full dose, in the window"),
    "noise_power": Metric(
        "Noise power", "lower", "distance of its spectrum in the window to the full dose's; 1: no noise"
    ),
    "local_std": Metric("Local std error", "lower", "of standard deviations in 5 x 5 pixels, in the window"),
    "contrast_to_noise": Metric("CNR", "higher", "of lesions, contrast over the noise around them"),
    "false_structures": Metric(
        "False structures", "lower", "energy of errors at the size of lesions where none is, over the full dose's noise"
    ),
}
"""Of CT at a low dose that is to look like the full one."""

PRIVACY: dict[str, Metric] = {
    "images": Metric("Images", "", "of the set"),
    "copies": Metric("Copies", "lower", "share with the code of a training person, measured; of phantoms"),
    "linked": Metric("Linked", "lower", "share that the two stages link to a training person"),
    "alike": Metric("Linked, embedding", "lower", "share linked by the retrieval embedding alone"),
    "correlated": Metric("Correlated", "lower", "share that correlates with a training image as 5 % of new ones do"),
    "pixel_ratio": Metric("Pixel ratio", "", "distance to the nearest training image over a new image's, in pixels"),
    "closer": Metric("Closer", "", "probability to lie nearer to the training images than a new image, in pixels"),
    "authenticity": Metric(
        "Authentic", "higher", "share that is no noisy copy, in embeddings; compare with new images"
    ),
    "acceptance": Metric("Accepted", "", "share of the images drawn that the filter accepts"),
    "membership": Metric("Membership AUC", "lower", "of telling training images by their loss; 0.5 is none"),
    "auc": Metric("AUC", "higher", "of pairs of one person against pairs of two"),
    "missed": Metric("Missed", "lower", "share of pairs of one person below the threshold"),
    "false_links": Metric("False links", "lower", "share of pairs of two people above it"),
}
"""Of images that are to be released, and of the networks that tell people apart."""

AS_ASKED: dict[str, Metric] = {
    "group_as_asked": Metric("Group as asked", "higher", "drawn images whose group is measured as asked for"),
    "group_as_asked_rare": Metric(
        "Rarest group as asked", "higher", "the same, of the group with the fewest real ones"
    ),
    "recall": Metric("Recall", "higher", "findings asked for that are measured in drawn images"),
    "recall_rare": Metric("Recall, rare", "higher", "the same, in drawn images of rare sets"),
}
"""Whether drawn images show what they were asked for."""


def with_gains(metrics: Mapping[str, Metric]) -> dict[str, Metric]:
    """How to show scores of several seeds, and the spread and gain of each.

    Example:
        >>> list(with_gains({"auroc": Metric("AUROC")}))
        ['auroc', 'auroc_spread', 'auroc_gain', 'auroc_gain_error']
    """
    found: dict[str, Metric] = {}
    for name, metric in metrics.items():
        label = metric.label
        found |= {
            name: metric,
            f"{name}_spread": Metric(f"{label}, spread", "", "standard deviation over classifiers of other seeds"),
            f"{name}_gain": Metric(f"{label}, gain", metric.better, "over the baseline, mean over seeds"),
            f"{name}_gain_error": Metric(f"{label}, gain's error", "", "its standard error"),
        }
    return found
