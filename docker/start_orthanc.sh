#!/bin/sh
# Start Orthanc. Its password is drawn at the first start and kept in a volume, which the app reads.
set -eu
secret=${ORTHANC_SECRET:-/secrets/orthanc}
if [ ! -s "$secret" ]; then
    (umask 077 && od -An -N24 -tx1 /dev/urandom | tr -d ' \n' > "$secret.new" && mv "$secret.new" "$secret")
fi
ORTHANC_PASSWORD=$(cat "$secret")
export ORTHANC_PASSWORD ORTHANC_DATA="${ORTHANC_DATA:-/data}"
exec Orthanc "${ORTHANC_CONFIG:-/etc/mimo/orthanc.json}"
