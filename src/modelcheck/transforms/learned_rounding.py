"""Int8 steps that change what a layer gives least, and not its weights.

Least ||(W - S·Q)·X||² over whole steps Q, W: (rows, K), S = diag(scales), X: (K, positions). With
H = X·Xᵀ / positions that is the sum over rows of s²·e·H·eᵀ, e = w / s - q: every row by itself, in
its own steps. Of correlated inputs one's error makes up for another's.

  H = M·Mᵀ, M upper triangular      e·H·eᵀ = |e·M|² = sum_j (e_j·M_jj + sum_{i<j} e_i·M_ij)²
  q_j = round(w_j / s + sum_{i<j} e_i·M_ij / M_jj)      the j-th term least, given those before

Inputs are taken in falling order of power: for the strong ones, many are left to make up. This is
the compensation of OBC and GPTQ: their U, with Uᵀ·U = H⁻¹, is M⁻¹, and no inverse is needed. To
move single weights to their best step afterwards, beside all others, was tried: it takes off 1 %
of what is left. A part of the mean power is added to every input (damping): so H has a factor where
inputs are dead, constant, or more than the positions seen, and those keep to the nearest step.
Sources: E. Frantar et al., Optimal Brain Compression, NeurIPS 2022; GPTQ, ICLR 2023.
"""

from __future__ import annotations

import numpy as np

_LARGEST = 127
_DAMPING = (0.01, 0.1, 1.0)  # of the mean power; more only where rounding left H without a factor
_BLOCK = 128  # columns that are rounded before the others hear of them, in one product


def learned_steps(weights: np.ndarray, scales: np.ndarray, moment: np.ndarray) -> np.ndarray:
    """The int8 steps of each row of weights under the second moment of its inputs.

    weights: (..., rows, K); scales: (..., rows), positive; moment: (..., K, K), symmetric
    A row whose nearest steps lose no more, by the moment as it is, gets those: so do rows on their
    grid, and all rows under a moment that is not finite.
    """
    exact = weights.astype(np.float64) / scales[..., None].astype(np.float64)
    nearest = _step(exact)
    plain = _normalized(moment)
    power = np.diagonal(plain, axis1=-2, axis2=-1)
    order = np.argsort(-power, axis=-1, kind="stable")
    plain = np.take_along_axis(plain, order[..., None], -2)
    plain = np.take_along_axis(plain, order[..., None, :], -1)
    sorted_ = np.take_along_axis(exact, order[..., None, :], -1)
    learned = _learned(sorted_, plain)
    if learned is None:
        return nearest.astype(np.int8)
    near = np.take_along_axis(nearest, order[..., None, :], -1)
    better = _loss(sorted_ - learned, plain) < _loss(sorted_ - near, plain)
    chosen = np.where(better[..., None], learned, near)
    back = np.argsort(order, axis=-1)
    return np.take_along_axis(chosen, back[..., None, :], -1).astype(np.int8)


def _step(exact: np.ndarray) -> np.ndarray:
    return np.asarray(np.rint(exact).clip(-_LARGEST, _LARGEST))


def _normalized(moment: np.ndarray) -> np.ndarray:
    """In float64, of mean power 1; of inputs that were zero, or not finite, nothing is known."""
    plain = moment.astype(np.float64)
    power = np.diagonal(plain, axis1=-2, axis2=-1).mean(axis=-1)
    known = np.isfinite(plain).all(axis=(-2, -1)) & np.isfinite(power) & (power > 0)
    plain[~known] = 0
    plain /= np.where(known, power, 1.0)[..., None, None]
    return plain


def _learned(exact: np.ndarray, plain: np.ndarray) -> np.ndarray | None:
    for damping in _DAMPING:
        try:
            # Of the reversed matrix, so that the factor comes out upper triangular.
            lower = np.linalg.cholesky(_damped(plain, damping)[..., ::-1, ::-1])
        except np.linalg.LinAlgError:
            continue
        return _one_after_another(exact, lower[..., ::-1, ::-1])
    return None


def _damped(plain: np.ndarray, damping: float) -> np.ndarray:
    damped = plain.copy()  # no identity matrix: K may be thousands
    np.einsum("...ii->...i", damped)[...] += damping
    return damped


def _one_after_another(exact: np.ndarray, factor: np.ndarray) -> np.ndarray:
    """Each column rounded so that it makes up for those before it."""
    steps, columns = np.empty_like(exact), exact.shape[-1]
    carried = np.zeros_like(exact)  # sum_{i<j} e_i·M_ij
    diagonal = np.diagonal(factor, axis1=-2, axis2=-1)
    for start in range(0, columns, _BLOCK):
        stop = min(start + _BLOCK, columns)
        for j in range(start, stop):
            steps[..., j] = _step(exact[..., j] + carried[..., j] / diagonal[..., None, j])
            error = exact[..., j] - steps[..., j]
            carried[..., j + 1 : stop] += error[..., None] * factor[..., None, j, j + 1 : stop]
        errors = exact[..., start:stop] - steps[..., start:stop]
        carried[..., stop:] += errors @ factor[..., start:stop, stop:]
    return steps


def _loss(errors: np.ndarray, moment: np.ndarray) -> np.ndarray:
    return np.asarray(((errors @ moment) * errors).sum(axis=-1))
