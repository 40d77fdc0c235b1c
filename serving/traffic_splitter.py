"""`python -m serving.traffic_splitter`, the command; see `serving.process.traffic_splitter`."""

import sys

from serving.process.traffic_splitter import main

if __name__ == "__main__":
    sys.exit(main())
