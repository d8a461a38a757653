"""Melt and quench the glasses of a run.

    python experiments/quench.py --out=runs/quickstart

Every setting of the stage is a flag.
"""

import options

if __name__ == "__main__":
    options.run(("melt", "quench"))
