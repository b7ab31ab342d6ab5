"""Baselines: what "all is well" looked like, learnt once from verified events, frozen and named by its digest.

Nothing re-learns a baseline silently: an attacker who is slow enough wins against every window that moves with him.
"""

import base64
from bisect import bisect_right
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path

import msgspec
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from detectors.bets import Reference
from detectors.cells import Cells, NumericCells
from detectors.outliers import Outliers
from detectors.projection import Projection
from detectors.surrogate import SURE, Surrogate
from monitor.intake.events import ClassLabel, Value, class_name

FORMAT = 5
CERTAINTIES = len(SURE) + 1
"""Levels of a model's confidence in what it says: below `detectors.surrogate.SURE`, or up to each of these."""
OTHER = "(other)"
EXTRA = "(extra features)"
"""The stream that says whether an event carries features which the reference did not have."""
PREDICTION = "(prediction)"
"""The stream of what the model predicts: classes, or numbers."""

OFF_AXES, OFF_CLASS = "(embedding, off axes)", "(embedding, off class)"
"""The streams of how far an embedding is from what the reference's vary in, and from the middle of its class."""
ANSWERS = frozenset({EXTRA, PREDICTION, OFF_CLASS})
"""Streams that are no inputs of the model: its surrogate must not see them."""


class BaselineError(Exception):
    """The baseline cannot be built, read or trusted; one clear line."""


class FeatureReference(msgspec.Struct, frozen=True):
    """One feature: its alphabet, and how often each code came."""

    cells: Cells
    reference: Reference


class PairReference(msgspec.Struct, frozen=True):
    """Two numeric features, and how often each code of their pair came; see `detectors.pairs`."""

    first: str
    second: str
    reference: Reference


class DueReference(msgspec.Struct, frozen=True):
    """How soon labels come, and of how many predictions; see `monitor.detection.dues`."""

    late: float
    """Seconds after a prediction from which its label is late."""
    gone: float
    """Seconds after which it is as good as missing."""
    slack: float
    """Seconds by which labels come out of their order."""
    share: float
    """Share of the predictions whose labels are waited for, in (0, 1]."""
    lateness: tuple[Reference, ...]
    """For each predicted class, how many of the labels that came by then came in time, and late."""
    absence: tuple[Reference, ...]
    """For each predicted class, how many labels had come by then, and how many had not."""


class Baseline(msgspec.Struct, frozen=True):
    """The frozen reference of one model."""

    model: str
    versions: tuple[str, ...]
    began: float
    """Epoch seconds of the first and the last event learnt from."""
    ended: float
    predictions: int
    labels: int
    features: dict[str, FeatureReference]
    pairs: tuple[PairReference, ...]
    projection: Projection | None
    """What becomes of an embedding; None where events had none."""
    classes: tuple[str, ...]
    """Outcomes in code order, the last one OTHER; only OTHER for a regression model."""
    confusion: dict[str, Reference]
    """For each label class, how often each class was predicted."""
    labelled: tuple[Reference, ...]
    """For each predicted class and level of certainty (`class * CERTAINTIES + level`), how often each label came."""
    residual: FeatureReference | None
    """Regression: prediction minus label."""
    surrogate: Surrogate | None
    """What the model would answer; None for a regression model."""
    agreement: tuple[Reference, ...]
    """For each kind of the surrogate's answer, how often each class was predicted; empty without a surrogate."""
    dues: DueReference | None
    """When labels are due; None where too few came."""
    outliers: Outliers | None
    """How unlike the others a single event of the reference was; None if events had no features."""
    askers: Reference | None
    """How often each source asked; None where fewer than two are known."""
    sources: tuple[str, ...]
    labelers: tuple[str, ...]
    format: int = FORMAT

    @property
    def digest(self) -> str:
        """`sha256:<hex>` of the canonical JSON form."""
        return f"sha256:{sha256(canonical(self)).hexdigest()}"

    @property
    def regression(self) -> bool:
        """True if the model predicts numbers rather than classes."""
        return self.residual is not None


def numeric(feature: FeatureReference) -> NumericCells:
    """The cells of a feature that must be numeric. Raises BaselineError if a baseline file says otherwise."""
    if not isinstance(feature.cells, NumericCells):
        raise BaselineError("the model's output is numeric, but the baseline has categories for it")
    return feature.cells


def embedded(projection: Projection | None) -> tuple[str, ...]:
    """The streams that an embedding becomes, in the order of `Projection.of`."""
    if projection is None:
        return ()
    along = (f"(embedding, axis {number})" for number in range(1, len(projection.axes) + 1))
    return (*along, OFF_AXES, OFF_CLASS)[: projection.columns]


def canonical(baseline: Baseline) -> bytes:
    """The bytes that the digest is taken over: JSON with sorted keys and no spaces."""
    return msgspec.json.encode(baseline, order="deterministic")


def decode(raw: bytes) -> Baseline:
    """Read what `canonical` gave. Raises BaselineError."""
    try:
        return msgspec.json.decode(raw, type=Baseline)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BaselineError(f"not a baseline: {error}") from error


class _File(msgspec.Struct, omit_defaults=True):
    digest: str
    baseline: Baseline
    signature: str | None = None
    """Of the digest, in base64."""


def save(baseline: Baseline, path: Path, key: Ed25519PrivateKey | None = None) -> None:
    """Write the baseline with its digest, signed if there is a key."""
    signature = None if key is None else base64.b64encode(key.sign(_told(baseline.digest))).decode()
    body = msgspec.json.encode(_File(baseline.digest, baseline, signature), order="deterministic")
    path.write_bytes(msgspec.json.format(body, indent=1))


def load(path: Path, key: Ed25519PublicKey | None = None) -> Baseline:
    """Read a baseline and verify its digest; with a key, also that its owner has signed it. Raises BaselineError."""

    class Made(msgspec.Struct):
        format: int

    class OfAnyFormat(msgspec.Struct):
        digest: str
        baseline: Made

    try:
        raw = path.read_bytes()
        made = msgspec.json.decode(raw, type=OfAnyFormat).baseline.format
        if made != FORMAT:
            raise BaselineError(f"{path}: format {made}, this version reads {FORMAT}")
        file = msgspec.json.decode(raw, type=_File)
    except OSError as error:
        raise BaselineError(f"{path}: {error.strerror}") from error
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        raise BaselineError(f"{path}: not a baseline: {error}") from error
    if file.baseline.digest != file.digest:
        raise BaselineError(
            f"{path}: the content does not match its digest {file.digest}: it was changed after freezing"
        )
    if key is not None:
        _check_signature(path, file, key)
    return file.baseline


def _check_signature(path: Path, file: _File, key: Ed25519PublicKey) -> None:
    if file.signature is None:
        raise BaselineError(f"{path}: nobody has signed it; `tocsin baseline sign` does")
    try:
        key.verify(base64.b64decode(file.signature, validate=True), _told(file.digest))
    except (InvalidSignature, ValueError):
        raise BaselineError(f"{path}: its signature is not that of the key's owner") from None


def _told(digest: str) -> bytes:
    """What is signed; the digest is of everything else."""
    return f"tocsin baseline 1\n{digest}".encode()


def category(value: Value) -> str | None:
    """The category that a value of a categorical feature is."""
    return None if value is None else class_name(value)


def certainty(confidence: float | None) -> int:
    """The level of a model's confidence; the lowest where it did not say."""
    return 0 if confidence is None else bisect_right(SURE, confidence)


def residual(prediction: ClassLabel, label: ClassLabel) -> float | None:
    """Prediction minus label, None where either is no number."""
    if isinstance(prediction, str) or isinstance(label, str):
        return None
    return float(prediction) - float(label)


def describe(baseline: Baseline) -> dict[str, object]:
    """What `tocsin baseline show` prints: sizes and names, no values of events."""
    made = (EXTRA, PREDICTION, *embedded(baseline.projection))
    served = [feature.cells for name, feature in baseline.features.items() if name not in made]
    numeric = sum(isinstance(cells, NumericCells) for cells in served)
    return {
        "model": baseline.model,
        "digest": baseline.digest,
        "versions": list(baseline.versions),
        "from": datetime.fromtimestamp(baseline.began, tz=UTC).isoformat(timespec="seconds"),
        "until": datetime.fromtimestamp(baseline.ended, tz=UTC).isoformat(timespec="seconds"),
        "predictions": baseline.predictions,
        "labels": baseline.labels,
        "features": {"numeric": numeric, "categorical": len(served) - numeric},
        "embedding": 0 if baseline.projection is None else baseline.projection.size,
        "classes": [] if baseline.regression else list(baseline.classes[:-1]),
        "sources": len(baseline.sources),
        "labelers": len(baseline.labelers),
    }
