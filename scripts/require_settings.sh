#!/usr/bin/env bash
# Fails where a variable or secret of a job is empty: one that nobody has defined arrives so, and most have a default that is
# this runner's own, which ends with the job.
#
#   scripts/require_settings.sh MODEL_REGISTRY_URL PULUMI_BACKEND_URL
set -uo pipefail
code=0
for name in "$@"; do
  if [ -z "${!name:-}" ]; then
    echo "error: $name is empty; define it for this job's environment (the head of the workflow's file lists them all)" >&2
    code=2
  fi
done
exit "$code"
