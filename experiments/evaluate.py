"""Judge the trained network of a run and write its report.

    python experiments/evaluate.py --out=runs/quickstart

Every setting of the stage is a flag.
"""

import options

if __name__ == "__main__":
    options.run(("evaluate",))
