"""Shear the glasses of a run in the six directions until their first event.

    python experiments/shear.py --out=runs/quickstart

Every setting is a flag; see --help.
"""

import options

if __name__ == "__main__":
    options.run(("shear",))
