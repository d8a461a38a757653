"""Log of a script: warnings between the progress bars, all of it in `--log_dir`."""

import logging
import os
import shlex
import socket
import sys
from pathlib import Path

from absl import flags
from tqdm import tqdm


def keep() -> None:
    """Warnings on the terminal, between progress bars; all that is said in `--log_dir` too."""
    log = logging.getLogger("stzjax")
    log.setLevel(logging.INFO)
    log.propagate = False
    handlers: list[logging.Handler] = [_Terminal(logging.WARNING)]
    if flags.FLAGS.log_dir:
        folder = Path(flags.FLAGS.log_dir)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            name = f"{Path(sys.argv[0]).stem}.{socket.gethostname()}.{os.getpid()}.log"
            handlers.append(logging.FileHandler(folder / name, encoding="utf-8"))
        except OSError as error:
            raise ValueError(f"cannot write to --log_dir={folder}: {error.strerror}") from error
    for handler in handlers:
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s"))
        log.addHandler(handler)
    log.info("%s", shlex.join(sys.argv))


class _Terminal(logging.Handler):
    """Lines on standard error that do not tear the progress bars."""

    def emit(self, record: logging.LogRecord) -> None:
        tqdm.write(self.format(record), file=sys.stderr)
