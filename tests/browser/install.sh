#!/usr/bin/env bash
# Debian's Chromium with its driver, for tests/test_docs.py. Says why and exits with 0 where they cannot be had.
set -euo pipefail
if command -v chromium chromedriver >/dev/null; then exit 0; fi
if [ "$(id -u)" != 0 ]; then echo "no Chromium: only root installs packages"; exit 0; fi
if ! { apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium chromium-driver; } >/dev/null 2>&1; then
	echo "no Chromium: chromium and chromium-driver cannot be installed with apt-get"
fi
