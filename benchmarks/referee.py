"""Tests `lindyn predict` on networks that are trained with random hyperparameters.

    python benchmarks/referee.py --count 300 --out benchmarks/results/referee.json
    python benchmarks/referee.py --lattice --out benchmarks/results/lattice.json

For each sampled setting, the functions behind the command make a prediction; then the trainer's
own step trains a linear network with the same setting, in float32, on Gaussian data. The
outcome is read from the trained weights. A prediction is right if it agrees on divergence, on
complete collapse and on noise, and if the number of surviving modes is within one of the range
over the predicted initial conditions. Finished settings are stored beside the result, so that a
stopped run can continue. --lattice takes a grid of learning rates and weight decays instead of
random settings, for figures/collapse.py.
"""

import argparse
import collections
import dataclasses
import functools
import itertools
import json
import multiprocessing
import pathlib
import time

import numpy as np


EXAMPLES = 1024
FIXED = dict(sigma2=0.3, lr=0.03, ema=0.996, dim=8, inputs=16, steps=4800)
LATTICE = 10_000  # seeds from this number on are settings of the lattice
RATES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0, 3.0, 10.0)
DECAYS = (0.001, 0.01, 0.1, 0.3, 1.0, 3.0)
README = (dict(wd=1.0), dict(wd=0.3), dict(wd=1.0, loss="l2"), dict(wd=0.3, loss="l2"))


def drawn(seed: int) -> dict:
    """The setting with this seed, keyed by the flags of the predict command. The first ones
    are those of the README."""
    if seed >= LATTICE:
        return lattice()[seed - LATTICE]
    if seed < len(README):
        return {**FIXED, **README[seed]}
    rng = np.random.default_rng(seed)
    log = lambda low, high: float(f"{10 ** rng.uniform(low, high):.3g}")
    choice = lambda *values: values[rng.integers(len(values))]
    dim, batch = choice(4, 8, 16), choice(16, 64, 128, 256)
    predictor = choice(*["linear"] * 6, "directpred", "directset", "directcopy", "optimal")
    trained = predictor == "linear"
    momentum = choice(0.0, 0.5, 0.9)
    optimiser = choice(*["sgd"] * 8, "adam", "lars")
    lr = log(*{"sgd": (-2.5, 0.5), "adam": (-4, -1), "lars": (-1, 1.5)}[optimiser])
    nesterov = optimiser == "sgd" and momentum > 0 and bool(rng.random() < 0.2)
    decay = "coupled" if optimiser == "lars" else choice("coupled", "decoupled")
    return dict(
        optimiser=optimiser,
        lr=lr,
        predictor_lr=float(f"{lr * 10 ** rng.uniform(-1, 1):.3g}") if trained else None,
        momentum=momentum,
        nesterov=nesterov,
        wd=log(-4, 0.5),
        decay=decay,
        target=choice("ema", "ema", "none"),
        ema=1 - log(-3, -1),
        target_start=choice("independent", "copy"),
        loss=choice("cosine", "l2"),
        both_directions=bool(rng.random() < 0.7),
        symmetric=trained and bool(rng.random() < 0.3),
        predictor=predictor,
        a=choice(0.3, 0.5, 0.8),
        eps=choice(0.0, 0.1, 0.3),
        sigma2=log(-1.5, 0.3),
        dim=dim,
        inputs=min(32, dim * choice(1, 2, 4)),
        batch=batch,
        steps=choice(2000, 4000) // (EXAMPLES // batch) * (EXAMPLES // batch),
    )


def lattice() -> list[dict]:
    """The network of the README, over loss, learning rate and weight decay."""
    over = itertools.product(("l2", "cosine"), RATES, DECAYS)
    return [{**FIXED, "loss": loss, "lr": lr, "wd": wd} for loss, lr, wd in over]


def predicted(told: dict) -> dict:
    from lindyn.predict import command as predict, network_fates
    from lindyn.predict.scenario import Scenario

    config = predict.Config(**told)
    case = Scenario.of({**predict.FIXED, **dataclasses.asdict(config)})
    found = network_fates.trial(case)
    return dict(
        kind=found.kind, diverges_from_lr=network_fates.diverging_rate(case), **found._asdict()
    )


def observed(told: dict, seed: int, memory: float) -> dict:
    """Trains one network and counts its modes."""
    import jax

    from lindyn.predict import network_fates
    from lindyn.predict.linear_networks import Outcome, agreement, spectrum
    from lindyn.train import setup
    from lindyn.train.config import Config
    from lindyn.train.data import gaussian, image_sets
    from lindyn.train.step import everywhere, parallel

    names = {field.name for field in dataclasses.fields(Config)}
    same = {name: value for name, value in told.items() if name in names}
    ratio = (told.get("predictor_lr") or told["lr"]) / told["lr"]
    batch = told.get("batch", 128)
    per_epoch = EXAMPLES // batch
    steps = told["steps"]
    config = Config(
        model="linear",
        data="gaussian",
        examples=EXAMPLES,
        alpha_p=ratio,
        epochs=steps // per_epoch,
        seed=seed,
        **same,
    )
    vectors = gaussian.vectors(config).astype(np.float32)
    method = setup.method(config, steps, per_epoch)
    state, static = setup.start(config, method, vectors.shape[1])
    first = spectrum(np.asarray(state.params.branch.projector.last.weight, float))
    devices = jax.devices()[:1]
    state, images = everywhere(state, devices), everywhere(vectors, devices)
    advance = parallel(devices, True, static=static, method=method)
    for start in range(0, steps, per_epoch * 20):
        some = range(start, min(start + per_epoch * 20, steps))
        chosen = [
            image_sets.batch_indices(EXAMPLES, batch, seed=config.seed, step=step)
            for step in some
        ]
        state, measured = advance(state, images, np.stack(chosen)[None])
        if not bool(state.good):
            break
    W, Wp, Wa = (
        np.asarray(x.addressable_data(0), float) for x in (measured.W, measured.Wp, measured.Wa)
    )
    s = spectrum(W) if bool(state.good) else np.full(len(W), np.nan)
    one = Outcome(s[None], first[None, -1], np.array([agreement(W, Wp, Wa)]))
    found = network_fates.counted(one, steps, memory, told.get("loss", "cosine") == "cosine")
    return dict(kind=found.kind, rank=found.rank, s=s.tolist(), agreement=found.agreement)


def right(guess: dict, seen: dict) -> bool:
    from lindyn.predict.network_fates import LIVES, LOSES

    some = (LIVES, LOSES)
    if guess["kind"] in some and seen["kind"] in some:
        low, high = guess["ranks"]
        return low - 1 <= seen["rank"] <= high + 1
    return guess["kind"] == seen["kind"]


def judged(seeds: list[int], path: str) -> None:
    """Predicts in float64, as the command does, then trains in float32, as the trainer does."""
    import jax

    from lindyn import command

    command.start()
    guesses = {}
    for seed in seeds:
        begun = time.perf_counter()
        guesses[seed] = predicted(drawn(seed))
        guesses[seed]["seconds"] = time.perf_counter() - begun
    jax.config.update("jax_enable_x64", False)
    for seed, guess in guesses.items():
        told = drawn(seed)
        seen = observed(told, seed, guess["memory"])
        entry = dict(seed=seed, told=told, predicted=guess, observed=seen)
        with open(path, "a") as file:
            file.write(command.as_json(entry | dict(right=right(guess, seen))) + "\n")


def table(entries: list[dict]) -> str:
    """A table of predicted against observed outcomes, and a line for every wrong prediction."""
    counts = collections.Counter(
        (each["predicted"]["kind"], each["observed"]["kind"]) for each in entries
    )
    kinds = sorted({kind for pair in counts for kind in pair})
    lines = [f"{'predicted, observed:':22}" + "".join(f"{kind:>20}" for kind in kinds)]
    for kind in kinds:
        lines.append(f"{kind:22}" + "".join(f"{counts[kind, each]:20}" for each in kinds))
    good = sum(each["right"] for each in entries)
    same = sum(n for (one, other), n in counts.items() if one == other)
    lines.append(
        f"{good} of {len(entries)} right ({good / len(entries):.1%}); {same} in the same words"
    )
    unsafe = [each["seed"] for each in entries if _unsafe(each)]
    lines.append(f"fine by its word, diverged below a tenth of the rate it names: {unsafe}")
    for each in entries:
        if not each["right"]:
            guess, seen = each["predicted"], each["observed"]
            lines.append(
                f"miss {each['seed']}: {guess['kind']} {guess['ranks']}, was {seen['kind']}"
                f" {seen['rank']}; {json.dumps(each['told'])}"
            )
    return "\n".join(lines)


def _unsafe(entry):
    guess = entry["predicted"]
    fine = guess["kind"] != "diverges" and entry["observed"]["kind"] == "diverges"
    rate = guess["diverges_from_lr"]
    return fine and (rate is None or entry["told"]["lr"] < rate / 10)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--count", type=int, default=300)
    parser.add_argument("--lattice", action="store_true")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path("referee.json"))
    asked = parser.parse_args()
    if asked.count < 1 or asked.processes < 1:
        parser.error("--count and --processes: must be at least 1")
    part = asked.out.with_suffix(".part.jsonl")
    part.parent.mkdir(parents=True, exist_ok=True)
    lines = part.read_text().splitlines() if part.exists() else []
    done = {json.loads(line)["seed"] for line in lines}
    wanted = range(asked.count)
    if asked.lattice:
        wanted = range(LATTICE, LATTICE + len(lattice()))
    left = [seed for seed in wanted if seed not in done]
    chunks = [left[i : i + 10] for i in range(0, len(left), 10)]
    spawn = multiprocessing.get_context("spawn")
    with spawn.Pool(asked.processes, maxtasksperchild=1) as pool:
        judge = functools.partial(judged, path=str(part))
        for count, _ in enumerate(pool.imap_unordered(judge, chunks), 1):
            print(f"{count} of {len(chunks)} parts", flush=True)
    entries = [json.loads(line) for line in part.read_text().splitlines()]
    entries = sorted(entries, key=lambda each: each["seed"])[: len(wanted)]
    print(table(entries))
    finish(entries, asked.out)
    part.unlink()


def finish(entries: list[dict], path: pathlib.Path) -> None:
    import machine

    good = sum(each["right"] for each in entries)
    facts = dict(date=time.strftime("%Y-%m-%d"), processor=machine.processor())
    head = json.dumps(dict(**facts, right=good, of=len(entries)))[:-1]
    # One line per setting, so that diffs are readable.
    lines = ",\n".join(json.dumps(each) for each in entries)
    path.write_text(f'{head}, "settings": [\n{lines}\n]}}\n')


if __name__ == "__main__":
    main()
