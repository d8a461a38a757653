"""The whole path in one command: melt, quench, shear, label, describe, learn, judge.

    python experiments/reproduce.py --out=runs/quickstart

Every setting is a flag.
"""

import options

if __name__ == "__main__":
    options.run()
