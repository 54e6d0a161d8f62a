#!/bin/bash
# From real pictures to a bundle that can be trusted, and every way in which it refuses to be tampered with. Two to four
# minutes; what it makes is in a temporary folder and removed at the end.
#
#     make example                            on ../shared/data/planesnet.zip
#     examples/sealed_bundle.sh PLANESNET     after `make install .venv-keras/installed`
set -euo pipefail
root=$(realpath "$(dirname "$0")/..")
data=$(realpath "${1:-$root/../shared/data/planesnet.zip}")
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PATH="$root/.venv/bin:$PATH"
cd "$work"

step() { printf '\n== %s\n' "$*"; }
run() {
    printf '$ %s\n' "$*" | sed "s|$root/||g"
    "$@" 2>&1 | sed "s|$work/||g"
}
refused() { # runs a command that a gate must refuse
    status=0
    run "$@" || status=$?
    if [ "$status" -ne 3 ]; then
        echo "expected exit status 3, and got $status" >&2
        exit 1
    fi
    echo "(refused, exit status 3)"
}

step "Train. The bundle is written only if it answers as the trained model, from the picture files' bytes on"
run keensight train "$data" --recipe planes --set epochs=3 --out planes
bundle=planes/bundle
grep -A3 '"parity"' "$bundle/bundle.json"
unzip -q "$data" 'planesnet/[01]__20170[1-4]*' -d pictures
unzip -q "$data" 'planesnet/[01]__201705*' -d others
cp "$(find pictures -name '0__*' -print -quit)" nothing.png
cp "$(find pictures -name '1__*' -print -quit)" plane.png

step "Sign, and verify; OpenSSF's own client agrees"
run keensight sign "$bundle" --new-key key.pem
run keensight verify "$bundle" --key key.pem.pub
run model_signing verify key "$bundle" --signature "$bundle/signature.json" --public_key key.pem.pub
run keensight predict "$bundle" nothing.png plane.png --key key.pem.pub

step "Tamper: one byte of the weights, one file more, one label"
cp -r "$bundle" byte
printf X | dd of="byte/model.onnx" bs=1 seek=5000 conv=notrunc status=none
refused keensight verify byte --key key.pem.pub
refused keensight predict byte nothing.png plane.png --key key.pem.pub
cp -r "$bundle" more
touch "more/weights.pkl"
refused keensight verify more --key key.pem.pub
cp -r "$bundle" label
sed -i '0,/"0"/s//"plane"/' "label/bundle.json"
refused keensight verify label --key key.pem.pub
run keensight sign --new-key other.pem
refused keensight verify "$bundle" --key other.pem.pub

step "int8: refused where it costs accuracy or is slower here; --even-if-slower takes the latter"
run keensight export "$bundle" "$data" --to int8 --out int8 --even-if-slower
run keensight sign int8 --key key.pem
run keensight evaluate int8 "$data" --split val --key key.pem.pub

step "A model that Keras saved: imported without running anything in it, measured, signed"
KERAS_BACKEND=torch run "$root/.venv-keras/bin/python" "$root/examples/keras_planes.py" pictures/planesnet planes.h5
run keensight import-keras planes.h5 --labels 0,1 --out keras
run keensight sign keras --key key.pem
run keensight evaluate keras others/planesnet --label-pattern '{label}__*' --key key.pem.pub
run keensight predict keras nothing.png plane.png --key key.pem.pub
