"""Claims: one holder at a time, among threads and processes, and none after a kill."""

import signal
import subprocess
import sys
import threading
import time

import pytest

from stzjax.pipeline import work_queue
from stzjax.pipeline.work_queue import Queue, Workers
from stzjax.run_folder import claims

HOLDER = """
import sys, time
from pathlib import Path
from stzjax.run_folder.claims import Claims
held = Claims(Path(sys.argv[1]))
held.join()
print([held.take(name) for name in sys.argv[2:]], flush=True)
time.sleep(60)
"""


def holder(folder, *names):
    """Another process that holds some items until it is killed."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(folder), *names], stdout=subprocess.PIPE, text=True
    )
    return process, process.stdout.readline()


@pytest.fixture
def mine(tmp_path):
    return claims.of(tmp_path)


def test_one_holder_at_a_time(mine, tmp_path):
    other, said = holder(tmp_path, "a", "b")
    try:
        assert said == "[True, True]\n"
        assert not mine.take("a") and not mine.alone()
        assert mine.take("c") and not mine.take("c")
        second, said = holder(tmp_path, "a", "c", "d")
        assert said == "[False, False, True]\n"
    finally:
        for process in (other, second):
            process.send_signal(signal.SIGKILL)
            process.wait()
    assert mine.take("a") and mine.take("d") and mine.alone()
    mine.release("c")
    assert mine.take("c")


def test_the_claims_of_a_folder_are_opened_once(mine, tmp_path):
    """A second file closed would free all that the first one holds."""
    assert claims.of(tmp_path) is mine
    assert claims.of(tmp_path / "." / "") is mine


class Work:
    """Items that are done once they are in a list."""

    def __init__(self, count):
        """None done yet."""
        self.items, self.made, self.skipped = list(range(count)), [], []

    def queue(self, held):
        """A queue of all of them."""
        return Queue(held, self.items, str, lambda item: item in self.made, self.skipped.append)


def test_threads_do_each_item_once(mine):
    work, seen = Work(40), []

    def together(items, lanes):
        for item in items:
            seen.append((item, threading.get_ident()))
            time.sleep(0.002)
            work.made.append(item)
            yield item

    work_queue.work_off(work.queue(mine), Workers(4), together)
    assert sorted(item for item, _ in seen) == work.items
    assert len({thread for _, thread in seen}) > 1


def test_items_of_a_process_that_dies_are_done_by_another(mine, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr(work_queue, "_POLL", 0.05)
    work = Work(4)
    other, _ = holder(tmp_path, "1", "2")
    timer = threading.Timer(1.0, other.send_signal, [signal.SIGKILL])
    timer.start()
    began = time.monotonic()

    def together(items, lanes):
        for item in items:
            work.made.append(item)
            yield item

    work_queue.work_off(work.queue(mine), Workers(1), together)
    assert time.monotonic() - began > 0.9
    assert work.made == [0, 3, 1, 2] and not work.skipped
    assert "waiting for 2 items that another process works on" in caplog.text
    other.wait()


def test_what_others_have_done_is_skipped(mine):
    work = Work(3)
    work.made.append(1)
    queue = work.queue(mine)
    assert list(queue) == [0, 2] and work.skipped == [1]
    assert queue.first() is None


def test_an_error_frees_what_was_held(mine):
    work = Work(3)
    queue = work.queue(mine)

    def together(items, lanes):
        yield next(items)
        next(items)
        raise ValueError("no")

    with pytest.raises(ValueError, match="no"):
        work_queue.work_off(queue, Workers(1), together)
    assert mine.take("1") and mine.take("0")


def test_out_of_memory_halves_the_lanes_and_goes_on(mine, caplog):
    from jax.errors import JaxRuntimeError

    work, tried = Work(9), []

    def together(items, lanes):
        for some in work_queue.chunks(items, lanes):
            tried.append(len(some))
            if len(some) > 2:
                raise JaxRuntimeError("RESOURCE_EXHAUSTED: Out of memory allocating 9 bytes")
            work.made += some
            yield from some

    work_queue.work_off(work.queue(mine), Workers(1, 8), together)
    assert tried[:3] == [8, 4, 2] and sorted(work.made) == work.items
    assert caplog.text.count("out of memory with") == 2


@pytest.mark.parametrize(
    ("said", "raised"),
    [("RESOURCE_EXHAUSTED: no", "does not hold one item"), ("INTERNAL: no", "INTERNAL")],
)
def test_other_errors_and_a_single_lane_are_not_tried_again(mine, said, raised):
    from jax.errors import JaxRuntimeError

    def together(items, lanes):
        next(items)
        raise JaxRuntimeError(said)
        yield

    with pytest.raises((ValueError, JaxRuntimeError), match=raised):
        work_queue.work_off(Work(1).queue(mine), Workers(1, 1), together)


def test_once_waits_for_another_and_takes_its_result(mine, tmp_path, monkeypatch):
    monkeypatch.setattr(work_queue, "_POLL", 0.05)
    other, _ = holder(tmp_path, "melt")
    done = []

    def die():
        done.append("by the other")
        other.send_signal(signal.SIGKILL)

    threading.Timer(0.5, die).start()
    work_queue.once(mine, "melt", lambda: bool(done), lambda: done.append("by us"))
    assert done == ["by the other"]
    other.wait()
