#!/usr/bin/env bash
# Backs up every database under NOMIC_DIR (default ~/.aragora) to its folder `backups` as <db>_<YYYYmmdd_HHMMSS>.db,
# verified, and removes what is older than 7 days. One line for each, "Backed up: users"; exit 1 if one failed.
set -euo pipefail

# A checkout uses its own environment, so that cron needs no PATH; elsewhere the installed command does the work.
own="$(dirname "$(readlink -f "${BASH_SOURCE[0]}")")/../.venv/bin/aragora-persist"
if [[ -x $own ]]; then
  exec "$own" backup "$@"
fi
exec aragora-persist backup "$@"
