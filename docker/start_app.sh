#!/bin/sh
# Start the MONAI Label app: the copy of the app is made anew from the image, what it learns and notes stays in $HOME.
#   STUDIES           a folder, or the address of a DICOMweb server; without it, phantom studies in $HOME/studies
#   ORTHANC_SECRET    a file with the password of the DICOMweb server's user `mimo`
#   HOST, PORT        where it listens, inside the container; who may come in from outside is said where the port is published
set -eu
export TMPDIR="$HOME/tmp" # not in memory
rm -rf "$TMPDIR"
mkdir -p "$TMPDIR" "$HOME/logs"
work=$(mktemp -d)
if [ -z "${STUDIES:-}" ]; then
    STUDIES=$HOME/studies
    [ -e "$STUDIES" ] || mimo app "$work/unused" --example-studies "$STUDIES" > /dev/null
fi
if [ -n "${ORTHANC_SECRET:-}" ]; then
    MONAI_LABEL_DICOMWEB_USERNAME=mimo
    MONAI_LABEL_DICOMWEB_PASSWORD=$(cat "$ORTHANC_SECRET")
    export MONAI_LABEL_DICOMWEB_USERNAME MONAI_LABEL_DICOMWEB_PASSWORD
fi
export MONAI_LABEL_DICOMWEB_CACHE_PATH="${MONAI_LABEL_DICOMWEB_CACHE_PATH:-$HOME/cache}"
mimo app "$work/app" > /dev/null
exec python -m monailabel.main start_server --app "$work/app" --studies "$STUDIES" \
    --host "${HOST:-0.0.0.0}" --port "${PORT:-8000}" \
    --conf versions "$HOME/model" --conf audit "$HOME/logs/audit.jsonl" "$@"
