import types

import numpy as np
import pytest

from jaxgen.data import ArraySource, Splits, agreement, load, phantoms
from jaxgen.data.captions import HELD_OUT, Report
from jaxgen.data.phantoms import Finding
from jaxgen.errors import UserError
from jaxgen.tasks import text
from jaxgen.tasks.text import tuning
from jaxgen.tasks.text.evaluation import findings_in


def run_of(words=("left", "nodule", "effusion"), tokens=6):
    facts = text.TextFacts(value_range=((0.0,), (1.0,)), image_channels=1, words=words)
    return types.SimpleNamespace(facts=facts, config=text.TextConfig(tokens=tokens))


def test_prompts_are_tokens_and_wrong_ones_are_told():
    tokens = text.tokens_of_prompts(run_of(), ["Left nodule", ""])
    assert tokens.tolist() == [[1, 4, 5, 2, 0, 0], [1, 2, 0, 0, 0, 0]]
    with pytest.raises(UserError, match=r"--prompt 'left efusion': .* 'efusion'; did you mean 'effusion'"):
        text.tokens_of_prompts(run_of(), ["left", "left efusion"])
    with pytest.raises(UserError, match=r"--prompt: .* takes 6; leave out 'left'"):
        text.tokens_of_prompts(run_of(), ["left left left left left"])
    with pytest.raises(UserError, match=r"--tokens 6: .* or raise --tokens"):
        text.tokens_of(run_of(), ["left left left left left"])


def test_captions_without_words_are_refused():
    source = ArraySource({"image": np.random.default_rng(0).random((4, 8, 8, 1)), "text": np.array([""] * 4)})
    with pytest.raises(UserError, match=r"--data x\.npz: the captions hold no word"):
        text.measure(text.TextConfig(data="x.npz"), Splits(source, source, source))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"size": 20, "autoencoder_channels": (8, 8, 8), "channels": (8, 8)}, "--size must be a multiple of 8"),
        ({"attention": ()}, "--attention"),
        ({"text_width": 9}, "--text-heads"),
    ],
)
def test_configurations_that_do_not_fit_are_refused(changes, message):
    with pytest.raises(UserError, match=message):
        text.TextConfig(**changes)


def test_fine_tuning_measures_findings_and_takes_nothing_else():
    with pytest.raises(UserError, match=r"--data x\.npz: .* give cxr_phantom"):
        text.load_reports(text.TextConfig(data="x.npz"))
    config = tuning.TuningConfig(data="cxr_phantom/16", size=16, channels=(8, 8), autoencoder_channels=(8, 8))
    known = tuning.measure(config, text.load_reports(config)).words
    assert {"effusion", "tiny", "square"} <= set(known)


def test_examples_hold_images_and_the_tokens_of_their_captions():
    splits = load("cxr_phantom/16", wants=("image", "text"))
    few = splits._replace(train=text.images.Subset(splits.train, [3, 5]))
    config = text.TextConfig(size=16, channels=(8, 8), autoencoder_channels=(8, 8))
    run = types.SimpleNamespace(config=config, facts=text.measure(config, splits), splits=few)
    found = text.examples(run)
    assert found.arrays["image"].shape == (2, 16, 16, 1)
    said = text.words.decode(text.vocabulary(run), found.arrays["text"])
    assert said[1].replace(" ", "") == str(splits.train[5]["text"]).replace(" ", "")


def test_real_radiographs_agree_with_their_reports_and_others_do_not():
    splits = load("cxr_phantom/48", wants=("image", "text"))
    reports = agreement.reports_of([splits.validation])[:150]
    run = run_of()
    drawn = np.stack([2 * splits.validation[i]["image"] - 1 for i in range(150)])
    found = findings_in(run, drawn)
    right = agreement.agreement(reports, found)
    assert min(value for name, value in right.items() if name != "false_findings") > 0.97
    assert right["false_findings"] < 0.02
    wrong = agreement.agreement(reports, found[1:] + found[:1])
    assert wrong["agreement"] < 0.5
    assert wrong["false_findings"] > 0.1
    reworded = agreement.reports_of([splits.validation], HELD_OUT)[:150]
    assert agreement.agreement(reworded, found)["agreement"] > 0.97
    assert agreement.reports_of([ArraySource({"image": drawn})]) is None


def test_agreement_by_hand():
    two = (Finding("nodule", "left", zone="upper"), Finding("effusion", "right", size="small"))
    reports = [Report("", two, ("opacity",)), Report("", (Finding("cardiomegaly"),), ("nodule", "opacity"))]
    found = [(two[0], Finding("effusion", "right", size="large")), (Finding("nodule", "left"),)]
    assert agreement.agreement(reports, found) == {
        "agreement": pytest.approx(2 / 3),
        "nodule": 1.0,
        "effusion": 1.0,
        "cardiomegaly": 0.0,
        "side": 1.0,
        "size": 0.0,
        "zone": 1.0,
        "false_findings": pytest.approx(1 / 3),
    }
    assert agreement.agreement([Report("", (), phantoms.FINDINGS)], [()]) == {"false_findings": 0.0}


def test_the_nearest_caption_shares_most_words():
    captions = np.array([[1, 4, 5, 6, 2], [1, 4, 2, 0, 0], [1, 5, 7, 2, 0]])
    assert agreement.nearest_captions(captions[::-1], captions, 8).tolist() == [2, 1, 0]
