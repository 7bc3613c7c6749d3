#!/usr/bin/env bash
# Everything that needs an NVIDIA card: tests, sanitizers, kernels and steps beside the peers, training. --help tells all.
set -euo pipefail
here=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
if ! python3 -c 'import sys; sys.exit(sys.version_info < (3, 9))' 2>/dev/null; then
    echo "gpu-suite.sh: python3 is missing or older than 3.9" >&2
    exit 2
fi
exec python3 "$here/suite/suite.py" "$@"
