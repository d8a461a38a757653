"""Melt and quench the glasses of a run.

    python experiments/quench.py --out=runs/quickstart

Every setting is a flag; see --help.
"""

import options

if __name__ == "__main__":
    options.run(("melt", "quench"))
