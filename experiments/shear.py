"""Shear the glasses of a run in the six directions until their first event.

    python experiments/shear.py --out=runs/quickstart

Every setting of the stage is a flag.
"""

import options

if __name__ == "__main__":
    options.run(("shear",))
