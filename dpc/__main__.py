"""`python -m dpc STAGE …`: what every rule calls; see `dpc/cli.py`, and `dpc/warm.py` for many small jobs."""

import os
import sys

from dpc import warm

if __name__ == "__main__":
    if server := os.environ.get(warm.VARIABLE):
        sys.exit(warm.run_there(server, sys.argv[1:]))
    from dpc.cli import main

    sys.exit(main(sys.argv[1:]))
