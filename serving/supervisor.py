"""`python -m serving.supervisor`: keeps a serving process running; see `serving.process.supervisor`."""

import sys

from serving.process.supervisor import main

if __name__ == "__main__":
    sys.exit(main())
