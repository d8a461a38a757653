"""Independent items in threads, and the progress bar that they share."""

import threading
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from tqdm import tqdm


class Bar:
    """A progress bar with rate and time left, shared by the workers of a stage."""

    def __init__(self, label: str, total: float, unit: str):
        """Start a bar of a known length."""
        self._bar = tqdm(total=total, desc=f"{label:9s}", unit=unit, smoothing=0.05)

    def __enter__(self) -> "Bar":
        """Enter."""
        return self

    def __exit__(self, *_) -> None:
        """Close the bar."""
        self._bar.close()

    def add(self, amount: float = 1) -> None:
        """Advance."""
        self._bar.update(amount)

    def note(self, text: str) -> None:
        """Say a line without tearing the bar."""
        self._bar.write(text)


def each(function: Callable[[Any], None], items: Iterable[Any], workers: int) -> None:
    """Do independent items in threads; JAX lets go of the interpreter while it computes."""
    with ThreadPoolExecutor(max(1, workers)) as pool:
        futures = [pool.submit(function, item) for item in items]
        try:
            for future in futures:
                future.result()
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise


class Shared:
    """An iterator that several threads may draw from."""

    def __init__(self, items: Iterable[Any]):
        """Share the iterator of some items."""
        self._items = iter(items)
        self._lock = threading.Lock()

    def __iter__(self) -> "Shared":
        """Itself."""
        return self

    def __next__(self) -> Any:
        """The next item, for one thread alone."""
        with self._lock:
            return next(self._items)
