"""Train the graph attention network of a run.

    python experiments/train.py --out=runs/quickstart

Every setting is a flag; see --help.
"""

import options

if __name__ == "__main__":
    options.run(("train",))
