"""Writes `pulumi` into the virtual environment: runs the engine with this checkout's state and passphrase."""

import shlex
from pathlib import Path

from toolchain.engine import WRAPPER_MARK, Engine
from toolchain.tools import provider_directories

_TEMPLATE = """\
#!/bin/sh
# {mark}: written by `python -m toolchain`; runs the engine on this checkout's state.
# A setting of your own (PULUMI_BACKEND_URL, PULUMI_CONFIG_PASSPHRASE…) is left as it is.
checkout={checkout}
programs={programs}
if [ -z "${{PULUMI_BACKEND_URL:-}}" ]; then
  mkdir -p "$checkout/.state"
  export PULUMI_BACKEND_URL="file://$checkout/.state"
fi
if [ -z "${{PULUMI_CONFIG_PASSPHRASE+set}}${{PULUMI_CONFIG_PASSPHRASE_FILE:-}}" ]; then
  export PULUMI_CONFIG_PASSPHRASE_FILE="$checkout/.secrets/passphrase"
  words=""
  for each in "$@"; do case "$each" in -*) ;; *) words="$words $each" ;; esac; done
  case "$words " in
    " version "* | " plugin "* | " stack ls "*) ;;  # they open no secret
    *) [ -s "$PULUMI_CONFIG_PASSPHRASE_FILE" ] || "$programs/python" -m stacks.engine.development_secrets "$checkout" \\
      || exit 1 ;;
  esac
fi
# A clone whose stack file names no secrets provider takes the one that the state names.
export PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER="${{PULUMI_FALLBACK_TO_STATE_SECRETS_MANAGER:-true}}"
export PULUMI_SKIP_UPDATE_CHECK="${{PULUMI_SKIP_UPDATE_CHECK:-true}}"
export FRAUD_DETECTION_PYTHON="$programs/python"
export PATH="{engine_directory}:{provider_directories}:$programs:$PATH"
exec "{engine_directory}/pulumi" "$@"
"""


def write_wrapper(engine: Engine, programs: Path, checkout: Path) -> Path:
    """Writes the wrapper and returns its path; leaves an equal wrapper untouched.

    Args:
        engine: the engine to run.
        programs: the virtual environment's directory of programs.
        checkout: the project's root.
    """
    wrapper = programs / "pulumi"
    text = _TEMPLATE.format(
        mark=WRAPPER_MARK,
        checkout=shlex.quote(str(checkout)),
        programs=shlex.quote(str(programs)),
        engine_directory=engine.program.parent,
        provider_directories=":".join(str(directory) for directory in provider_directories()),
    )
    if not wrapper.exists() or wrapper.read_text() != text:
        staging = wrapper.with_name(".pulumi.new")
        staging.write_text(text)
        staging.chmod(0o755)
        staging.replace(wrapper)
    return wrapper
