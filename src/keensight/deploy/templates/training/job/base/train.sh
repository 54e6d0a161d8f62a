#!/bin/sh
# What the RayJob runs beside the cluster's head: it begins the run or, after a restart, goes on with it.
set -e
if [ -e "/runs/$name/recipe.toml" ]; then
    set -- --resume
else
    set -- --recipe /recipe/recipe.toml
fi
exec keensight train $data --out "/runs/$name" "$$@" \
    --workers $workers --cluster 127.0.0.1:6379 --checkpoint-every 10m
