"""Tests of data sets in their official layouts, of broken files, and of the order of training.

One file, since most tests write the same small data sets.
"""

import itertools
import os
import pathlib
import pickle
import shutil
import signal
import struct
import subprocess
import sys

import jax
import numpy as np
import pytest
from PIL import Image

from lindyn.command import UsageError
from lindyn.train.data import folders, image_sets


CLASSES = "airplane automobile bird cat deer dog frog horse ship truck".split()
CIFAR_FILES = {**{f"data_batch_{i}": 1 + i % 2 for i in range(1, 6)}, "test_batch": 3}
STL_FILES = {"train": 3, "unlabeled": 4, "test": 2}


def picture(i, side):
    """An image of which no two rows, columns or channels are alike."""
    row, column, channel = np.ogrid[:side, :side, :3]
    return ((7 * row + 13 * column + 101 * channel + 31 * i) % 256).astype(np.uint8)


def pictures(first, n, side):
    return np.stack([picture(first + i, side) for i in range(n)])


def written(image, columns_first=False):
    """The bytes of an image in the order that the web pages of the data sets describe."""
    size = range(len(image))
    if columns_first:
        return bytes(int(image[r, c, k]) for k in range(3) for c in size for r in size)
    return bytes(int(image[r, c, k]) for k in range(3) for r in size for c in size)


def python2_pickle(rows, labels):
    """The pickle of {'data': array, 'labels': list} by Python 2, as in the official files."""
    array = b"".join(
        [
            b"cnumpy.core.multiarray\n_reconstruct\n(cnumpy\nndarray\nK\x00\x85U\x01btR",
            b"(K\x01(J" + struct.pack("<i", len(rows)) + b"M\x00\x0ct",
            b"cnumpy\ndtype\nU\x02u1K\x00K\x01\x87R",
            b"(K\x03U\x01|NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb",
            b"\x89T" + struct.pack("<i", rows.nbytes) + rows.tobytes() + b"tb",
        ]
    )
    numbers = b"".join(b"K" + bytes([label]) for label in labels)
    return b"\x80\x02}(U\x04data" + array + b"U\x06labels](" + numbers + b"eu."


def write_cifar(folder, layout):
    """Writes CIFAR-10 in a layout: bin, python2, or a protocol number of Python 3's pickle."""
    folder.mkdir(parents=True)
    first = 0
    for name, n in CIFAR_FILES.items():
        labels = [(first + i) % 10 for i in range(n)]
        stored = [written(picture(first + i, 32)) for i in range(n)]
        first += n
        if layout == "bin":
            pairs = zip(labels, stored, strict=True)
            content = b"".join(bytes([label]) + image for label, image in pairs)
            (folder / f"{name}.bin").write_bytes(content)
            continue
        rows = np.frombuffer(b"".join(stored), np.uint8).reshape(n, 3072)
        if layout == "python2":
            content = python2_pickle(rows, labels)
        else:
            content = pickle.dumps({b"data": rows, b"labels": labels}, layout)
        (folder / name).write_bytes(content)
    if layout == "bin":
        (folder / "batches.meta.txt").write_text("\n".join(CLASSES) + "\n\n")
    else:
        names = {b"label_names": [name.encode() for name in CLASSES]}
        protocol = 2 if layout == "python2" else layout
        (folder / "batches.meta").write_bytes(pickle.dumps(names, protocol))
    return folder


def write_stl(folder):
    folder.mkdir(parents=True)
    first = 0
    for name, n in STL_FILES.items():
        stored = [written(picture(first + i, 96), columns_first=True) for i in range(n)]
        (folder / f"{name}_X.bin").write_bytes(b"".join(stored))
        if name != "unlabeled":
            (folder / f"{name}_y.bin").write_bytes(bytes([10, 1, 2][:n]))
        first += n
    (folder / "class_names.txt").write_text("\n".join(CLASSES))
    return folder


@pytest.fixture(scope="module")
def stl_files(tmp_path_factory):
    return write_stl(tmp_path_factory.mktemp("stl") / "stl10_binary")


@pytest.fixture
def stl(stl_files, tmp_path):
    return pathlib.Path(shutil.copytree(stl_files, tmp_path / "stl10_binary"))


@pytest.fixture
def cifar(tmp_path):
    return write_cifar(tmp_path / "cifar-10-batches-bin", "bin")


@pytest.fixture
def pickles(tmp_path):
    return write_cifar(tmp_path / "cifar-10-batches-py", "python2")


@pytest.mark.parametrize("layout", ("bin", "python2", 2, 4, 5))
def test_every_layout_of_cifar10_gives_the_images_that_were_stored(tmp_path, layout):
    where = "cifar-10-batches-bin" if layout == "bin" else "cifar-10-batches-py"
    batches = write_cifar(tmp_path / where, layout)
    images = image_sets.load("cifar10", tmp_path)
    assert images.train.shape == (8, 32, 32, 3) and images.pretrain is images.train
    assert np.array_equal(images.train, pictures(0, 8, 32))
    assert np.array_equal(images.test, pictures(8, 3, 32))
    assert images.train_labels.tolist() == list(range(8))
    assert images.test_labels.tolist() == [8, 9, 0]
    assert images.classes == tuple(CLASSES)
    itself = image_sets.cifar10(batches)
    assert np.array_equal(itself.train, images.train) and itself.checksum == images.checksum
    renamed = image_sets.cifar10(batches.rename(tmp_path / "renamed"))
    assert np.array_equal(renamed.test, images.test)


def test_stl10_gives_the_images_that_were_stored(stl):
    images = image_sets.load("stl10", stl.parent)
    assert np.array_equal(images.pretrain, pictures(0, 7, 96))
    assert np.array_equal(images.train, pictures(0, 3, 96))
    assert np.shares_memory(images.train, images.pretrain)
    assert np.array_equal(images.test, pictures(7, 2, 96))
    assert images.train_labels.tolist() == [9, 0, 1] and images.test_labels.tolist() == [9, 0]
    assert image_sets.stl10(stl).checksum == images.checksum


def test_the_checksum_is_that_of_the_content(cifar):
    before = image_sets.cifar10(cifar).checksum
    content = bytearray((cifar / "test_batch.bin").read_bytes())
    content[5] ^= 1
    (cifar / "test_batch.bin").write_bytes(content)
    assert image_sets.cifar10(cifar).checksum != before and len(before) == 16


def test_digits():
    images = image_sets.load("digits")
    assert images.train.shape == (1437, 8, 8, 3) and images.test.shape == (360, 8, 8, 3)
    assert images.train.max() == 255 and images.train.min() == 0
    assert (images.train == images.train[..., :1]).all()
    assert images.train[0, :, :, 0].tolist()[0] == [0, 0, 80, 207, 143, 16, 0, 0]
    assert images.train_labels[:4].tolist() == [0, 1, 2, 3]
    assert (np.bincount(images.test_labels) > 30).all() and images.classes[9] == "9"
    assert images.checksum == image_sets.digits().checksum


def test_the_real_cifar10():
    folder = os.environ.get("LINDYN_CIFAR10")
    if folder is None:
        pytest.skip("LINDYN_CIFAR10 names no folder that holds cifar-10-batches-bin")
    images = image_sets.load("cifar10", pathlib.Path(folder))
    assert images.train.shape[1:] == images.test.shape[1:] == (32, 32, 3)
    assert set(images.train_labels) == set(images.test_labels) == set(range(10))
    assert images.classes == tuple(CLASSES)
    pixels = images.train / 255
    assert np.allclose(pixels.mean((0, 1, 2)), (0.4914, 0.4822, 0.4465), rtol=0, atol=0.01)
    assert np.allclose(pixels.std((0, 1, 2)), (0.2470, 0.2435, 0.2616), rtol=0, atol=0.01)


def refused(call, *arguments):
    with pytest.raises(UsageError) as caught:
        call(*arguments)
    assert "\n" not in str(caught.value)
    return str(caught.value)


def test_what_is_not_there_is_named_with_what_is_looked_for(tmp_path):
    assert "data mnist: must be one of cifar10, stl10, digits" in refused(
        image_sets.load, "mnist"
    )
    assert "needs the folder that holds STL-10" in refused(image_sets.load, "stl10")
    said = refused(image_sets.load, "cifar10", tmp_path / "nowhere")
    assert f"{tmp_path}/nowhere: no such folder; it should hold CIFAR-10" in said
    assert "cifar-10-batches-bin" in said and "cifar-10-batches-py" in said
    assert f"{tmp_path}: does not hold STL-10" in refused(image_sets.stl10, tmp_path)
    assert "stl10_binary (train_X.bin" in refused(image_sets.stl10, tmp_path)


@pytest.mark.parametrize("name", ("cifar10", "stl10"))
def test_an_archive_is_to_be_unpacked(tmp_path, name):
    packed = {"cifar10": "cifar-10-binary.tar.gz", "stl10": "stl10_binary.tar.gz"}[name]
    (tmp_path / packed).write_bytes(b"\x1f\x8b")
    for folder in (tmp_path, tmp_path / packed):
        said = refused(image_sets.load, name, folder)
        assert f"{packed}: is still packed; unpack it (tar -xf {packed})" in said


@pytest.mark.parametrize("file", ("data_batch_3.bin", "test_batch.bin", "batches.meta.txt"))
def test_a_file_of_cifar10_is_missing_empty_or_unreadable(cifar, file):
    (cifar / file).write_bytes(b"")
    assert f"{cifar / file}: is empty" in refused(image_sets.cifar10, cifar)
    (cifar / file).unlink()
    assert f"{cifar / file}: no such file" in refused(image_sets.cifar10, cifar)
    (cifar / file).mkdir()
    said = refused(image_sets.cifar10, cifar)
    assert f"{cifar / file}: cannot be read (Is a directory)" in said


def test_cifar10_truncated_with_a_wrong_label_or_without_its_names(cifar):
    path = cifar / "data_batch_2.bin"
    whole = path.read_bytes()
    path.write_bytes(whole[:-1])
    said = refused(image_sets.cifar10, cifar)
    assert f"{path}: truncated: its 3072 bytes are not a whole number of records" in said
    path.write_bytes(b"\x0a" + whole[1:])
    assert f"{path}: label 10: must be 0 to 9" in refused(image_sets.cifar10, cifar)
    path.write_bytes(whole)
    (cifar / "batches.meta.txt").write_text("cat\ndog\n")
    assert "batches.meta.txt: must name 10 classes, and names 2" in refused(
        image_sets.cifar10, cifar
    )


def test_stl10_truncated_with_wrong_labels_or_too_few(stl):
    path = stl / "train_y.bin"
    path.write_bytes(bytes([0, 1, 2]))
    assert f"{path}: label 0: must be 1 to 10" in refused(image_sets.stl10, stl)
    path.write_bytes(bytes([1, 2, 11]))
    assert f"{path}: label 11: must be 1 to 10" in refused(image_sets.stl10, stl)
    path.write_bytes(bytes([1, 2]))
    assert f"{path}: 2 labels for 3 images" in refused(image_sets.stl10, stl)
    cut = stl / "unlabeled_X.bin"
    cut.write_bytes(cut.read_bytes()[:30000])
    assert f"{cut}: truncated: its 30000 bytes" in refused(image_sets.stl10, stl)
    cut.unlink()
    assert f"{cut}: no such file" in refused(image_sets.stl10, stl)


def test_a_broken_pickle_is_named(pickles):
    path = pickles / "data_batch_4"
    whole = path.read_bytes()
    rows = np.zeros((2, 3072), np.uint8)
    broken = {
        "truncated, or no pickle": [whole[:-9], b"no pickle", pickle.dumps([1, 2])],
        "must hold 'data', 3072 bytes an image, and 'labels'": [
            pickle.dumps({b"data": rows}),
            pickle.dumps({b"data": rows, b"labels": ["a", "b"]}),
            pickle.dumps({b"data": rows[:, :7], b"labels": [1, 2]}),
            pickle.dumps({b"data": rows.astype(np.float32), b"labels": [1, 2]}),
            pickle.dumps({b"data": np.asfortranarray(rows), b"labels": [1, 2]}),
        ],
        "1 labels for 2 images": [pickle.dumps({b"data": rows, b"labels": [1]})],
        "label -1: must be 0 to 9": [pickle.dumps({b"data": rows, b"labels": [0, -1]})],
    }
    for said, contents in broken.items():
        for content in contents:
            path.write_bytes(content)
            assert f"{path}: {said}" in refused(image_sets.cifar10, pickles)
    path.write_bytes(whole)
    (pickles / "batches.meta").write_bytes(pickle.dumps({b"label_names": b"cat"}))
    assert "batches.meta: must name 10 classes" in refused(image_sets.cifar10, pickles)


class Trap:
    def __init__(self, call, *arguments):
        self.made = call, arguments

    def __reduce__(self):
        return self.made


def test_a_malicious_pickle_is_refused_and_runs_nothing(pickles, tmp_path):
    path, mark = pickles / "data_batch_1", tmp_path / "ran"
    calls = {
        f"{os.system.__module__}.system": Trap(os.system, f"touch {mark}"),
        "builtins.eval": Trap(eval, f"open({str(mark)!r}, 'w')"),
        "subprocess.Popen": Trap(subprocess.Popen, ["touch", str(mark)]),
        "numpy.memmap": Trap(np.memmap, str(mark), np.uint8, "w+", 0, (1,)),
    }
    for name, trap in calls.items():
        for protocol in (3, 5):
            path.write_bytes(pickle.dumps({b"data": trap, b"labels": [0]}, protocol))
            said = refused(image_sets.cifar10, pickles)
            assert f"{path}: refused, as loading it would call {name.split('.')[0]}" in said
    assert not mark.exists()
    # NumPy would take these bytes for the address of an object.
    addresses = Trap(np.ndarray, (1,), np.dtype(object), b"\x01" * 8)
    path.write_bytes(pickle.dumps({b"data": addresses, b"labels": [0]}))
    assert f"{path}: must hold 'data'" in refused(image_sets.cifar10, pickles)


def test_an_order_is_a_permutation_of_its_seed_and_epoch():
    first, second = (
        np.asarray(image_sets.order(1000, seed=3, epoch=epoch)) for epoch in (0, 1)
    )
    other = np.asarray(image_sets.order(1000, seed=4, epoch=0))
    assert all(np.array_equal(np.sort(x), np.arange(1000)) for x in (first, second, other))
    assert (first != np.arange(1000)).mean() > 0.9
    assert (first != second).mean() > 0.9 and (first != other).mean() > 0.9


def test_an_order_is_the_same_anywhere():
    expected = [3, 7, 0, 4, 8, 5, 2, 1, 9, 6]  # do not change: resumed runs rely on it
    assert image_sets.order(10, seed=3, epoch=2).tolist() == expected
    image_sets.order.cache_clear()
    with jax.enable_x64(True):
        assert image_sets.order(10, seed=3, epoch=2).tolist() == expected
    image_sets.order.cache_clear()
    inside = jax.jit(lambda x: x + image_sets.order(10, seed=3, epoch=2))(np.int32(0))
    assert inside.tolist() == image_sets.order(10, seed=3, epoch=2).tolist() == expected


def test_an_epoch_sees_each_image_once():
    n, batch = 50, 7
    assert image_sets.steps_per_epoch(n, batch) == 7
    for epoch in range(2):
        steps = range(7 * epoch, 7 * epoch + 7)
        seen = [
            np.asarray(image_sets.batch_indices(n, batch, seed=1, step=step)) for step in steps
        ]
        expected = image_sets.order(n, seed=1, epoch=epoch)[: 7 * batch]
        assert np.array_equal(np.concatenate(seen), expected)
    whole = image_sets.batch_indices(n, n, seed=1, step=3)
    assert np.array_equal(np.sort(whole), np.arange(n))
    for batch in (0, 51):
        said = f"batch {batch}: must be at least 1 and at most the set's 50 images"
        assert said in refused(image_sets.steps_per_epoch, n, batch)


@pytest.fixture
def tree(tmp_path):
    """A folder with two classes of 7 and 4 training images, of many shapes and file formats."""
    for split, counts in {"train": (7, 4), "val": (2, 1)}.items():
        for name, n in zip(("n01", "n02"), counts, strict=True):
            (tmp_path / split / name).mkdir(parents=True)
            for i in range(n):
                image = Image.fromarray(pictures(10 * n + i, 1, 20 + 3 * i)[0, :20])
                kind, suffix = (("RGB", "JPEG"), ("L", "png"), ("CMYK", "jpg"))[i % 3]
                image.convert(kind).save(tmp_path / split / name / f"{i}.{suffix}")
            (tmp_path / split / name / "notes.txt").write_text("no image")
    return tmp_path


def steps(split, n, **options):
    options = {"batch": 4, "size": 16, "seed": 5, **options}
    return list(itertools.islice(folders.batches(split, **options), n))


def test_a_folder_lists_its_images_by_class(tree):
    found = folders.folder(tree)
    assert found.classes == ("n01", "n02") and len(found.train.files) == 11
    assert found.train.files[:2] == ("n01/0.JPEG", "n01/1.png")
    assert found.train.labels.tolist() == [0] * 7 + [1] * 4
    assert found.val.labels.tolist() == [0, 0, 1]
    before = found.checksum
    shutil.rmtree(tree / "val" / "n02")
    assert folders.folder(tree).checksum != before


def test_batches_are_the_images_of_batch_indices(tree):
    train = folders.folder(tree).train
    for step, batch in enumerate(steps(train, 5)):
        names = [train.files[i] for i in image_sets.batch_indices(11, 4, seed=5, step=step)]
        expected = [folders.decode(train.root / name, 16) for name in names]
        assert np.array_equal(batch, np.stack(expected))


def test_a_resumed_stream_and_the_parts_of_two_processes_are_the_same_stream(tree):
    train = folders.folder(tree).train
    whole = steps(train, 7)
    assert np.array_equal(steps(train, 4, start=3), whole[3:])
    parts = [steps(train, 7, index=index, count=2) for index in (0, 1)]
    assert np.array_equal(np.concatenate(parts, axis=1), whole)
    assert not np.array_equal(steps(train, 1, seed=6), whole[:1])


def test_workers_change_nothing_and_a_corrupt_image_is_named(tree):
    train = folders.folder(tree).train
    whole = steps(train, 2)
    # Epoch 0 leaves out this image.
    last = train.root / train.files[image_sets.order(11, seed=5, epoch=0)[8]]
    last.write_bytes(last.read_bytes()[:-40])
    found = folders.batches(train, batch=4, size=16, seed=5, workers=2)
    try:
        for expected in whole:
            assert np.array_equal(next(found), expected)
        with pytest.raises(UsageError, match=f"{last}: cannot be decoded"):
            list(itertools.islice(found, 20))
    finally:
        found.close()
    with pytest.raises(UsageError, match=f"{last}: cannot be decoded"):
        steps(train, 22)
    last.write_text("no image at all")
    with pytest.raises(UsageError, match=f"{last}: is no image"):
        folders.decode(last, 16)


def test_workers_end_with_a_killed_run(tree):
    program = (
        "import os, pathlib, signal; from lindyn.train.data import folders;"
        f"train = folders.folder(pathlib.Path({str(tree)!r})).train;"
        "next(folders.batches(train, batch=4, size=16, seed=0, workers=1));"
        "os.kill(os.getpid(), signal.SIGKILL)"
    )
    # `run` returns when no process is left that holds the output
    ended = subprocess.run([sys.executable, "-c", program], capture_output=True, timeout=30)
    assert ended.returncode == -signal.SIGKILL, ended.stderr


def test_a_split_in_order_with_its_labels(tree):
    val = folders.folder(tree).val
    found = list(folders.labelled(val, batch=2, size=16))
    assert [labels.tolist() for _, labels in found] == [[0, 0], [1]]
    expected = [folders.decode(val.root / name, 16) for name in val.files]
    assert np.array_equal(np.concatenate([images for images, _ in found]), expected)


@pytest.mark.parametrize("shape", ((48, 32), (32, 48), (32, 32)))
def test_decoding_keeps_the_middle_square(tmp_path, shape):
    """Decoding cuts off both ends of the long side, and scales the rest by one half."""
    rows, columns = shape
    pixels = np.zeros((rows, columns, 3), np.uint8)
    top, left = (rows - 32) // 2, (columns - 32) // 2
    pixels[top : top + 32, left : left + 32] = (200, 100, 50)
    pixels[top : top + 16, left : left + 16] = (0, 0, 250)
    Image.fromarray(pixels).save(tmp_path / "x.png")
    small = folders.decode(tmp_path / "x.png", 16).astype(int)
    assert small.shape == (16, 16, 3)
    assert np.allclose(small[2:7, 2:7], (0, 0, 250), rtol=0, atol=1)
    assert np.allclose(small[9:14, 2:14], (200, 100, 50), rtol=0, atol=1)
    assert np.allclose(small[2:7, 9:14], (200, 100, 50), rtol=0, atol=1)
    assert np.abs(small[0, 0] - (0, 0, 250)).max() < 40


def test_folders_that_do_not_hold_what_they_should(tree, tmp_path):
    said = refused(folders.folder, tmp_path / "nowhere")
    assert "no such folder; it should hold train/CLASS/*.JPEG and val/CLASS/*.JPEG" in said
    train = folders.folder(tree).train
    with pytest.raises(UsageError, match="batch 12: must be at least 1 and at most"):
        folders.batches(train, batch=12, size=16, seed=0)
    with pytest.raises(UsageError, match="batch 5: must be a multiple of the 2 processes"):
        folders.batches(train, batch=5, size=16, seed=0, count=2)
    (tree / "val" / "n03").mkdir()
    assert f"val/n03: is no class of {tree}/train" in refused(folders.folder, tree)
    (tree / "train" / "n03").mkdir()
    assert f"{tree}/train/n03: holds no image" in refused(folders.folder, tree)
    shutil.rmtree(tree / "val")
    assert f"{tree}: has no val; it should hold" in refused(folders.folder, tree)
    (tree / "val").mkdir()
    assert f"{tree}/val: has no folder of a class" in refused(folders.folder, tree)


def test_importing_them_brings_in_no_loader():
    program = (
        "import sys; from lindyn.train.data import folders, image_sets;"
        "assert not {'grain', 'PIL', 'sklearn', 'equinox'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
