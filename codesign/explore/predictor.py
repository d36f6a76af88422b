"""Accuracy of networks that nobody has evaluated, from those that were.

Two models in a row, for the two fidelities. What a network has right after quantisation is learnt
by a Gaussian process over its choices (C. Rasmussen, C. Williams, "Gaussian Processes for Machine
Learning", 2006). What fine-tuning makes of that is learnt from the few networks that were
fine-tuned: a line in the accuracy lost so far and in the multiply-accumulates left, fitted by
Bayesian least squares that begin at what is usual, so that it is of use from the first one on.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from sklearn.exceptions import ConvergenceWarning
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import ConstantKernel, Matern, WhiteKernel

from codesign.explore.archive import Network
from codesign.explore.models import FloatArray, hardware_columns
from codesign.explore.space import IntArray, Parameter, Space

MAX_SAMPLES = 400
"""Networks that the process is fitted to: its time grows with their cube."""
FIRST_FIT, REFIT_GROWTH = 8, 1.5
"""Its length scales are fitted to the first so many networks, and anew whenever there are so many
times more."""
_USUAL = np.array([0.0, 0.15, 0.03])
"""Error after fine-tuning, beyond the unpruned network's: constant, share of the error before, and
per halving of the multiply-accumulates."""
_USUAL_DEVIATION = np.array([0.02, 0.15, 0.04])
_NOISE = 0.01
"""Deviation of a fine-tuned network's error from that line."""


@dataclass(frozen=True, eq=False)
class Prediction:
    """Accuracies [n] and the deviations that they may be wrong by."""

    mean: FloatArray
    deviation: FloatArray


class Predictor:
    """Predicts from the choices of the network's side."""

    def __init__(self, space: Space, seed: int) -> None:
        self._columns = np.flatnonzero(~hardware_columns(space))
        self._parameters = [space.parameters[column] for column in self._columns]
        self._seed = seed
        self._process: GaussianProcessRegressor | None = None
        self._kernels: dict[int, Any] = {}
        self._least_error, self._most_macs = 0.0, 1.0
        self._weights, self._covariance = _USUAL, np.diag(_USUAL_DEVIATION**2)

    def fit(self, networks: Sequence[Network]) -> None:
        """Learn from networks that were evaluated, at least one of them without fine-tuning."""
        plain = [at for at in networks if 0 in at.accuracy]
        first = max(plain, key=lambda at: at.macs)
        self._least_error, self._most_macs = 1 - first.accuracy[0], max(first.macs, 1.0)
        self._fit_process(plain)
        self._fit_line([at for at in plain if len(at.accuracy) > 1])

    def plain(self, points: IntArray) -> Prediction:
        """Accuracy without fine-tuning of designs [n, K]."""
        if self._process is None:
            raise ValueError("nothing was learnt yet: fit the predictor before it predicts")
        if not len(points):
            return Prediction(np.empty(0), np.empty(0))
        mean, deviation = self._process.predict(self._features(points), return_std=True)
        return Prediction(np.clip(mean, 0.0, 1.0), np.asarray(deviation))

    def finetuned(self, plain: Prediction, macs: FloatArray) -> Prediction:
        """Accuracy after fine-tuning of networks with these accuracies without it."""
        inputs = self._inputs(1 - plain.mean, macs)
        error = self._least_error + inputs @ self._weights
        own = np.einsum("ni,ij,nj->n", inputs, self._covariance, inputs)
        spread = np.sqrt(own + (self._weights[1] * plain.deviation) ** 2 + _NOISE**2)
        return Prediction(np.clip(1 - error, 0.0, 1.0), spread)

    def _fit_process(self, networks: Sequence[Network]) -> None:
        chosen = list(networks)
        if len(chosen) > MAX_SAMPLES:
            rows = np.random.default_rng(self._seed).permutation(len(chosen))[:MAX_SAMPLES]
            chosen = [chosen[row] for row in sorted(rows)]
        self._process = self._fitted(chosen, self._scales(chosen), None)

    def _scales(self, networks: Sequence[Network]) -> Any:
        """The kernel with length scales fitted to the first of the networks: how many, follows
        from their number alone."""
        count = FIRST_FIT
        while count * REFIT_GROWTH <= len(networks):
            count = int(count * REFIT_GROWTH)
        if count not in self._kernels:
            fitted = self._fitted(networks[:count], _kernel(), "fmin_l_bfgs_b")
            self._kernels[count] = fitted.kernel_
        return self._kernels[count]

    def _fitted(
        self, networks: Sequence[Network], kernel: Any, optimizer: str | None
    ) -> GaussianProcessRegressor:
        process = GaussianProcessRegressor(
            kernel, optimizer=optimizer, normalize_y=True, random_state=self._seed
        )
        features = self._features(np.stack([at.point for at in networks]))
        with warnings.catch_warnings():  # a scale at its bound is a fine answer
            warnings.simplefilter("ignore", ConvergenceWarning)
            process.fit(features, np.array([at.accuracy[0] for at in networks]))
        return process

    def _fit_line(self, networks: Sequence[Network]) -> None:
        prior = np.diag(_USUAL_DEVIATION**-2)
        error = np.array([1 - at.accuracy[0] for at in networks])
        inputs = self._inputs(error, np.array([at.macs for at in networks]))
        trained = [max(at.accuracy[steps] for steps in at.accuracy if steps) for at in networks]
        beyond = 1 - np.array(trained) - self._least_error
        precision = prior + inputs.T @ inputs / _NOISE**2
        self._covariance = np.linalg.inv(precision)
        self._weights = self._covariance @ (prior @ _USUAL + inputs.T @ beyond / _NOISE**2)

    def _inputs(self, error: FloatArray, macs: FloatArray) -> FloatArray:
        halvings = np.log2(self._most_macs / np.maximum(macs, 1.0))
        return np.stack([np.ones_like(error), error - self._least_error, halvings], axis=1)

    def _features(self, points: IntArray) -> FloatArray:
        parts = [
            _coded(parameter, points[:, column])
            for parameter, column in zip(self._parameters, self._columns, strict=True)
        ]
        return np.concatenate([np.zeros((len(points), 1)), *parts], axis=1)


def _coded(parameter: Parameter, indices: IntArray) -> FloatArray:
    """[n, d]: an ordered parameter's place in 0..1, or one of d categories."""
    count = len(parameter.values)
    if parameter.ordered:
        return (indices / max(count - 1, 1))[:, None].astype(np.float64)
    coded: FloatArray = np.equal(indices[:, None], np.arange(count)).astype(np.float64)
    return coded


def _kernel() -> Any:
    smooth = ConstantKernel(1.0, (1e-2, 1e2)) * Matern(1.0, (0.1, 20.0), nu=2.5)
    return smooth + WhiteKernel(1e-3, (1e-6, 1e-1))
