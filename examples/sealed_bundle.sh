#!/bin/sh
# From real pictures to a bundle that can be trusted, and every way in which it refuses to be tampered with.
#
#     make example                            on ../shared/data/planesnet.zip
#     examples/sealed_bundle.sh PLANESNET     after `make install .venv-keras/installed`
set -eu
cd "$(dirname "$0")/.."
data=${1:-../shared/data/planesnet.zip}
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
PATH="$PWD/.venv/bin:$PATH"

step() { printf '\n== %s\n' "$*"; }
run() {
    printf '$ %s\n' "$*" | sed "s|$work/||g"
    "$@"
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
run keensight train "$data" --recipe planes --set epochs=3 --out "$work/planes"
bundle=$work/planes/bundle
unzip -q "$data" 'planesnet/[01]__201608*' -d "$work/pictures"
pictures=$(find "$work/pictures" -name '*.png' | sort | sed -n '1p;$p')

step "Sign, and verify; OpenSSF's own client agrees"
run keensight sign "$bundle" --new-key "$work/key.pem"
run keensight verify "$bundle" --key "$work/key.pem.pub"
run model_signing verify key "$bundle" --signature "$bundle/signature.json" --public_key "$work/key.pem.pub"
# shellcheck disable=SC2086  # two names without spaces
run keensight predict "$bundle" $pictures --key "$work/key.pem.pub"

step "Tamper: one byte of the weights, one file more, one label"
cp -r "$bundle" "$work/byte"
printf X | dd of="$work/byte/model.onnx" bs=1 seek=5000 conv=notrunc status=none
refused keensight verify "$work/byte" --key "$work/key.pem.pub"
# shellcheck disable=SC2086
refused keensight predict "$work/byte" $pictures --key "$work/key.pem.pub"
cp -r "$bundle" "$work/more"
touch "$work/more/weights.pkl"
refused keensight verify "$work/more" --key "$work/key.pem.pub"
cp -r "$bundle" "$work/label"
sed -i '0,/"0"/s//"plane"/' "$work/label/bundle.json"
refused keensight verify "$work/label" --key "$work/key.pem.pub"
run keensight sign --new-key "$work/other.pem"
refused keensight verify "$bundle" --key "$work/other.pem.pub"

step "int8: refused where it costs accuracy or is slower here; so say that slower is welcome"
run keensight export "$bundle" "$data" --to int8 --out "$work/int8" --even-if-slower
run keensight sign "$work/int8" --key "$work/key.pem"
run keensight evaluate "$work/int8" "$data" --split val --key "$work/key.pem.pub"

step "A model that Keras saved: imported without running anything in it, measured, signed"
KERAS_BACKEND=torch run .venv-keras/bin/python examples/keras_planes.py "$work/pictures/planesnet" "$work/planes.h5"
run keensight import-keras "$work/planes.h5" --labels 0,1 --out "$work/keras"
run keensight sign "$work/keras" --key "$work/key.pem"
run keensight evaluate "$work/keras" "$work/pictures/planesnet" --label-pattern '{label}__*' --key "$work/key.pem.pub"
# shellcheck disable=SC2086
run keensight predict "$work/keras" $pictures --key "$work/key.pem.pub"
