#!/bin/sh
# After a package has been installed, or another version of it: the user of the services, their
# folders, and the running ones anew. deb, rpm and apk call it in their own ways, and it does the
# same for all.
set -e

if command -v systemd-sysusers >/dev/null 2>&1; then
    systemd-sysusers /usr/lib/sysusers.d/sp.conf
elif id sp >/dev/null 2>&1; then
    :
elif command -v useradd >/dev/null 2>&1; then
    # A container of Debian's or Fedora's, say.
    useradd --system --user-group --home-dir /var/lib/sp --no-create-home \
        --shell /usr/sbin/nologin --comment 'sp secure portal' sp
else
    # Alpine and its like.
    addgroup -S sp
    adduser -S -D -H -h /var/lib/sp -s /sbin/nologin -G sp -g 'sp secure portal' sp
fi

if command -v systemd-tmpfiles >/dev/null 2>&1; then
    systemd-tmpfiles --create /usr/lib/tmpfiles.d/sp.conf
else
    mkdir -p /etc/sp /var/lib/sp
    chmod 0700 /var/lib/sp
    chown sp:sp /var/lib/sp
fi

if [ -d /run/systemd/system ]; then
    systemctl daemon-reload
    # What listens at sockets of systemd's refuses nobody meanwhile.
    systemctl try-restart sp.service 'sp-inlet@*.service' 'sp-outlet@*.service' \
        'sp-relay@*.service' 'sp-bridge@*.service' || :
fi
