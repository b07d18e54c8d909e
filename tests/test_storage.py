"""Row 33: plans on disk. What comes back is what was saved, or an error that says what is wrong."""

import io
import json
import pickle
import time
import tracemalloc
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
import symbolic_oracle as oracle
from test_plan import is_same

import padchol
from padchol import storage
from padchol.storage import ARRAYS
from padchol.symbolic.costs import CostModel

pytestmark = [pytest.mark.core, pytest.mark.oldest]

PLAN = padchol.analyze(oracle.spd(oracle.shuffled(oracle.grid(5, 5), 1)), order="mmd", device="gpu")


@pytest.fixture
def saved(tmp_path):
    PLAN.save(tmp_path / "plan.npz")
    return tmp_path / "plan.npz"


def altered(path, change):
    """Rewrite a saved plan after `change(facts, arrays)`, as if it had been saved so."""
    with np.load(path) as stored:
        arrays = {name: stored[name] for name in ARRAYS}
        facts = json.loads(str(stored["padchol"]))
    facts = change(facts, arrays) or facts
    if isinstance(facts, dict):
        facts["digest"] = storage.digest(facts)
    np.savez_compressed(path, padchol=np.array(json.dumps(facts)), **arrays)


@pytest.mark.parametrize("order", ["natural", "rcm", "mmd", "auto"])
@pytest.mark.parametrize("S", [pytest.param(S, id=k) for k, S in oracle.EXAMPLES.items()])
def test_the_plan_that_was_saved_comes_back(S, order, tmp_path):
    """Row 33: an equal plan, with equal facts."""
    plan = padchol.analyze(oracle.spd(S), order=order)
    plan.save(tmp_path / "plan")  # exactly as named, no suffix added
    found = padchol.load(tmp_path / "plan")
    is_same(plan, found)
    assert found.layout == plan.layout
    assert hash(found.layout) == hash(plan.layout)
    assert found.nnz_L == plan.nnz_L
    assert str(found) == str(plan)


def test_the_facts_come_back_as_they_were(saved):
    assert padchol.load(saved).stats == PLAN.stats


def test_paths_as_text_and_saving_twice(saved):
    PLAN.save(str(saved))
    is_same(PLAN, padchol.load(str(saved)))


def test_the_file_holds_no_pickle(saved):
    with np.load(saved, allow_pickle=False) as stored:
        assert sorted(stored) == sorted(["padchol", *ARRAYS])
        assert all(stored[name].dtype != object for name in stored)


def test_a_missing_file_is_a_missing_file(tmp_path):
    with pytest.raises(FileNotFoundError):
        padchol.load(tmp_path / "none.npz")


def test_a_foreign_npz(tmp_path):
    np.savez(tmp_path / "other.npz", x=np.arange(3))
    with pytest.raises(padchol.PlanFileError, match=r"other\.npz is another \.npz file"):
        padchol.load(tmp_path / "other.npz")


def npy():
    file = io.BytesIO()
    np.save(file, np.arange(3))
    return file.getvalue()


@pytest.mark.parametrize(
    "content", [b"", b"not a plan\n", pickle.dumps({"plan": 1}), npy(), bytes(100), b"PK\x03\x04"]
)
def test_a_file_of_another_kind(content, tmp_path):
    path = tmp_path / "file"
    path.write_bytes(content)
    with pytest.raises(padchol.PlanFileError, match="expected a padchol plan"):
        padchol.load(path)


def test_a_truncated_file(saved):
    content = saved.read_bytes()
    for length in range(0, len(content), 41):
        saved.write_bytes(content[:length])
        with pytest.raises(padchol.PlanFileError):
            padchol.load(saved)


@pytest.mark.parametrize("bits", [0xFF, 0x01])
@pytest.mark.slow
def test_any_flipped_byte_is_harmless_or_found(saved, bits):
    """Some bytes of a zip file mean nothing (its dates); whatever loads must be the plan."""
    content = saved.read_bytes()
    found = 0
    for at in range(len(content)):
        saved.write_bytes(content[:at] + bytes([content[at] ^ bits]) + content[at + 1 :])
        try:
            plan = padchol.load(saved)
        except padchol.PlanFileError:
            found += 1
        else:
            is_same(PLAN, plan)
            assert (plan.nnz_L, str(plan)) == (PLAN.nnz_L, str(PLAN))
    assert found > 0.7 * len(content)


def test_another_format_version(saved):
    altered(saved, lambda facts, arrays: facts.update(format=999))
    with pytest.raises(padchol.PlanFileError, match="format 999: analyse the pattern again"):
        padchol.load(saved)


@pytest.mark.parametrize("name", ARRAYS)
def test_a_changed_table_does_not_match_its_fingerprint(saved, name):
    def change(facts, arrays):
        arrays[name] = arrays[name].copy()
        arrays[name][-1] += 1

    altered(saved, change)
    with pytest.raises(padchol.PlanFileError, match="damaged"):
        padchol.load(saved)


@pytest.mark.parametrize(
    "change",
    [
        lambda facts, arrays: facts["layout"]["tables"]["stages"][0].update(W=4096),
        lambda facts, arrays: facts["layout"].update(n=26),
        lambda facts, arrays: facts["facts"].update(nnz_L=facts["facts"]["nnz_L"] + 1),
        lambda facts, arrays: facts.update(fingerprint="0" * 64),
        lambda facts, arrays: facts.pop("layout") and None,
        lambda facts, arrays: facts["layout"].update(tables=None),
        lambda facts, arrays: facts["layout"]["tables"].update(stages=[[1, 2]]),
        lambda facts, arrays: facts["layout"]["tables"]["stages"][0].update(matrix_blocks=[[1]]),
        lambda facts, arrays: facts.update(facts=None),
        lambda facts, arrays: [facts],
    ],
)
def test_changed_facts_are_found(saved, change):
    altered(saved, change)
    with pytest.raises(padchol.PlanFileError):
        padchol.load(saved)


@pytest.mark.parametrize("name", ["flops", "engine", "levels"])
def test_changed_counts_are_found(saved, name):
    """Those are for people, and no fingerprint covers them: without them a report would fail."""
    with np.load(saved) as stored:
        arrays = {each: stored[each] for each in stored}
    facts = json.loads(str(arrays["padchol"]))
    del facts["facts"][name]
    arrays["padchol"] = np.array(json.dumps(facts))
    np.savez_compressed(saved, **arrays)
    with pytest.raises(padchol.PlanFileError, match="facts do not match their digest"):
        padchol.load(saved)


def test_threads_analyse_save_and_load(tmp_path):
    """Eight at once, four patterns: every one gets the plan that it would get alone."""
    inputs = [oracle.spd(oracle.shuffled(oracle.grid(9, 9), seed)) for seed in range(4)]
    alone = [padchol.analyze(A) for A in inputs]

    def work(k):
        plan = padchol.analyze(inputs[k % 4])
        plan.save(tmp_path / f"{k}.npz")
        return padchol.load(tmp_path / f"{k}.npz")

    with ThreadPoolExecutor(8) as pool:
        for k, plan in enumerate(pool.map(work, range(32))):
            is_same(alone[k % 4], plan)


# ---- the cache --------------------------------------------------------------------------------


def test_a_cache_finds_the_plan_again_and_makes_it_once(tmp_path, monkeypatch):
    A = oracle.spd(oracle.grid(5, 5))
    folder = tmp_path / "not" / "there yet"
    first = padchol.analyze(A, cache=folder)
    is_same(first, padchol.analyze(A))
    assert len(list(folder.iterdir())) == 1
    monkeypatch.setattr("padchol.analysis._analyze", lambda *_: pytest.fail("analysed again"))
    is_same(first, padchol.analyze(2 * A, cache=folder))


def test_a_cache_tells_patterns_and_options_apart(tmp_path):
    A, B = oracle.spd(oracle.grid(5, 5)), oracle.spd(oracle.path(25))
    perm = np.arange(25)[::-1]
    asked = [
        dict(),
        dict(order="rcm"),
        dict(order=perm),
        dict(costs=CostModel(per_tiled_front=0.0)),
    ]
    for options in asked:
        for matrix in (A, B):
            is_same(
                padchol.analyze(matrix, cache=tmp_path, **options),
                padchol.analyze(matrix, **options),
            )
    assert len(list(tmp_path.iterdir())) == 2 * len(asked)


def test_a_damaged_file_in_the_cache_is_named(tmp_path):
    A = oracle.spd(oracle.grid(5, 5))
    padchol.analyze(A, cache=tmp_path)
    (path,) = tmp_path.iterdir()
    path.write_bytes(path.read_bytes()[:-40])
    with pytest.raises(padchol.PlanFileError, match=path.name):
        padchol.analyze(A, cache=tmp_path)


def test_an_analysis_that_fails_leaves_nothing_in_the_cache(tmp_path):
    with pytest.raises(ValueError, match="permutation"):
        padchol.analyze(oracle.spd(oracle.path(3)), order=[0, 0, 1], cache=tmp_path)
    assert list(tmp_path.iterdir()) == []


def refused(path, match):
    """Loading says so at once and unpacks nothing."""
    tracemalloc.start()
    started = time.perf_counter()
    try:
        with pytest.raises(padchol.PlanFileError, match=match):
            padchol.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2e6
    finally:
        tracemalloc.stop()
    assert time.perf_counter() - started < 5


@pytest.mark.parametrize("name", ARRAYS)
def test_arrays_that_are_not_those_of_the_layout(saved, name):
    """Row D11: a small file that unpacks to a large array is refused before that."""
    altered(saved, lambda facts, arrays: arrays.update({name: np.zeros(3 * 10**7, np.int32)}))
    assert saved.stat().st_size < 1e6
    refused(
        saved, rf"expected {name} of shape \(\d+,\) and .* bytes; got int32 of shape \(30000000,\)"
    )


def test_a_layout_that_asks_for_as_much(saved):
    """Not even where the facts agree with it: plans do not pack so well."""

    def change(facts, arrays):
        last = facts["layout"]["tables"]["stages"][-1]
        last["local"] = [last["local"][0], 3 * 10**7 - last["local"][0]]
        arrays["table"] = np.zeros(3 * 10**7, np.int32)

    altered(saved, change)
    refused(saved, r"would unpack to 120,\d+,\d+, more than a plan can")


def test_a_large_header(saved):
    altered(saved, lambda facts, arrays: facts.update(more=" " * (1 << 20)))
    refused(saved, "its header")


def test_an_array_that_says_it_is_larger(saved):
    """The shape in the array's own header counts before anything of that size is allocated."""
    with zipfile.ZipFile(saved) as old:
        content = {name: old.read(name) for name in old.namelist()}
    shape = str(PLAN.table.shape).encode()
    larger = b"(%d,)" % 10 ** (len(shape) - 4)
    content["table.npy"] = content["table.npy"].replace(shape, larger.ljust(len(shape)), 1)
    with zipfile.ZipFile(saved, "w") as new:
        for name, data in content.items():
            new.writestr(name, data)
    refused(saved, "expected table of shape")


def test_an_array_of_another_version(saved):
    """Of numpy's format: padchol writes 1.0, and reads no headers of others."""
    with zipfile.ZipFile(saved) as old:
        content = {name: old.read(name) for name in old.namelist()}
    magic = content["perm.npy"][:6]
    content["perm.npy"] = magic + bytes([2, 0]) + content["perm.npy"][8:]
    with zipfile.ZipFile(saved, "w") as new:
        for name, data in content.items():
            new.writestr(name, data)
    refused(saved, r"perm is of \.npy version \(2, 0\)")


@pytest.mark.parametrize("kind", ["file", "full", "unreadable"])
def test_a_cache_that_cannot_be_used_costs_a_warning(kind, tmp_path, monkeypatch):
    """Row D11: the plan that was just made is returned."""
    A = oracle.spd(oracle.grid(4, 4))

    def no_space(plan, path):
        path.write_bytes(b"half of it")
        raise OSError(28, "No space left on device")

    def not_permitted(path):
        raise PermissionError(13, "Permission denied", str(path))

    folder = tmp_path / "cache"
    if kind == "file":
        folder.write_text("a file where a folder was expected")
    elif kind == "full":
        monkeypatch.setattr(storage, "save", no_space)
    else:
        padchol.analyze(A, cache=folder)
        monkeypatch.setattr(storage, "load", not_permitted)
        monkeypatch.setattr(storage, "_put", lambda plan, path: not_permitted(path))
    with pytest.warns(
        UserWarning, match="the plan was made, but .*cache does not hold it"
    ) as found:
        plan = padchol.analyze(A, cache=folder)
    is_same(plan, padchol.analyze(A))
    assert found[0].filename == __file__
    assert kind != "full" or not list(folder.iterdir())
