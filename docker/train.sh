#!/bin/sh
# Trains the bundle NAME and puts it whole into the volume of bundles: /bundles/NAME.
#
#   llmemb-train [OPTION OF `llmemb train` ...]
#
# CONFIG names the configuration, a preset or a TOML file, BUNDLE the bundle. Stopped, it goes on where it was when it is called again. A bundle
# that is there is never changed, since a service may have it loaded: another one needs another name.
set -eu
config=${CONFIG:-demo}
name=${BUNDLE:-demo}
run=/runs/$name
target=/bundles/$name

python -m llmemb train "$config" --run "$run" "$@"
if [ -e "$target" ]; then
    if cmp -s "$run/bundle/manifest.json" "$target/manifest.json"; then
        echo "bundle $name is there already"
        exit 0
    fi
    echo "bundle $name is there already and is another one; give this one a name of its own: BUNDLE=NAME" >&2
    exit 3
fi
rm -rf "/bundles/.$name"
cp -r "$run/bundle" "/bundles/.$name"
sync
mv "/bundles/.$name" "$target"
echo "bundle $name is ready"
