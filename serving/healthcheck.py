"""`python -m serving.healthcheck`: 0 when the service on this machine is ready; see `serving.process.healthcheck`."""

import sys

from serving.process.healthcheck import main

if __name__ == "__main__":
    sys.exit(main())
