#!/bin/sh
# After a package has been removed. The keys in /var/lib/sp and what is in /etc/sp are left.
set -e

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload || :
fi
