"""Judge the trained network of a run and write its report.

    python experiments/evaluate.py --out=runs/quickstart

Every setting is a flag; see --help.
"""

import options

if __name__ == "__main__":
    options.run(("evaluate",))
