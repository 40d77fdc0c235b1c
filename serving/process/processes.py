"""How many processes serve: as many as the CPU limit allows, unless a setting names the number."""

import os

from serving.observability.resources import cpu_limit, memory_limit
from serving.settings import ServingSettings


def process_count(settings: ServingSettings) -> int:
    """How many processes should serve.

    The setting's number; else the whole cores of the CPU limit, and of the CPUs that this process may use. One where
    nothing limits the CPU.
    """
    if settings.processes:
        return settings.processes
    limits = [each for each in (cpu_limit(), settings.cpu_limit) if each is not None]
    return max(1, int(min(*limits, len(os.sched_getaffinity(0))))) if limits else 1


def group_memory_limit(settings: ServingSettings) -> int | None:
    """Bytes that all processes together may use; None without a limit, or where the setting names their number."""
    if settings.processes:
        return None
    limits = [each for each in (memory_limit(), settings.memory_limit) if each]
    return min(limits, default=None)
