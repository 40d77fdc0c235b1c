"""`python -m serving.front`: the traffic splitter by the name that it had before; run directories of then still ask for it."""

import sys

from serving.process.traffic_splitter import main

if __name__ == "__main__":
    sys.exit(main())
