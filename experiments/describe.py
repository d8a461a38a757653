"""Compute the features of the glasses of a run.

    python experiments/describe.py --out=runs/quickstart

Every setting of the stage is a flag.
"""

import options

if __name__ == "__main__":
    options.run(("describe",))
