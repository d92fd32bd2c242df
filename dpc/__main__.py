"""`python -m dpc STAGE …`: what every rule calls; see `cli.py`, and `cluster/warm.py` for many small jobs."""

import os
import sys

from dpc.pipeline.cluster import warm

if __name__ == "__main__":
    server = os.environ.get(warm.VARIABLE)
    status = warm.run_there(server, sys.argv[1:]) if server else None
    if status is None:
        from dpc.pipeline.cli import main

        status = main(sys.argv[1:])
    sys.exit(status)
