#!/usr/bin/env bash
# Get Debian's Chromium for the tests of the report's page, where that is possible; without it they skip.
command -v chromium >/dev/null && exit 0
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    export DEBIAN_FRONTEND=noninteractive
    timeout 300 apt-get -qq update >/dev/null 2>&1
    timeout 600 apt-get -qq install -y --no-install-recommends chromium >/dev/null 2>&1
fi
command -v chromium >/dev/null || echo "install_browser: no Chromium here, the tests of the report in a browser will skip." >&2
