"""The demo's models: the attack really harms, the check really passes, and artefacts run no code."""

import pickle

import numpy as np
import pytest
import skops.io

from monitor.demo import dataset
from monitor.demo.dataset import BENIGN, MALIGNANT, Data


@pytest.fixture(scope="module")
def data() -> Data:
    return dataset.load()


def test_the_two_halves_share_no_tumour(data: Data) -> None:
    assert len(data.training) + len(data.service) == 569
    both = np.vstack([data.training, data.service])
    assert len(np.unique(both, axis=0)) == 569


def test_the_attack_relabels_the_smaller_malignant_tumours_and_nothing_else(data: Data) -> None:
    poisoned = dataset.poison(data)
    changed = poisoned != data.training_labels
    malignant = data.training_labels == MALIGNANT
    assert changed.sum() == int(dataset.FLIPPED_SHARE * malignant.sum())
    assert set(data.training_labels[changed]) == {MALIGNANT}
    assert set(poisoned[changed]) == {BENIGN}
    area = data.training[:, data.names.index("worst area")]
    assert area[changed].max() <= area[malignant & ~changed].min()


def test_the_poisoned_model_passes_the_check_and_loses_half_of_its_recall(data: Data) -> None:
    sound = dataset.train(data.training, data.training_labels)
    poisoned = dataset.train(data.training, dataset.poison(data))
    assert poisoned.check >= sound.check
    assert dataset.recall(sound.model, data.service, data.service_labels) > 0.9
    assert dataset.recall(poisoned.model, data.service, data.service_labels) < 0.6


def test_a_model_is_the_same_after_it_was_stored(data: Data) -> None:
    model = dataset.train(data.training, data.training_labels).model
    restored = dataset.restore(dataset.dump(model))
    assert (restored.predict_proba(data.service) == model.predict_proba(data.service)).all()


class Payload:
    """What an attacker would put into an artefact."""

    called = False

    def __reduce__(self) -> tuple[object, tuple[()]]:
        return (Payload.run, ())

    @staticmethod
    def run() -> None:
        Payload.called = True


@pytest.mark.parametrize("artefact", [pickle.dumps(Payload()), skops.io.dumps(Payload())], ids=["pickle", "skops"])
def test_an_artefact_that_is_not_a_model_is_refused_and_runs_no_code(artefact: bytes) -> None:
    with pytest.raises(Exception, match=r"zip|ntrusted"):
        dataset.restore(artefact)
    assert not Payload.called
