"""The files of a run: what is kept every few steps, and how it is read back."""

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

    Single files are written whole and then renamed; lists have a line for each entry, with
    its step. Without `writes`, as in all processes but the first, nothing is written.
    """

    def __init__(self, path: pathlib.Path, *, writes: bool = True):
        self.path, self.writes = path, writes
        if writes:
            (path / "spectra").mkdir(parents=True, exist_ok=True)

    @property
    def checkpoints(self) -> pathlib.Path:
        return self.path / "checkpoints"

    def write(self, name: str, content: Mapping[str, Any]) -> None:
        self._put(name, (json.dumps(json.loads(as_json(content)), indent=2) + "\n").encode())

    def read(self, name: str) -> dict[str, Any]:
        return json.loads((self.path / name).read_text())

    def add(self, name: str, entry: Mapping[str, Any]) -> None:
        """One more line, in one write."""
        if self.writes:
            with open(self.path / name, "ab", buffering=0) as file:
                file.write((as_json(entry) + "\n").encode())

    def entries(self, name: str) -> list[dict[str, Any]]:
        """The lines that are whole."""
        if not (self.path / name).exists():
            return []
        lines = (self.path / name).read_text().split("\n")
        return [json.loads(line) for line in lines[:-1]]

    def keep(self, name: str, arrays: Mapping[str, np.ndarray]) -> None:
        buffer = io.BytesIO()
        np.savez(buffer, **arrays)  # pyright: ignore[reportArgumentType]
        self._put(name, buffer.getvalue())

    def forget_after(self, step: int) -> None:
        """Removes what later steps have left: a run goes on from `step`."""
        if not self.writes:
            return
        for name in ("metrics.jsonl", "evaluation.jsonl"):
            kept = [entry for entry in self.entries(name) if entry["step"] <= step]
            if (self.path / name).exists():
                self._put(name, "".join(as_json(x) + "\n" for x in kept).encode())
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
    """The arrays that are kept of a step, and the numbers that are told of them.

    Of the last batch, not centred: F = E[f f^T] over both views, across = E[f_1 f_2^T] of the
    two, which is W X W^T of the theory where F is W (X + X') W^T, cross = E[f_a f^T], mean and
    power = E|f_a|^2; running, the estimate of F that a closed form uses; Wp; s, p, U and
    alignment in the `shared_basis` of F and Wp; balance_W = W W^T and balance_Wp = Wp^T Wp of
    Theorem 1, with W the projector's last layer and its bias, cross_W = Wa W^T; tau over all of
    the branch and tau_last for that layer alone. Where Theorem 1 holds for steps: balance_first
    = Wp^T Wp of the predictor's first layer, balance_steps, what W W^T - Wp^T Wp/alpha_p must
    be after the steps so far, and balance_source, the part of it that no decay is, both by
    `theorems.after_step`. `samples` is how many rows F has.
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
    told = dict(
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
    return arrays, told


def weights(record: Record) -> dict[str, np.ndarray]:
    """W and Wa, where they are all of the network."""
    host = _on_host(record)
    return dict(W=host.W, Wa=host.Wa)


def _on_host(record):
    return jax.tree.map(lambda x: np.asarray(x.addressable_data(0)), record)
