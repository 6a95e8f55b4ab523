#!/bin/sh
# Before a package is removed, and not before it makes room for another version of it.
set -e

case ${1:-remove} in
remove | 0 | [0-9]*.*) ;; # deb, rpm; apk gives the version, and calls this for a removal alone
*) exit 0 ;;
esac

if [ -d /run/systemd/system ]; then
    systemctl disable --now sp.service sp-next.service || :
    systemctl stop 'sp-inlet@*.service' 'sp-outlet@*.service' 'sp-relay@*.service' \
        'sp-bridge@*.service' || :
fi
