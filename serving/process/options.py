"""Command-line options that the service and the traffic splitter share."""

import argparse


def add_process_options(parser: argparse.ArgumentParser) -> None:
    """Adds the options that the supervisor starts a process with."""
    parser.add_argument("--listen-fd", type=int, help="serve from this inherited, listening socket")
    parser.add_argument("--ready-fd", type=int, help="write a JSON line here when ready, or when it fails")
    parser.add_argument("--watch-stdin", action="store_true", help="stop when standard input ends")
