"""`python -m serving.front`: the traffic splitter under its former name, which run directories of then ask for."""

import sys

from serving.process.traffic_splitter import main

if __name__ == "__main__":
    sys.exit(main())
