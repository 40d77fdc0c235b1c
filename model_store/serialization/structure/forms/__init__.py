"""Forms: how a pickle may call a global, make an object of it and fill it. Each rule names one.

A form checks arguments and states before it uses them, and uses them only through the library's own constructor. An
inspection makes numbers; for everything else it makes a `Made`.
"""
