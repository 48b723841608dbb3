#!/bin/sh
# Power off an instance that nobody armed: gputx's user-data arms every one in its first second, so this is one whose
# user-data never ran, or that was launched by hand and forgotten. Who is logged in keeps it; so does the file below.
[ -e /run/gputx/keep ] && exit 0
for kept in /var/lib/gputx/deadline-*; do
    [ -e "$kept" ] && exit 0
done
[ -z "$(who 2>/dev/null)" ] || exit 0
echo "no deadline was set on this instance and nobody is logged in: powering off (touch /run/gputx/keep prevents it)"
systemctl poweroff
