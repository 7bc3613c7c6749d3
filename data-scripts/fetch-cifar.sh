#!/usr/bin/env bash
# Fetches CIFAR-10 and CIFAR-100 from their author's page, verifies and unpacks them. Works with the bash of macOS.
set -euo pipefail

base=${RIR_CIFAR_URL:-https://www.cs.toronto.edu/~kriz}

usage() {
    cat <<END
Usage: fetch-cifar.sh [10|100|all] [DIR] [--python]

Fetches CIFAR-10 (the default), CIFAR-100 or both into DIR (default ./data), verifies the
checksum and unpacks. About 165 MB to download and 185 MB unpacked, each; the archive is kept.
A broken download is resumed by running the script again.

  --python    the Python version instead of the binary one (rir reads both; no Python is needed)
  --help      this text

Without a network: fetch the archive elsewhere from
  $base/cifar-10-binary.tar.gz   (or cifar-100-binary.tar.gz)
put it into DIR and run the script again: it then verifies and unpacks it.

Environment: RIR_CIFAR_URL, another address that holds the same archives.
END
}

fail() {
    echo "fetch-cifar.sh: $*" >&2
    exit 1
}

wrong_usage() {
    echo "fetch-cifar.sh: $* (see fetch-cifar.sh --help)" >&2
    exit 2
}

md5_of() {
    if command -v md5sum >/dev/null; then
        md5sum <"$1" | cut -d ' ' -f 1
    elif command -v md5 >/dev/null; then
        md5 -q "$1"
    elif command -v openssl >/dev/null; then
        openssl md5 <"$1" | sed 's/.*= *//'
    else
        fail "found none of md5sum, md5 and openssl, one of which is needed to verify the download"
    fi
}

curl_options=(--fail --location --progress-bar --retry 3 --connect-timeout 20)

# download URL FILE: continues FILE where it ends.
download() {
    if command -v curl >/dev/null; then
        local status=0 code
        code=$(curl "${curl_options[@]}" --continue-at - --write-out '%{http_code}' --output "$2" "$1") || status=$?
        # The server cannot continue a file (33), or there is nothing left to continue (416): from the start.
        if [ -s "$2" ] && { [ $status = 33 ] || [ "$code" = 416 ]; }; then
            rm -f "$2"
            status=0
            curl "${curl_options[@]}" --output "$2" "$1" || status=$?
        fi
        return $status
    elif command -v wget >/dev/null; then
        wget --continue --tries=3 --timeout=20 --output-document="$2" "$1"
    else
        echo "fetch-cifar.sh: found neither curl nor wget" >&2
        return 1
    fi
}

# fetch NAME FOLDER MD5
fetch() {
    local archive=$dir/$1.tar.gz folder=$dir/$2 expected=$3 url=$base/$1.tar.gz got
    if [ ! -e "$archive" ] && [ -d "$folder" ]; then
        echo "$folder is there already; to fetch it anew, remove it first"
        return
    fi
    if [ ! -e "$archive" ]; then
        if [ ! -s "$archive.part" ] || [ "$(md5_of "$archive.part")" != "$expected" ]; then
            echo "fetching $url"
            download "$url" "$archive.part" || fail "could not fetch $url
What has arrived is kept; run the script again to continue. Without a network here: fetch that file
elsewhere (a browser will do), put it at
  $archive
and run the script again: it then verifies and unpacks it."
        fi
        got=$(md5_of "$archive.part")
        if [ "$got" != "$expected" ]; then
            rm -f "$archive.part"
            fail "the download of $url has MD5 $got instead of $expected and was removed; run the script again"
        fi
        mv "$archive.part" "$archive"
    else
        got=$(md5_of "$archive")
        [ "$got" = "$expected" ] ||
            fail "$archive has MD5 $got instead of $expected: it is damaged or incomplete; remove it and run the script again"
    fi
    # Unpacked beside its place and moved there, so that an interruption leaves no half of a set.
    unpacking=$dir/.$2.$$
    mkdir "$unpacking"
    tar -xzf "$archive" -C "$unpacking" || fail "could not unpack $archive (is the disk full?)"
    [ -d "$unpacking/$2" ] || fail "$archive does not hold $2"
    rm -rf "$folder"
    mv "$unpacking/$2" "$folder"
    rmdir "$unpacking"
    echo "verified and unpacked: $folder"
}

python=
positional=()
for argument in "$@"; do
    case $argument in
    --help | -h)
        usage
        exit
        ;;
    --python) python=yes ;;
    -*) wrong_usage "unknown option '$argument'" ;;
    *) positional+=("$argument") ;;
    esac
done
[ ${#positional[@]} -le 2 ] || wrong_usage "too many arguments"
which=${positional[0]:-10}
dir=${positional[1]:-data}
case $which in
10 | 100 | all) ;;
*) wrong_usage "unknown set '$which'; give 10, 100 or all" ;;
esac

mkdir -p "$dir" || fail "cannot make the folder $dir"
[ -w "$dir" ] || fail "cannot write to $dir"
unpacking=
trap '[ -z "$unpacking" ] || rm -rf "$unpacking"' EXIT
trap 'exit 130' INT TERM

if [ "$which" != 100 ]; then
    if [ "$python" ]; then
        fetch cifar-10-python cifar-10-batches-py c58f30108f718f92721af3b95e74349a
    else
        fetch cifar-10-binary cifar-10-batches-bin c32a1d4ab5d03f1284b67883e8d87530
    fi
fi
if [ "$which" != 10 ]; then
    if [ "$python" ]; then
        fetch cifar-100-python cifar-100-python eb9058c3a382ffc7106e4002c42a8d85
    else
        fetch cifar-100-binary cifar-100-binary 03b5dce01913d631647c71ecec9e9cb8
    fi
fi
