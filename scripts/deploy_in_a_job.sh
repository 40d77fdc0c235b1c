#!/usr/bin/env bash
# A command of deploy_model.py in a job of CI, which ends sooner than a canary may.
#
#   scripts/deploy_in_a_job.sh deploy MODEL_ID production --reason "model-v12"
#   scripts/deploy_in_a_job.sh resume production
#
# After JOB_SECONDS (3000) the command is interrupted. A rollout that is not decided by then, or for which too few requests came,
# is no failure: its place is in the state, and the next `resume` goes on. The job's output `decided`, and the file
# that DECIDED_FILE names, say which it was.
set -uo pipefail
cd "$(dirname "$0")/.."
code=0
timeout --signal=INT "${JOB_SECONDS:-3000}" .venv/bin/python scripts/deploy_model.py "$@" || code=$?
decided=true
if [ "$code" = 23 ] || [ "$code" = 124 ]; then
  decided=false
  echo "the rollout is not decided; the next resume goes on with it" >&2
  code=0
fi
for file in "${GITHUB_OUTPUT:-}" "${DECIDED_FILE:-}"; do
  [ -z "$file" ] || echo "decided=$decided" >> "$file"
done
exit "$code"
