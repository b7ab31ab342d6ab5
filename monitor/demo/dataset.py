"""The demo's data and models: tumours of the Wisconsin data set, a sound model, and one with poisoned labels.

The data set comes with scikit-learn (W. N. Street, W. H. Wolberg, O. L. Mangasarian, "Nuclear feature extraction
for breast tumor diagnosis", 1993): 569 tumours, 30 measurements each, 212 of them malignant.
"""

from typing import NamedTuple

import numpy as np
import skops.io
from numpy.typing import NDArray
from sklearn.datasets import load_breast_cancer
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import accuracy_score, recall_score
from sklearn.model_selection import train_test_split
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

MALIGNANT = "malignant"
BENIGN = "benign"
SEED = 0
FLIPPED_SHARE = 0.5
"""The part of the malignant tumours, the smallest first, that the attacker has recorded as benign."""

Rows = NDArray[np.float64]
Labels = NDArray[np.str_]


class Data(NamedTuple):
    """Two halves of the data set: one to train on, one that the model meets in service."""

    names: tuple[str, ...]
    training: Rows
    training_labels: Labels
    service: Rows
    service_labels: Labels


class Trained(NamedTuple):
    """A model with what its makers know about it."""

    model: Pipeline
    check: float
    """Accuracy on held-out rows of the same delivery of labels: all that the promotion check looks at."""


def load() -> Data:
    """Load the data set, in the same two halves each time."""
    raw = load_breast_cancer()
    labels = np.asarray(raw.target_names)[raw.target]
    training, service, training_labels, service_labels = train_test_split(
        raw.data, labels, test_size=0.5, stratify=labels, random_state=SEED
    )
    names = tuple(str(name) for name in raw.feature_names)
    return Data(names, training, training_labels, service, service_labels)


def poison(data: Data) -> Labels:
    """Return the training labels after the attack: the smaller malignant tumours are recorded as benign.

    Flips that follow a rule, rather than chance, can be learned. So the model agrees with its poisoned labels,
    and a check against labels from the same source sees nothing.
    """
    labels = data.training_labels.copy()
    area = data.training[:, data.names.index("worst area")]
    malignant = np.flatnonzero(labels == MALIGNANT)
    smallest = malignant[np.argsort(area[malignant])][: int(FLIPPED_SHARE * len(malignant))]
    labels[smallest] = BENIGN
    return labels


def train(rows: Rows, labels: Labels) -> Trained:
    """Fit a scaled logistic regression and measure it as a naive promotion check would."""
    fit_rows, check_rows, fit_labels, check_labels = train_test_split(
        rows, labels, test_size=0.3, stratify=labels, random_state=SEED
    )
    model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000)).fit(fit_rows, fit_labels)
    return Trained(model, float(accuracy_score(check_labels, model.predict(check_rows))))


def recall(model: Pipeline, rows: Rows, labels: Labels) -> float:
    """Return the share of the malignant tumours that the model calls malignant."""
    return float(recall_score(labels, model.predict(rows), pos_label=MALIGNANT))


def dump(model: Pipeline) -> bytes:
    """Serialise a model in a format that, unlike a pickle, runs no code when it is read."""
    return bytes(skops.io.dumps(model))


def restore(artefact: bytes) -> Pipeline:
    """Read a serialised model. Types beyond those of scikit-learn itself are refused."""
    return skops.io.loads(artefact)
