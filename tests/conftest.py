"""Fixtures for all tests, and the JAX configuration with which they run."""

import os
import tempfile

import jax
import jax.random as jr
import matplotlib as mpl
import pytest


# A temporary compilation cache: the tests of one run share it, and then it is deleted.
_cache = tempfile.TemporaryDirectory()
os.environ["JAX_COMPILATION_CACHE_DIR"] = _cache.name
jax.config.update("jax_compilation_cache_dir", _cache.name)

jax.config.update("jax_platforms", "cpu")
jax.config.update("jax_num_cpu_devices", 2)
jax.config.update("jax_enable_x64", True)
jax.config.update("jax_numpy_rank_promotion", "raise")
mpl.use("Agg")


@pytest.fixture
def key():
    return jr.key(0)


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """An empty working directory, into which commands write by default."""
    monkeypatch.chdir(tmp_path)
    return tmp_path
