"""`python -m serving.front`: one address for two model versions on one machine; see `serving.process.front`."""

import sys

from serving.process.front import main

if __name__ == "__main__":
    sys.exit(main())
