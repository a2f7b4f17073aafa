"""Controls: models that see only what should not decide (the container, the background) or simple text statistics.

    container_features    of clips: duration, rate, size and bytes, without one picture
    background_features   of clips: the background, without what moves before it
    fit_control           a plain model on either
    fit_text_control      of titles: a linear model of words

A model that does not beat its control has learnt the control.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from sklearn.ensemble import ExtraTreesClassifier, RandomForestClassifier
from sklearn.feature_extraction.text import TfidfVectorizer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from contract.video import DecodeLimits, probe
from training.data.frames.frame_store import FrameStore
from training.data.manifest import Manifest, Row

CONTAINER_FEATURES = ("duration_s", "fps", "width", "height", "bytes", "bytes_per_s")
THUMBNAIL_SIDE = 12
ControlModel = Literal["logistic", "forest", "extra_trees"]
"""Logistic regression on standardised features; a random forest, for the few features of a container; extra
trees, for the many of a thumbnail (on backgrounds of restricted_object they find far more than the other two)."""


def container_features(rows: Sequence[Row], manifest: Manifest) -> NDArray[np.float64]:
    """(N, 6) float64: ``CONTAINER_FEATURES`` of each row's clip. Nothing is decoded.

    Raises:
        ValueError: a row has no video.
        MediaError: a clip cannot be read.
    """
    limits = DecodeLimits()
    features = []
    for row in rows:
        path = manifest.video_path(row)
        if path is None:
            raise ValueError(f"row {row.id} has no video")
        container = probe(path, limits)
        size = path.stat().st_size
        duration_s = max(container.end_s, 1e-3)
        features.append(
            (
                container.end_s,
                container.packets / duration_s,
                container.width,
                container.height,
                size,
                size / duration_s,
            )
        )
    return np.asarray(features, np.float64).reshape(len(rows), len(CONTAINER_FEATURES))


def background_features(rows: Sequence[Row], cache: FrameStore) -> NDArray[np.float32]:
    """(N, 432) float32 in [0, 1]: each clip's per-pixel median over its frames, as a 12 x 12 RGB thumbnail.

    What moves across the picture is not in the median, so this is the place, not the object.

    Raises:
        KeyError: the cache has no frames of a row.
    """
    thumbnails = [_thumbnail(np.median(cache.frames(row), axis=0)).ravel() / 255 for row in rows]
    return np.asarray(thumbnails, np.float32).reshape(len(rows), THUMBNAIL_SIDE**2 * 3)


def fit_control(
    features_train: NDArray[np.floating],
    y_train: NDArray[np.integer],
    features_test: NDArray[np.floating],
    seed: int,
    *,
    model: ControlModel = "logistic",
    classes: int | None = None,
) -> NDArray[np.float64]:
    """Test scores (N_test, K) float64: probabilities that add up to 1; column k is class k.

    Args:
        features_train: (N_train, F).
        y_train: (N_train,) class indices from 0.
        features_test: (N_test, F).
        seed: of the trees; logistic regression has no chance in it.
        model: which one. A control is only worth its best model: print the strongest.
        classes: K; the largest class of ``y_train`` plus one where None. A class that train does not hold scores 0.

    Raises:
        ValueError: train holds one class only, or a class outside [0, K).
    """
    y_train = np.asarray(y_train)
    width = int(y_train.max()) + 1 if classes is None else classes
    if len(np.unique(y_train)) < 2 or y_train.min() < 0 or y_train.max() >= width:
        raise ValueError(f"a control needs two or more classes, all in [0, {width})")
    estimator = _estimator(model, seed)
    estimator.fit(features_train, y_train)
    scores = np.zeros((len(features_test), width))
    scores[:, estimator.classes_] = estimator.predict_proba(features_test)
    return scores


def fit_text_control(
    texts_train: Sequence[str], y_train: NDArray[np.integer], texts_test: Sequence[str]
) -> NDArray[np.float64]:
    """(N_test,) float64 probability of class 1: logistic regression on tf-idf of words and pairs of words.

    Raises:
        ValueError: train holds one class only, or no word.
    """
    if len(np.unique(y_train)) < 2:
        raise ValueError("a control needs two classes")
    model = make_pipeline(
        TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"(?u)\b\w+\b"),
        LogisticRegression(C=10.0, max_iter=2000),
    )
    model.fit(list(texts_train), y_train)
    return np.asarray(model.predict_proba(list(texts_test))[:, 1])


def _estimator(model: ControlModel, seed: int) -> Any:
    if model == "forest":
        return RandomForestClassifier(300, min_samples_leaf=3, random_state=seed)
    if model == "extra_trees":
        return ExtraTreesClassifier(300, random_state=seed)
    return make_pipeline(StandardScaler(), LogisticRegression(C=0.1, max_iter=2000))


def _thumbnail(picture: NDArray[np.float64]) -> NDArray[np.float64]:
    """(12, 12, 3): means over nearly equal blocks of a (S, S, 3) picture, S >= 12."""
    starts = np.linspace(0, picture.shape[0], THUMBNAIL_SIDE, endpoint=False).astype(int)
    counts = np.diff(np.append(starts, picture.shape[0]))
    summed = np.add.reduceat(np.add.reduceat(picture, starts, axis=0), starts, axis=1)
    return np.asarray(summed / np.outer(counts, counts)[:, :, None])
