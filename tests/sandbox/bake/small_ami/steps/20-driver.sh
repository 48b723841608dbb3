#!/usr/bin/env bash
echo "a driver for a GPU" >&2
exit 13
