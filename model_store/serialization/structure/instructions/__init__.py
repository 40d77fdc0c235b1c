"""The instructions of a pickle by family: what each does with the machine, after the rules allow it."""
