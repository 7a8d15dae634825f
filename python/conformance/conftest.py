"""Fixtures with which huggingface_hub's own tests run against a hub of ours.

The tests come with the source distribution of the package, this file does not: it gives what they ask for. The hub's
address is in HF_ENDPOINT; the accounts that the tests know are made by run.py.
"""

import importlib.util
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

import huggingface_hub
from huggingface_hub import HfApi, constants
from huggingface_hub.errors import HfHubHTTPError

from . import testing_constants

ENDPOINT = os.environ["HF_ENDPOINT"]
testing_constants.ENDPOINT_STAGING = ENDPOINT


from .testing_constants import OTHER_TOKEN, TOKEN  # noqa: E402
from .testing_utils import repo_name  # noqa: E402


def pytest_collection_modifyitems(items):
    """Each test belongs to one suite, as in the package's own repository."""
    for item in items:
        names = {mark.name for mark in item.iter_markers()}
        if not names & {"transfer", "xet", "no_xet", "inference", "api"}:
            item.add_marker(pytest.mark.api)


@pytest.fixture(autouse=True)
def xet_mode(request, monkeypatch):
    """Tests marked `xet` need hf_xet, those marked `no_xet` must not have it."""
    installed = importlib.util.find_spec("hf_xet") is not None
    if request.node.get_closest_marker("xet") is not None:
        if not installed:
            pytest.skip("needs hf_xet")
        monkeypatch.setattr(constants, "HF_HUB_DISABLE_XET", False)
    elif request.node.get_closest_marker("no_xet") is not None and installed:
        pytest.skip("must run without hf_xet")


@pytest.fixture(autouse=True)
def fx_cache_dir(request, tmp_path_factory, monkeypatch):
    """A cache of its own for each test, where the class says `cache_dir` or not."""
    cache = tmp_path_factory.mktemp("cache")
    for name, value in {
        "HF_HOME": cache,
        "HF_HUB_CACHE": cache / "hub",
        "HF_XET_CACHE": cache / "xet",
        "HF_ASSETS_CACHE": cache / "assets",
        "HF_TOKEN_PATH": cache / "token",
        "HF_STORED_TOKENS_PATH": cache / "stored_tokens",
    }.items():
        if hasattr(constants, name):
            monkeypatch.setattr(constants, name, str(value))
    if request.cls is not None:
        request.cls.cache_dir = cache
    yield cache
    shutil.rmtree(cache, ignore_errors=True)


@pytest.fixture(scope="session")
def api() -> HfApi:
    return HfApi(endpoint=ENDPOINT, token=TOKEN)


@pytest.fixture(scope="session")
def api_other() -> HfApi:
    return HfApi(endpoint=ENDPOINT, token=OTHER_TOKEN)


@pytest.fixture(scope="session")
def api_unauth() -> HfApi:
    return HfApi(endpoint=ENDPOINT, token=False)


@pytest.fixture
def api_prod() -> HfApi:
    pytest.skip("asks for the public hub")


class RepoFactory:
    """Makes repositories and removes them at the end."""

    def __init__(self) -> None:
        self._made = []

    def __call__(self, repo_type=None, *, repo_id=None, token=TOKEN, prefix="repo", **kwargs):
        api = HfApi(endpoint=ENDPOINT, token=token)
        if repo_type == "space" and "space_sdk" not in kwargs:
            kwargs["space_sdk"] = "gradio"
        url = api.create_repo(repo_id or repo_name(prefix=prefix), repo_type=repo_type, **kwargs)
        self._made.append((api, url.repo_id, url.repo_type))
        return url

    def close(self) -> None:
        for api, repo_id, repo_type in self._made:
            try:
                api.delete_repo(repo_id, repo_type=repo_type, missing_ok=True)
            except HfHubHTTPError:
                pass


@pytest.fixture(scope="class")
def _class_factory() -> Iterator[RepoFactory]:
    factory = RepoFactory()
    yield factory
    factory.close()


@pytest.fixture(scope="session")
def repo_factory() -> Iterator[RepoFactory]:
    factory = RepoFactory()
    yield factory
    factory.close()


@pytest.fixture
def new_repo_id(api: HfApi) -> Iterator[str]:
    """A name that is free; whatever is made under it is removed."""
    repo_id = f"{api.whoami()['name']}/{repo_name()}"
    yield repo_id
    api.delete_repo(repo_id, missing_ok=True)


@pytest.fixture(scope="session")
def fixtures_dir() -> Path:
    return Path(__file__).parent / "fixtures"


@pytest.fixture
def runner():
    from typer.testing import CliRunner

    return CliRunner()


assert huggingface_hub.__version__ == "2.4.0", SimpleNamespace(found=huggingface_hub.__version__)
