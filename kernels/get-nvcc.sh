#!/usr/bin/env bash
# Puts NVIDIA's compiler into target/cuda, from its wheels on PyPI, for machines without a CUDA installation. No card
# and no driver is needed to compile. Run it again at any time; it ends at once where all is there.
#
#     kernels/get-nvcc.sh          # into target/cuda (or $CARGO_TARGET_DIR/cuda)
#     kernels/get-nvcc.sh FOLDER   # elsewhere; then build with NVCC=FOLDER/bin/nvcc
#
# Needs Python 3 with pip or venv, and about 600 MB. NVIDIA's licence for the CUDA toolkit applies to what it fetches.
set -euo pipefail

fail() { printf 'get-nvcc: %s\n' "$1" >&2; exit 1; }

case "${1-}" in
    -h | --help) sed -n '2,/^set /{/^set /d;s/^# \{0,1\}//p}' "$0"; exit 0 ;;
    -*) fail "unknown option $1: give a folder, or nothing" ;;
esac
[ $# -le 1 ] || fail "give one folder, or nothing"
# As the caller means it, before this changes folders.
folder=${1:+$(realpath -m -- "$1")}
cd "$(dirname "$0")/.."

cuda=13.0.88
wheels=(
    "nvidia-cuda-nvcc==$cuda" "nvidia-cuda-crt==$cuda" "nvidia-nvvm==$cuda"
    "nvidia-cuda-runtime==13.0.*" "nvidia-cuda-cccl==13.0.*"
    # To look at what it made.
    "nvidia-cuda-cuobjdump==13.2.*" "nvidia-cuda-nvdisasm==13.2.*"
)
folder=${folder:-${CARGO_TARGET_DIR:-target}/cuda}

size() { du -sm "$folder" | cut -f1; }

if [ "$(cat "$folder/installed" 2>/dev/null)" = "$cuda" ] && "$folder/bin/nvcc" --version >/dev/null 2>&1; then
    echo "nvcc $cuda is in $folder already ($(size) MB)"
    exit 0
fi

if [ -e "$folder" ] && [ ! -e "$folder/installed" ] && [ -n "$(ls -A -- "$folder" 2>/dev/null || echo file)" ]; then
    fail "$folder exists and is not of this script: give a new or an empty folder"
fi
case "$(uname -s) $(uname -m)" in
    "Linux x86_64" | "Linux aarch64") ;;
    *) fail "NVIDIA publishes nvcc for Linux on x86_64 and aarch64 alone, not for $(uname -s) on $(uname -m); without it rir works on the CPU" ;;
esac
command -v python3 >/dev/null || fail "python3 was not found: install Python 3, or install the CUDA toolkit and set NVCC"

parent=$(dirname -- "$folder")
mkdir -p -- "$parent" 2>/dev/null && work=$(mktemp -d -p "$parent" 2>/dev/null) ||
    fail "cannot write to $parent: give another folder"
trap 'rm -rf "$work"' EXIT
if python3 -m pip --version >/dev/null 2>&1; then
    pip=(python3 -m pip)
elif python3 -m venv "$work/venv" >/dev/null 2>&1; then
    pip=("$work/venv/bin/python" -m pip)
else
    fail "Python has neither pip nor venv: install one (Debian, Ubuntu: apt install python3-venv), or install the CUDA toolkit and set NVCC"
fi

echo "fetching nvcc $cuda"
"${pip[@]}" install --quiet --disable-pip-version-check --no-deps --no-compile --root-user-action=ignore --only-binary=:all: \
    --target "$work/wheels" "${wheels[@]}" ||
    fail "pip could not fetch NVIDIA's wheels: see its message above; is PyPI reachable from here (a proxy is set by HTTPS_PROXY)?"

# The wheels share one tree: bin, include, nvvm and lib beside each other, as nvcc expects them.
tree=$work/wheels/nvidia/cu13
[ -f "$tree/bin/nvcc" ] || fail "the wheels hold no nvidia/cu13/bin/nvcc: their layout has changed; install the CUDA toolkit and set NVCC"
chmod -R u+w "$tree"
chmod +x "$tree"/bin/* "$tree"/nvvm/bin/*
"$tree/bin/nvcc" --version >/dev/null || fail "nvcc was fetched but does not start: see its message above"

rm -rf -- "$folder"
mv -- "$tree" "$folder"
# Last: the build looks at this file to see that there is something new.
echo "$cuda" >"$folder/installed"
echo "nvcc $cuda is in $folder ($(size) MB); the next cargo build compiles the kernels with it"
