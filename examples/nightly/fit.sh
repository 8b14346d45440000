#!/bin/sh
# A night's clustering: fit.sh [YYYY-MM-DD], today's in UTC without. A night that is done stays.
set -eu
day=${1:-$(date -u +%F)}
table=${TABLE:-/data/customers}
answers=${ANSWERS:-/data/clusters}
[ -e "$answers/$day/_SUCCESS" ] && exit 0
exec "${KMEANS_TF:-kmeans-tf}" fit \
    --date "$day" \
    --input "$table/day={date}" \
    --output "$answers/{date}" \
    --init "$answers/{yesterday}" \
    --k 8 --keys customer --scale standard \
    --gate 'cost_increase<=0.10' --gate 'moved_share<=0.2' --gate 'bad_rows<=0.01' \
    --deadline 2h \
    --log_format json
