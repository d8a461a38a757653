"""Calls of the scripts as a user makes them, but with JAX imported once for all.

Importing takes seconds of each call. A process that has done so forks for every call; it has not
asked JAX for a device yet, so that nothing of a call is left for the next. Calls by the whole
command line are in `tests/faults`, and in the run that tests share.
"""

import functools
import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

EXPERIMENTS = Path(__file__).parent.parent / "experiments"

_SERVER = """
import json, os, runpy, signal, sys, traceback
import stzjax.pipeline.runner, stzjax.pipeline.studies, stzjax.pipeline.differentiate
import stzjax.report, absl.app

def call(line, said, wrong):
    for number, path in ((1, said), (2, wrong)):
        os.dup2(os.open(path, os.O_WRONLY), number)
    signal.alarm(600)  # It has hung.
    sys.argv = line
    sys.path.insert(0, os.path.dirname(line[0]))
    try:
        runpy.run_path(line[0], run_name="__main__")
        return 0
    except SystemExit as stopped:
        if isinstance(stopped.code, str):
            print(stopped.code, file=sys.stderr)
        return stopped.code if isinstance(stopped.code, int) else int(stopped.code is not None)
    except BaseException:
        traceback.print_exc()
        return 1

for request in sys.stdin:
    child = os.fork()
    if not child:
        code = call(**json.loads(request))
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)
    print(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@functools.cache
def _server() -> subprocess.Popen:
    """The process that forks; it ends with that of the tests, which closes its input."""
    return subprocess.Popen(
        [sys.executable, "-W", "ignore", "-c", _SERVER],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        # XLA is told to keep quiet when it is imported, which is before a script could tell it.
        env={**os.environ, "JAX_PLATFORMS": "cpu", "TF_CPP_MIN_LOG_LEVEL": "3"},
    )


def run(name: str, *arguments: str) -> subprocess.CompletedProcess:
    """Call the script of a name and wait for its end."""
    line = [str(EXPERIMENTS / f"{name}.py"), *arguments]
    server = _server()
    with tempfile.NamedTemporaryFile("r") as said, tempfile.NamedTemporaryFile("r") as wrong:
        request = {"line": line, "said": said.name, "wrong": wrong.name}
        print(json.dumps(request), file=server.stdin, flush=True)
        code = int(server.stdout.readline())
        return subprocess.CompletedProcess(line, code, said.read(), wrong.read())
