"""A serving process that never gets ready; it ends with its supervisor, as every serving process does."""

import sys

if __name__ == "__main__":
    sys.stdin.buffer.read()
