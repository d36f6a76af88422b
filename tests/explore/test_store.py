import numpy as np
import pytest

from codesign.errors import ExplorationError
from codesign.explore.cache import Cache, array_digest, content_key, read_arrays, write_arrays
from codesign.explore.store import ROUNDS, TRIALS, Store, read_lines


def opened(folder):
    store = Store(folder)
    store.begin("a problem\n", seed=0)
    return store


def test_a_round_is_there_as_a_whole(tmp_path):
    with opened(tmp_path) as store:
        store.commit([{"id": 0}, {"id": 1}], {"round": 0})
        store.commit([{"id": 2}], {"round": 1})
    whole = (tmp_path / TRIALS).read_bytes()
    lines = (tmp_path / ROUNDS).read_bytes()
    first = lines.index(b"\n") + 1
    for cut in range(first, len(lines)):  # killed while the second round was written
        (tmp_path / ROUNDS).write_bytes(lines[:cut])
        (tmp_path / TRIALS).write_bytes(whole)
        with opened(tmp_path) as store:
            assert [at["round"] for at in store.rounds()] == [0]
            assert store.trials() == [{"id": 0}, {"id": 1}]
            store.commit([{"id": 3}], {"round": 1})
        assert [at["id"] for at in read_lines(tmp_path / TRIALS)] == [0, 1, 3]


def test_a_torn_last_line_is_left_out(tmp_path):
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\n{"a": 2}\n{"a"')
    assert list(read_lines(path)) == [{"a": 1}, {"a": 2}]


def test_a_damaged_line_is_named(tmp_path):
    path = tmp_path / "lines"
    path.write_text('{"a": 1}\nnonsense\n{"a": 3}\n')
    with pytest.raises(ExplorationError, match="line 2 is damaged"):
        list(read_lines(path))


def test_trials_that_are_gone_are_noticed(tmp_path):
    with opened(tmp_path) as store:
        store.commit([{"id": 0}], {"round": 0})
    (tmp_path / TRIALS).write_text("")
    with pytest.raises(ExplorationError, match="restore it"):
        opened(tmp_path)


def test_arrays_of_any_name_come_back(tmp_path):
    arrays = {"stacks.0/conv1:weight": np.arange(6.0).reshape(2, 3), "file": np.array([1], np.int8)}
    found = read_arrays(write_arrays(arrays))
    assert found.keys() == arrays.keys()
    for name, array in arrays.items():
        np.testing.assert_array_equal(found[name], array)
        assert found[name].dtype == array.dtype
    with pytest.raises(ValueError, match="no arrays"):
        read_arrays(b"PK")


def test_the_cache_has_what_was_put(tmp_path):
    cache = Cache(tmp_path)
    key = content_key(network="a", steps=3)
    assert cache.get(key) is None
    assert cache.arrays(key) == {}
    cache.put(key, {"validation": 0.5}, {"w": np.ones(3)})
    assert Cache(tmp_path).get(key) == {"validation": 0.5}
    np.testing.assert_array_equal(Cache(tmp_path).arrays(key)["w"], np.ones(3))


def test_keys_follow_from_content_alone():
    assert content_key(a=1, b=[2]) == content_key(b=[2], a=1)
    assert content_key(a=1) != content_key(a=2)
    array = np.arange(6, dtype=np.int8)
    digests = {
        array_digest(at) for at in (array, array[::-1], array.reshape(2, 3), array.astype(np.int16))
    }
    assert len(digests) == 4
    assert array_digest(array) == array_digest(array.copy())


def test_lines_hold_no_nan(tmp_path):
    with opened(tmp_path) as store, pytest.raises(ValueError, match="JSON"):
        store.commit([{"value": float("nan")}], {})
