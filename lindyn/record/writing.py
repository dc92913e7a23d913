"""Writes the folder of a training run, and computes what is recorded every few steps."""

import io
import json
import os
import pathlib
from collections.abc import Mapping
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np

from lindyn.command import as_json
from lindyn.record.measurements import Record
from lindyn.theory import spectra


class Folder:
    """config.json, environment.json, metrics.jsonl, evaluation.jsonl, spectra/, checkpoints/.

    A json or npz file is written under a temporary name and then renamed, so that it is never
    incomplete. A jsonl file has one line for each entry, with its step. If `writes` is false,
    as in all processes but the first, nothing is written.
    """

    def __init__(self, path: pathlib.Path, *, writes: bool = True):
        self.path, self.writes = path, writes
        if writes:
            (path / "spectra").mkdir(parents=True, exist_ok=True)

    @property
    def checkpoints(self) -> pathlib.Path:
        return self.path / "checkpoints"

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        """Write a JSON file."""
        self._put(name, (json.dumps(json.loads(as_json(content)), indent=2) + "\n").encode())

    def read(self, name: str) -> dict[str, Any]:
        return json.loads((self.path / name).read_text())

    def add(self, name: str, entry: Mapping[str, Any]) -> None:
        """Append one line to a jsonl file, in a single write."""
        if self.writes:
            with open(self.path / name, "ab", buffering=0) as file:
                file.write((as_json(entry) + "\n").encode())

    def entries(self, name: str) -> list[dict[str, Any]]:
        """The entries of a jsonl file, without an incomplete last line."""
        if not (self.path / name).exists():
            return []
        lines = (self.path / name).read_text().split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def keep(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        """Write an npz file."""
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
        self._put(name, buffer.getvalue())

    def forget_after(self, step: int) -> None:
        """Remove all records of steps after `step`, from which a run resumes."""
        if not self.writes:
            return
        for name in ("metrics.jsonl", "evaluation.jsonl"):
            entries = [entry for entry in self.entries(name) if entry["step"] <= step]
            if (self.path / name).exists():
                self._put(name, "".join(as_json(x) + "\n" for x in entries).encode())
        for file in (self.path / "spectra").iterdir():
            if not file.stem.isdigit() or int(file.stem) > step:
                file.unlink()

    def _put(self, name, content):
        if not self.writes:
            return
        path = self.path / name
        part = path.with_name(f".{path.name}.part")
        with open(part, "wb") as file:
            file.write(content)
            file.flush()
            os.fsync(file.fileno())
        part.rename(path)


def spectrum(record: Record, samples: int) -> tuple[dict[str, np.ndarray], dict[str, Any]]:
    """The arrays that are recorded of a step, and numbers that summarise them.

    F, across, cross, mean, power: moments of the last batch, not centred. F = E[f f^T] over
    both views and across = E[f_1 f_2^T] of the two views: they are W (X + X') W^T and W X W^T
    of the theory. cross = E[f_a f^T], mean = E[f] and power = E|f_a|^2.

    running: the running estimate of F, which a predictor in closed form uses.

    Wp, asymmetry, commutator: the predictor, its relative asymmetry, and the norm of [F, Wp].

    U, s, p, alignment: in the `spectra.shared_basis` of F and Wp.

    balance_W, balance_Wp, cross_W: W W^T and Wp^T Wp of Theorem 1, and Wa W^T. Here W is the
    projector's last layer, with its bias as one more column, and Wa that of the target.

    tau, tau_last: the target ratio <Wa, W>/<W, W>, over the whole branch, and for that last
    layer alone.

    balance_first, balance_steps, balance_source: only where Theorem 1 holds for steps.
    balance_first is Wp^T Wp of the predictor's first layer. balance_steps is the value that
    W W^T - Wp^T Wp/alpha_p must have after the steps so far, and balance_source the part of it
    that is not due to weight decay, both by `theorems.after_step`.

    `samples` is the number of outputs f over which F is the mean.
    """
    with jax.default_device(jax.local_devices(backend="cpu")[0]):
        host = _on_host(record)
        F, Wp = jnp.asarray(host.batch.F), jnp.asarray(host.Wp)
        basis = spectra.shared_basis(F, Wp)
        alignment = np.asarray(spectra.alignment(basis, Wp))
        asymmetry = float(spectra.asymmetry(Wp))
        commutator = float(spectra.commutator_norm(F, Wp))
        rank = float(spectra.effective_rank(basis.s))
    last = np.vdot(host.Wa, host.W) / np.vdot(host.W, host.W)
    arrays = dict(
        F=host.batch.F,
        across=host.batch.across,
        cross=host.batch.cross,
        mean=host.batch.mean,
        power=host.batch.power,
        running=host.running,
        Wp=host.Wp,
        U=np.asarray(basis.U),
        s=np.asarray(basis.s),
        p=np.asarray(basis.p),
        alignment=alignment,
        asymmetry=np.array(asymmetry),
        commutator=np.array(commutator),
        balance_W=host.W @ host.W.T,
        balance_Wp=host.Wp.T @ host.Wp,
        cross_W=host.Wa @ host.W.T,
        tau=host.tau,
        tau_last=last,
    )
    if host.balance is not None:
        arrays |= dict(
            balance_first=host.layers.Wp.T @ host.layers.Wp,
            balance_steps=host.balance.balance + host.balance.rounded,
            balance_source=host.balance.source,
        )
    verdict = spectra.verdict(host.batch.F, host.batch.mean, samples)
    summary = dict(
        s_max=float(basis.s[0]),
        effective_rank=rank,
        alignment=float(alignment.mean()),
        asymmetry=asymmetry,
        commutator=commutator,
        tau=float(host.tau),
        verdict=verdict.kind,
        rank=verdict.rank,
        of=verdict.of,
        varying=verdict.varying,
    )
    return arrays, summary


def weights(record: Record) -> dict[str, np.ndarray]:
    """W and Wa, recorded for a linear network, of which they are the whole branch."""
    host = _on_host(record)
    return dict(W=host.W, Wa=host.Wa)


def _on_host(record):
    return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), record)
