"""The whole path in one command: melt, quench, shear, label, describe, learn, judge.

    python experiments/reproduce.py --out=runs/quickstart

Every setting is a flag; see --help.
"""

from stzjax.pipeline import runner

import options

if __name__ == "__main__":
    options.run(runner.ORDER)
