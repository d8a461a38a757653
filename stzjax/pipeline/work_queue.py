"""Independent items, dealt out to threads, devices and processes, and the bar that they share."""

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
"""Time between looks at what other processes hold [s]."""


class Bar:
    """A progress bar with rate and time left, shared by the workers of a stage."""

    def __init__(self, label: str, total: float, unit: str):
        """Start a bar of a known length."""
        _LOG.info("%s: %.6g %ss to do", label, total, unit)
        # A log is no terminal, and keeps every state of the bar.
        every = 0.1 if sys.stderr.isatty() else 30.0
        self._bar = tqdm(
            total=total, desc=f"{label:9s}", unit=unit, smoothing=0.05, mininterval=every
        )

    def __enter__(self) -> "Bar":
        """Enter."""
        return self

    def __exit__(self, *_) -> None:
        """Close the bar."""
        self._bar.close()

    def add(self, amount: float = 1) -> None:
        """Advance."""
        self._bar.update(amount)

    def to(self, place: float) -> None:
        """Advance to a place."""
        self._bar.update(place - self._bar.n)


class Crew(NamedTuple):
    """Who works.

    Attributes:
      workers: threads, each at items of its own; dealt out to the devices that JAX sees here.
      lanes: items of one worker in one compiled loop.
    """

    workers: int = 1
    lanes: int = 1


class Queue:
    """Items that the threads of this process, and other processes, take one by one.

    An item is an idempotent piece of work: who finds it undone and free may do it. An iterator
    over the queue gives what is free now; `first` waits for what others hold, in case they die.
    """

    def __init__(
        self,
        claims: Claims,
        items: Iterable[Any],
        name: Callable[[Any], str],
        done: Callable[[Any], bool],
        skipped: Callable[[Any], None] = lambda item: None,
    ):
        """A queue of what is missing.

        Args:
          claims: of the folder.
          items: what was missing when this process looked.
          name: of an item, the same in all processes.
          done: whether it has been done since, by another process.
          skipped: called with every item that another process has done.
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
        """The next free item, claimed; waits for those of others. None when all is done."""
        while True:
            item = self._take()
            if item is not None:
                return item
            with self._mutex:
                left = len(self._open)
                if not left:
                    return None
                if not self._told:
                    _LOG.warning("waiting for %d items that another process works on", left)
                    self._told = True
            time.sleep(_POLL)

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
        """An item is done."""
        self._claims.release(self._name(item))

    def put_back(self, items: Iterable[Any]) -> None:
        """Items are free again, undone."""
        items = list(items)
        with self._mutex:
            self._open = items + self._open
        for item in items:
            self._claims.release(self._name(item))


def once(claims: Claims, name: str, done: Callable[[], bool], work: Callable[[], None]) -> None:
    """Do a piece of work unless it is done; if another process is at it, wait for that."""
    queue = Queue(claims, [name], str, lambda _: done())
    if queue.first() is not None:
        try:
            work()
        finally:
            queue.finish(name)


def work_off(
    queue: Queue, crew: Crew, together: Callable[[Iterator[Any], int], Iterator[Any]]
) -> None:
    """Let the workers of a crew empty a queue, each on a device.

    Where the memory of a device does not hold as many lanes, the worker takes half as many.

    Args:
      queue: of items.
      crew: who works.
      together: does the items of an iterator, so many at a time, and yields each that is done.

    Raises:
      ValueError: the memory does not hold a single item.
    """

    def work(_: Any) -> None:
        lanes = crew.lanes
        while (first := queue.first()) is not None:
            held = [first]

            def taking(first: Any = first, held: list = held) -> Iterator[Any]:
                yield first
                for item in queue:
                    held.append(item)
                    yield item

            try:
                for item in together(taking(), lanes):
                    held.remove(item)
                    queue.finish(item)
            except jax.errors.JaxRuntimeError as error:
                queue.put_back(held)
                lanes = fewer(error, lanes)
            except BaseException:
                queue.put_back(held)
                raise

    each(work, range(crew.workers), crew.workers)


def fewer(error: jax.errors.JaxRuntimeError, lanes: int) -> int:
    """Half the lanes, if the error says that the memory of the device is full.

    Raises:
      ValueError: a single lane is too much.
      JaxRuntimeError: it is another error.
    """
    if "RESOURCE_EXHAUSTED" not in str(error) and "Out of memory" not in str(error):
        raise error
    if lanes <= 1:
        raise ValueError(
            "the memory of the device does not hold one item: use fewer atoms, a smaller network, "
            "fewer --workers, or a device with more memory"
        ) from error
    _LOG.warning("out of memory with %d at a time: going on with %d", lanes, lanes // 2)
    return lanes // 2


def each(function: Callable[[Any], None], items: Iterable[Any], workers: int) -> None:
    """Do independent items in threads; JAX lets go of the interpreter while it computes.

    The threads are dealt out to the devices that JAX sees in this process.
    """
    devices, number = jax.local_devices(), itertools.count()
    place = threading.local()

    def on_device(item: Any) -> None:
        if not hasattr(place, "device"):
            place.device = devices[next(number) % len(devices)]
        with jax.default_device(place.device):
            function(item)

    with ThreadPoolExecutor(max(1, workers)) as pool:
        futures = [pool.submit(on_device, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


def chunks(items: Iterator[Any], size: int) -> Iterator[Sequence[Any]]:
    """Consecutive items, so many at a time."""
    while some := list(itertools.islice(items, size)):
        yield some
