#!/bin/sh
# Builds the emulator and its tests, and runs them: run.sh [--sanitize] [--portable]. CXX chooses the compiler.
set -eu
cd "$(dirname "$0")/../.."
: "${CXX:=c++}"
runtime="-std=c++20 -O2 -g1 -Wall -Wextra -fno-strict-aliasing"
kernels="-std=c++20 -x c++ -I . -I emu/tests -O1 -g1 -Wall -Wextra -ffp-contract=off -fno-exceptions"
kernels="$kernels -fno-strict-aliasing -fno-math-errno -fno-optimize-sibling-calls"
if "$CXX" --version | grep -q clang; then
    kernels="$kernels -fno-vectorize -fno-slp-vectorize -Wno-pass-failed"
    hooks="-fsanitize=thread -mllvm -tsan-instrument-read-before-write=1 -mllvm -tsan-distinguish-volatile=1"
else
    kernels="$kernels -fno-tree-vectorize -Wno-unknown-pragmas"
    hooks="-fsanitize=thread --param tsan-distinguish-volatile=1"
fi
link=
for option; do
    case $option in
        --sanitize)
            hooks="-fsanitize=address,undefined -fno-sanitize-recover=all"
            runtime="$runtime $hooks -DRIR_EMU_TEST_SANITIZED"
            link=$hooks
            ;;
        --portable) runtime="$runtime -DRIR_EMU_PORTABLE_FIBERS" ;;
        *) echo "run.sh [--sanitize] [--portable]" >&2; exit 2 ;;
    esac
done

build=$(mktemp -d)
trap 'rm -rf "$build"' EXIT
{
    for source in emu/*.cpp emu/tests/*.cpp; do
        echo "$CXX $runtime -I . -c $source -o $build/$(basename "$source").o"
    done
    for source in emu/tests/*.cu; do
        family=$(basename "$source" .cu)
        echo "$CXX $kernels $hooks -DRIR_FAMILY=$family -c $source -o $build/$family.o"
    done
} | xargs -P 2 -I {} sh -c {}
"$CXX" $link -pthread "$build"/*.o -o "$build/tests"
"$build/tests"
