"""`python -m serving.front`: the traffic splitter under the name that run directories of earlier releases ask for."""

import sys

from serving.process.traffic_splitter import main

if __name__ == "__main__":
    sys.exit(main())
