"""A serving process that never gets ready."""

import time

if __name__ == "__main__":
    time.sleep(600)
