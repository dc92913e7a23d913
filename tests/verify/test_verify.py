"""Tests that all claims hold, and that a claim fails when its equation is broken."""

import ast
import inspect
import json
import math

import pytest

from lindyn.theory import closed_forms, cosine, equilibria, fields, theorems
from lindyn.verify import command as verify
from lindyn.verify.claims import CLAIMS


NAMED = {claim.name: claim for claim in CLAIMS}
# For each function: if its formula is changed, at least one of these claims must fail.
CATCHERS = {
    fields: {
        "_residual": ("lemma-1",),
        "full": ("lemma-1",),
        "simsiam": ("simsiam-descent",),
        "no_stop_gradient": ("no-stop-gradient-descent",),
        "no_predictor": ("no-predictor-descent",),
        "moments": ("moments-symmetrised", "theorem-3-identity"),
        "moments_asymmetric": ("moments-reduction",),
        "mode_pair": ("modes-at-fixed-tau", "cosine-descent"),
        "cosine_modes": ("cosine-descent",),
        "cosine": ("cosine-matrices",),
        "cosine_sampled": ("cosine-of-samples",),
        "cosine_sampled_simsiam": ("cosine-of-samples",),
        "sampled_cosine": ("cosine-of-samples",),
        "_ascent": ("cosine-of-samples",),
        "cosine_rival": ("cosine-rival",),
        "cosine_simsiam": ("cosine-without-ema",),
        "cosine_gaussian": ("cosine-of-gaussians",),
        "cosine_gaussian_simsiam": ("cosine-without-ema",),
        "gaussian_cosine": ("cosine-of-equal-modes",),
        "_cosine_data": ("cosine-matrices",),
        "_divided": ("cosine-matrices",),
        "modes": ("modes-at-fixed-tau",),
        "modes_fixed_tau": ("modes-at-fixed-tau",),
        "gain": ("modes-at-fixed-tau",),
        "growth": ("modes-at-fixed-tau",),
        "parabola_ema": ("parabola-target",),
        "parabola": ("parabola-flow",),
        "predicted": ("directset-edge",),
        "isoloss": ("isoloss-goal",),
        "_anticommutator": ("moments-reduction",),
    },
    theorems: {
        "balance": ("theorem-1-split", "theorem-1"),
        "curvature": ("theorem-2-curvature",),
        "alignment_rate": ("theorem-3-identity",),
        "after_step": ("theorem-1-heavy-ball", "theorem-1-nesterov", "theorem-1-decoupled"),
        "_product": ("theorem-1-heavy-ball",),
        "_lag": ("theorem-1-source",),
        "_entered": ("theorem-1-source", "theorem-1-heavy-ball"),
    },
    cosine: {
        "goal": ("cosine-shares",),
        "survivors": ("cosine-survivors",),
        "edge": ("cosine-edge",),
        "rival_edges": ("cosine-rival-edges",),
        "speeds": ("cosine-speeds",),
        "resting_scale": ("cosine-resting-scale",),
    },
    equilibria: {
        "_roots": ("fixed-points", "basin-edge"),
        "discriminant": ("fixed-points", "implicit-solution"),
        "_rest": ("fixed-points",),
        "_of_curriculum": ("fixed-points",),
        "directset_fixed_points": ("directset-edge",),
    },
    closed_forms: {
        "alignment_margin": ("alignment-condition",),
        "critical_decay": ("critical-decay",),
        "aligned_window": ("aligned-window",),
        "invariant": ("invariance",),
        "basin_edge_without_decay": ("basin-without-decay",),
        "runaway_rate": ("runaway",),
        "time_on_parabola": ("implicit-solution",),
        "target_ratio": ("target-integral",),
        "isoloss_goal": ("isoloss-goal",),
        "directset_edge": ("directset-edge",),
    },
}

# Changes that no claim can notice, with the reason.
HARMLESS = {
    ("discriminant", "factor", 2),  # the bound of rounding errors that count as zero
    ("discriminant", "factor", 3),
    ("_rest", "eta", 0),  # the ratio of equal decays is 1 with or without the special case
    ("_rest", "eta", 1),
    ("cosine_gaussian_simsiam", "argument", 2),  # a cosine ignores its target's scale
    ("cosine_sampled_simsiam", "argument", 2),
    ("gaussian_cosine", "factor", 0),  # and its prediction's scale
    *(("sampled_cosine", "factor", i) for i in range(3)),
    ("_entered", "sign", 1),  # the rounding error, which only matters in float32
}


COMPOSED = {
    "cosine",
    "cosine_gaussian",
    "cosine_sampled",
}  # they only call functions that are broken themselves


class Break(ast.NodeTransformer):
    """Changes the `target`-th place of one kind in a function.

    "sign" changes a sign, "factor" inserts a factor of 2, and "eta" sets a decay to 0.
    "argument" doubles a keyword argument, for functions that only call others.
    """

    def __init__(self, kind, target):
        self.kind, self.target, self.seen = kind, target, 0

    def _here(self):
        self.seen += 1
        return self.seen == self.target + 1

    def visit_BinOp(self, node):
        self.generic_visit(node)
        if self.kind == "sign" and isinstance(node.op, ast.Add | ast.Sub) and self._here():
            node.op = ast.Sub() if isinstance(node.op, ast.Add) else ast.Add()
        if self.kind == "factor" and isinstance(node.op, ast.Mult | ast.MatMult):
            if self._here():
                node.left = ast.BinOp(ast.Constant(2.0), ast.Mult(), node.left)
        return node

    def visit_UnaryOp(self, node):
        self.generic_visit(node)
        if self.kind == "sign" and isinstance(node.op, ast.USub) and self._here():
            return node.operand
        return node

    def visit_keyword(self, node):
        self.generic_visit(node)
        if self.kind == "argument" and self._here():
            node.value = ast.BinOp(ast.Constant(2.0), ast.Mult(), node.value)
        return node

    def visit_Attribute(self, node):
        self.generic_visit(node)
        if self.kind == "eta" and node.attr in ("eta_p", "eta_s") and self._here():
            return ast.Constant(0.0)
        return node


def definitions(module):
    tree = ast.parse(inspect.getsource(module))
    return {node.name: node for node in tree.body if isinstance(node, ast.FunctionDef)}


def places(module, name):
    def of(*kinds):
        for kind in kinds:
            counter = Break(kind, -1)
            counter.visit(definitions(module)[name])
            yield from ((kind, i) for i in range(counter.seen))

    return [*of("sign", "factor", "eta")] or [*of("argument")]


def broken(module, name, kind, target):
    """New copies of all functions of the module, of which one is broken.

    They are new so that no cached trace of the old functions is used.
    """
    found = definitions(module)
    Break(kind, target).visit(found[name])
    for node in found.values():
        node.returns = None
        for argument in (*node.args.args, *node.args.kwonlyargs):
            argument.annotation = None
    tree = ast.fix_missing_locations(ast.Module([*found.values()], []))
    space = dict(vars(module))
    exec(compile(tree, f"broken {name}", "exec"), space)
    anew = {name: space[name] for name in found}
    if hasattr(module, "CLOSED"):  # this table has the old functions
        anew["CLOSED"] = {field: space[at.__name__] for field, at in module.CLOSED.items()}
        space["CLOSED"] = anew["CLOSED"]
    return anew


LONG = ("parabola_ema", "survivors")
EQUATIONS = [
    pytest.param(module, name, id=name, marks=[pytest.mark.slow] * (name in LONG))
    for module, names in CATCHERS.items()
    for name in names
]


def holds(claim):
    """Whether a claim holds. A claim that can no longer be computed does not hold."""
    try:
        return verify.check(claim, seeds=1, size=3).holds
    except (IndexError, TypeError):
        return False


@pytest.mark.parametrize("module, name", EQUATIONS)
def test_every_broken_equation_is_noticed(module, name, monkeypatch):
    unnoticed, broke = [], places(module, name)
    assert broke or name in COMPOSED
    for kind, target in broke:
        if (name, kind, target) in HARMLESS:
            continue
        with monkeypatch.context() as patch:
            for each, function in broken(module, name, kind, target).items():
                patch.setattr(module, each, function)
            if all(holds(NAMED[claim]) for claim in CATCHERS[module][name]):
                unnoticed.append((kind, target))
    assert not unnoticed


@pytest.mark.parametrize("claim", CLAIMS, ids=lambda claim: claim.name)
def test_every_claim_holds(claim):
    verdict = verify.check(claim, seeds=1, size=3)
    assert verdict.holds, (verdict.residual, verdict.trouble)


def test_every_field_is_spoken_of():
    """Each public equation of motion has a claim that notices when it is wrong."""
    public = {name for name in definitions(fields) if not name.startswith("_")}
    assert public <= set(CATCHERS[fields])


def test_a_failing_claim_is_exit_1_with_its_residual(folder, monkeypatch, capsys):
    flipped = lambda p, s, params: s + p**2 / params.alpha_p
    monkeypatch.setattr(closed_forms, "invariant", flipped)
    assert verify.main(["--only", "invariance", "lemma-1", "--seeds", "1", "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    first, second = report["claims"]
    assert not report["holds"] and not first["holds"] and second["holds"]
    assert first["residual"] > first["tolerance"]
    assert (
        json.loads((folder / "lindyn-out/verify.json").read_text())["claims"]
        == report["claims"]
    )


def test_a_claim_that_cannot_be_checked_fails_and_says_why(monkeypatch):
    grows = lambda t, p, params: p**2 * 1e3
    monkeypatch.setattr(fields, "parabola", grows)
    verdict = verify.check(NAMED["implicit-solution"], seeds=1, size=3)
    assert not verdict.holds and math.isnan(verdict.residual)
    assert "seed 0" in verdict.trouble and "past t = " in verdict.trouble


def test_the_table_names_each_claim(folder, capsys):
    assert verify.main(["--only", "lemma-1", "classes", "--seeds", "1"]) == 0
    shown = capsys.readouterr()
    assert "lemma-1" in shown.out and "2 of 2 claims hold" in shown.out
    assert "verify.json" in shown.out
