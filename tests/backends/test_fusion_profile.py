"""The profile that `teola fusion-check` writes and the optimizer reads."""

import pytest

from backends.errors import ConfigError
from backends.fusion_profile import FusionProfile, PlanQuality, load, path_of, save

MODEL = "local:some/model.gguf"


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TEOLA_CACHE", str(tmp_path))


def profile(**plans):
    return FusionProfile(model=MODEL, plans={name: PlanQuality(**q) for name, q in plans.items()})


def test_a_profile_is_read_back_as_it_was_saved():
    made = profile(reuse={"r": 0.0, "cost": 0.05}, **{"query(0.15)": {"r": 0.5, "cost": 0.2}})
    save(made)
    assert load(MODEL) == made


def test_a_model_that_was_never_checked_has_none():
    assert load("local:another") is None


def test_a_new_check_replaces_the_last_and_leaves_no_other_file():
    save(profile(reuse={"r": 0.0, "cost": 0.05}))
    path = save(profile(reuse={"r": 0.1, "cost": 0.05}))
    assert load(MODEL).plans["reuse"].r == 0.1
    assert list(path.parent.iterdir()) == [path]


@pytest.mark.parametrize("content", ["", "{", '{"model": "x", "plans": {"reuse": {"r": 2}}}'])
def test_a_file_that_is_no_profile_is_named_with_what_to_do(content):
    path_of(MODEL).parent.mkdir(parents=True)
    path_of(MODEL).write_text(content)
    with pytest.raises(ConfigError, match=r"is no fusion profile .*run `teola fusion-check local"):
        load(MODEL)


def test_models_of_like_names_have_files_of_their_own():
    assert path_of("local:a/b") != path_of("local:a-b")
