"""Independent items, shared out to threads, devices and processes, and their progress bar."""

import functools
import itertools
import logging
import sys
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any, NamedTuple

import jax
from tqdm import tqdm

from stzjax.run_folder.claims import Claims

_LOG = logging.getLogger(__name__)

_POLL = 1.0
"""Time between two looks at the items that other processes hold [s]."""

Work = Callable[[Iterator[Any], int], Iterator[Any]]
"""Works on the items of an iterator, a given number at a time, and yields each item when done."""


class Bar(tqdm):
    """A progress bar with rate and time left, shared by the workers of a stage."""

    def __init__(self, label: str, total: float, unit: str):
        """Start a bar of a known length."""
        _LOG.info("%s: %.6g %ss to do", label, total, unit)
        # A log file keeps every state of the bar.
        every = 0.1 if sys.stderr.isatty() else 30.0
        super().__init__(
            total=total, desc=f"{label:9s}", unit=unit, smoothing=0.05, mininterval=every
        )

    def to(self, place: float) -> None:
        """Advance to a place."""
        self.update(place - self.n)


class Workers(NamedTuple):
    """The workers of this process.

    Attributes:
      threads: number of threads; each works on items of its own, on one of the devices of JAX.
      lanes: items of one thread in one compiled loop.
    """

    threads: int = 1
    lanes: int = 1


class Queue:
    """Items that the threads of this process, and other processes, take one by one.

    An item is an idempotent piece of work: a process that finds it undone and free may do it. An
    iterator over the queue gives the items that are free now; `first` waits for items that other
    processes hold, because those processes may die.
    """

    def __init__(
        self,
        claims: Claims,
        items: Iterable[Any],
        name: Callable[[Any], str],
        done: Callable[[Any], bool],
        skipped: Callable[[Any], None],
    ):
        """A queue of items that were missing when this process looked; see `make_missing`.

        `done` says whether another process has done an item since; then `skipped` is called.
        """
        self._claims, self._name, self._done, self._skipped = claims, name, done, skipped
        self._open = list(items)
        self._mutex = threading.Lock()
        self._told = False

    def __iter__(self) -> Iterator[Any]:
        """Items that are free now, each of them claimed."""
        while (item := self._take()) is not None:
            yield item

    def first(self) -> Any | None:
        """The next free item, claimed; waits for items of other processes. None at the end."""
        while (item := self._take()) is None:
            with self._mutex:
                left = len(self._open)
                if not left:
                    return None
                if not self._told:
                    _LOG.warning("waiting for %d items that another process works on", left)
                    self._told = True
            time.sleep(_POLL)
        return item

    def _take(self) -> Any | None:
        with self._mutex:
            for item in list(self._open):
                if not self._claims.take(self._name(item)):
                    continue
                self._open.remove(item)
                if not self._done(item):
                    return item
                self._claims.release(self._name(item))
                self._skipped(item)
        return None

    def finish(self, item: Any) -> None:
        """Release an item that is done."""
        self._claims.release(self._name(item))

    def put_back(self, items: Iterable[Any]) -> None:
        """Make undone items free again."""
        items = list(items)
        with self._mutex:
            self._open = items + self._open
        for item in items:
            self.finish(item)


def once(claims: Claims, name: str, done: Callable[[], bool], work: Callable[[], None]) -> None:
    """Do a piece of work unless it is done; if another process is at it, wait for that."""
    if done():
        return
    queue = Queue(claims, [name], str, lambda _: done(), lambda _: None)
    if queue.first() is not None:
        try:
            work()
        finally:
            queue.finish(name)


def make_missing(
    claims: Claims,
    label: str,
    unit: str,
    items: Iterable[Any],
    missing: Callable[[Any], bool],
    work: Callable[[Bar, Iterator[Any], int], Iterator[Any]],
    workers: Workers,
    size: Callable[[Any], float] = lambda _: 1,
) -> None:
    """Make the missing ones among independent items while a bar counts them.

    Args:
      claims: claims of the folder, by which several processes share the items.
      label: label of the bar.
      unit: unit of the bar.
      items: all items, as text the same in all processes.
      missing: function that says whether an item has still to be made.
      work: see `Work`, with the bar in front, which it advances.
      workers: threads and lanes.
      size: units of the bar that an item takes.
    """
    left = {item: size(item) for item in items if missing(item)}
    if not left:
        return
    with Bar(label, sum(left.values()), unit) as bar:
        queue = Queue(
            claims,
            left,
            lambda item: f"{label} {item}",
            lambda item: not missing(item),
            lambda item: bar.update(left[item]),
        )
        work_off(queue, workers, functools.partial(work, bar))


def work_off(queue: Queue, workers: Workers, work: Work) -> None:
    """Let the workers empty a queue, each thread on a device.

    Where the memory of a device does not hold as many lanes, the thread goes on with half of them;
    ValueError if it does not hold a single item.
    """

    def empty(_: Any) -> None:
        lanes = workers.lanes
        while (first := queue.first()) is not None:
            held = [first]

            def taking(first: Any = first, held: list = held) -> Iterator[Any]:
                yield first
                for item in queue:
                    held.append(item)
                    yield item

            try:
                for item in work(taking(), lanes):
                    held.remove(item)
                    queue.finish(item)
            except BaseException as error:
                queue.put_back(held)
                lanes = fewer(error, lanes)

    each(empty, range(workers.threads), workers.threads)


def fewer(error: BaseException, lanes: int) -> int:
    """Half the lanes, if the error says that the memory of the device is full; else raises."""
    full = "RESOURCE_EXHAUSTED" in str(error) or "Out of memory" in str(error)
    if not (full and isinstance(error, jax.errors.JaxRuntimeError)):
        raise error
    if lanes <= 1:
        raise ValueError(
            "the memory of the device does not hold one item: use fewer atoms, a smaller network, "
            "fewer --workers, or a device with more memory"
        ) from error
    _LOG.warning("out of memory with %d at a time: going on with %d", lanes, lanes // 2)
    return lanes // 2


def each(function: Callable[[Any], None], items: Iterable[Any], threads: int) -> None:
    """Do independent items in threads; JAX releases the interpreter while it computes.

    The threads are shared out to the devices that JAX sees in this process.
    """
    devices, number = jax.local_devices(), itertools.count()
    place = threading.local()

    def bind() -> None:
        place.device = devices[next(number) % len(devices)]

    def on_device(item: Any) -> None:
        with jax.default_device(place.device):
            function(item)

    with ThreadPoolExecutor(max(1, threads), initializer=bind) as pool:
        list(pool.map(on_device, items))  # An error stops the items that have not begun.


def chunks(items: Iterator[Any], size: int) -> Iterator[Sequence[Any]]:
    """Consecutive items, in groups of at most `size`."""
    while group := list(itertools.islice(items, size)):
        yield group
