"""Train the graph attention network of a run.

    python experiments/train.py --out=runs/quickstart

Every setting of the stage is a flag.
"""

import options

if __name__ == "__main__":
    options.run(("train",))
